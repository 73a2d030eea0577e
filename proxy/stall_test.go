package proxy

import (
	"bytes"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// endless answers with bytes for as long as they are taken.
func endless(t testing.TB, length string) string {
	return newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		if length != "" {
			w.Header().Set("Content-Length", length)
		}
		block := make([]byte, 64<<10)
		for {
			if _, err := w.Write(block); err != nil {
				return
			}
		}
	})
}

// A client that asks for much and takes nothing keeps neither its connection nor one to the upstream.
func TestClientTakesNothing(t *testing.T) {
	for name, tt := range map[string]struct{ up, path string }{
		"parts":  {endless(t, strconv.Itoa(10<<30)), "/"},
		"stream": {endless(t, ""), "/open"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t, Config{Upstream: tt.up, Mode: open, MaxReply: 1 << 20, WriteTimeout: 50 * time.Millisecond}, Executor, &link{})
			c, _ := h.dial(t)
			send(t, c, "GET "+tt.path+" HTTP/1.1\r\nHost: shop\r\n\r\n")
			eventually(t, "it is ended", func() bool {
				e := h.Ledger(false, 0).Exchanges
				return len(e) == 1 && e[0].Outcome == Dropped && h.Stats().Open == 0
			})
			if n := h.depot.used.Load(); n != 0 {
				t.Errorf("%d bytes are kept for it", n)
			}
		})
	}
}

// It does not help to let stored replies pile up, nor that its host has died; but a standby waits.
func TestClientTakesNoStoredReply(t *testing.T) {
	up := newWeb(t)
	executor, standby := newPair(t, Config{Upstream: up.addr(), WriteTimeout: 50 * time.Millisecond})
	a, id := executor.dial(t)
	b, _ := standby.dial(t, id)
	go io.Copy(io.Discard, a)
	requests := strings.Repeat("GET /?size=900000 HTTP/1.1\r\nHost: shop\r\n\r\n", 30)
	send(t, a, requests)
	send(t, b, requests)
	eventually(t, "all replies are stored", func() bool { return executor.Stats().Delivered == 30 })
	time.Sleep(200 * time.Millisecond) // more than it would take
	if standby.Stats().Open != 1 {
		t.Fatal("the standby gave up")
	}
	kill(executor, standby)
	eventually(t, "it is ended", func() bool { return standby.Stats().Open == 0 })
	if n := standby.depot.used.Load(); n != 0 {
		t.Errorf("%d bytes are kept for it", n)
	}
}

// A slow client gets all of it, however long that takes.
func TestSlowClient(t *testing.T) {
	const size = 4 << 20
	up := newWeb(t)
	for name, path := range map[string]string{"logged": "/", "stream": "/open"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHost(t, Config{Upstream: up.addr(), Mode: open, MaxReply: 3 << 20, WriteTimeout: 250 * time.Millisecond}, Executor, &link{})
			c, _ := h.dial(t)
			c.SetReadBuffer(32 << 10)
			send(t, c, "GET "+path+"?size="+strconv.Itoa(size)+" HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n")
			got, buf := 0, make([]byte, 128<<10)
			for {
				n, err := io.ReadFull(c, buf)
				if got += n; err != nil {
					break
				}
				time.Sleep(30 * time.Millisecond)
			}
			if got < size {
				t.Errorf("%d bytes", got)
			}
		})
	}
}

// A client that goes on sending after the end is not listened to for ever, whether it has read its reply
// or not.
func TestClientSendsForEver(t *testing.T) {
	up := newWeb(t)
	for name, size := range map[string]int{"read": 10, "unread": 1 << 20} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t, Config{Upstream: up.addr(), DrainTimeout: 50 * time.Millisecond}, Executor, &link{})
			c, _ := h.dial(t)
			send(t, c, "GET /?size="+strconv.Itoa(size)+" HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n")
			eventually(t, "it is ended", func() bool {
				c.Write([]byte("x"))
				return h.Stats().Delivered == 1 && h.Stats().Open == 0
			})
		})
	}
}

// Many bodies together stay within the budget of memory.
func TestMemoryOfManyBodies(t *testing.T) {
	up := newWeb(t)
	const clients, budget = 40, 1 << 20
	executor, standby := newPair(t, Config{Upstream: up.addr(), Buffers: budget})
	for range clients {
		a, id := executor.dial(t)
		b, _ := standby.dial(t, id)
		for _, c := range []net.Conn{a, b} {
			send(t, c, "POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 200001\r\n\r\n"+strings.Repeat("x", 200_000))
		}
	}
	for _, h := range []*host{executor, standby} {
		eventually(t, "all is read", func() bool {
			h.packets.mu.Lock()
			defer h.packets.mu.Unlock()
			for _, n := range h.packets.received {
				if n < 200_000 {
					return false
				}
			}
			return len(h.packets.received) == clients
		})
		if n := h.depot.used.Load(); n > budget+clients*smallBuffer+largeBuffer {
			t.Errorf("%d bytes in memory", n)
		}
	}
}

// Records that run ahead of what is being written to disk lose nothing and repeat nothing.
func TestHoldWhileTrimmed(t *testing.T) {
	rnd := rand.New(rand.NewPCG(2, 2))
	for range 50 {
		s := New(Config{Memory: 4 << 10, SpillDir: t.TempDir()}, newPackets(Standby), &link{})
		f := s.newFlow(asClient())
		stream := make([]byte, 200_000)
		for i := range stream {
			stream[i] = byte(rnd.Uint32())
		}
		cuts := []uint64{uint64(rnd.IntN(100_000)), 100_000 + uint64(rnd.IntN(100_000))}
		var owned sync.WaitGroup
		owned.Go(func() {
			for _, to := range cuts {
				f.mu.Lock()
				f.held.trim(to)
				f.mu.Unlock()
			}
		})
		for rest := stream; len(rest) > 0; {
			n := min(len(rest), 3000)
			f.mu.Lock()
			err := f.hold(rest[:n])
			f.mu.Unlock()
			if err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		owned.Wait()
		got := make([]byte, f.held.Len())
		for at := 0; at < len(got); {
			n, err := f.held.readAt(got[at:], f.held.start+uint64(at))
			if err != nil {
				t.Fatal(err)
			}
			at += n
		}
		if f.held.start != cuts[1] || f.held.end != uint64(len(stream)) || !bytes.Equal(got, stream[cuts[1]:]) {
			t.Fatalf("held from %d to %d, trimmed to %d", f.held.start, f.held.end, cuts[1])
		}
		f.held.free()
		if n := s.depot.used.Load(); n != 0 {
			t.Fatalf("%d bytes are still lent", n)
		}
	}
}

// The standby finds out that a client has gone which had ended its side, though its executor has found out
// by the same reset and stores nothing any more.
func TestStandbyClientGone(t *testing.T) {
	up := newWeb(t)
	executor, standby := newPair(t, Config{Upstream: up.addr()})
	w := newTwin(t, executor, standby)
	executor.Server.log = logFunc(func(_ Record, store func() error) error {
		err := store()
		eventually(t, "the standby has written the reply", func() bool { return w.seen(1) != "" })
		abort(w.a)
		abort(w.b)
		return err
	}).over(executor.link)
	w.write([]byte(simple))
	w.closeWrite()
	eventually(t, "the executor drops it", func() bool {
		return len(executor.Ledger(false, 0).Exchanges) > 0 && executor.Stats().Open == 0
	})
	eventually(t, "the standby drops it", func() bool { return standby.Stats().Open == 0 })
}

// The rest of a reply waits for a client that has ended its side, longer than the kernel would: that gives up
// what nobody holds any more.
func TestSlowClientHasEnded(t *testing.T) {
	t.Parallel()
	const size = 1 << 20
	h := newHost(t, Config{Upstream: newWeb(t).addr()}, Executor, &link{})
	c, _ := h.dial(t)
	c.SetReadBuffer(32 << 10)
	send(t, c, "GET /?size="+strconv.Itoa(size)+" HTTP/1.1\r\nHost: shop\r\n\r\n")
	c.CloseWrite()
	time.Sleep(4 * time.Second)
	if got, err := io.Copy(io.Discard, c); got < size || err != nil {
		t.Errorf("%d bytes, %v", got, err)
	}
	eventually(t, "it is ended", func() bool { return h.Stats().Open == 0 })
}

// The network may be away for longer than the kernel's own number of timeouts takes, which are short here.
func TestClientUnreachable(t *testing.T) {
	t.Parallel()
	const size = 100_000
	h := newHost(t, Config{Upstream: newWeb(t).addr()}, Executor, &link{})
	c, _ := h.dial(t)
	c.SetDeadline(time.Now().Add(time.Minute))
	send(t, c, "GET /?size="+strconv.Itoa(size)+"&sleep=200ms HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n")
	nothing := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K}}
	filter := func(option int) {
		err := control(c, func(fd int) error {
			return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, option, &unix.SockFprog{Len: 1, Filter: &nothing[0]})
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	filter(unix.SO_ATTACH_FILTER)
	time.Sleep(17 * time.Second)
	filter(unix.SO_DETACH_FILTER)
	if got, err := io.Copy(io.Discard, c); got < size || err != nil {
		t.Errorf("%d bytes, %v", got, err)
	}
}

// The reply for a client that has gone meanwhile is not kept on the standby, where its connection has ended: it
// waits for none to come.
func TestReplyOfClientGone(t *testing.T) {
	executor, standby := newPair(t, Config{Upstream: newWeb(t).addr()})
	w := newTwin(t, executor, standby)
	w.write([]byte("GET /?size=100000&sleep=200ms HTTP/1.1\r\nHost: shop\r\n\r\n"))
	eventually(t, "it is asked", func() bool { return executor.Stats().Inflight == 1 && standby.Stats().Held == 1 })
	abort(w.a)
	abort(w.b)
	eventually(t, "both drop it", func() bool {
		return executor.Stats().Open == 0 && standby.Stats().Open == 0 && standby.Stats().Refused == 1
	})
	if st := standby.Stats(); st.Early != 0 || st.Memory != 0 {
		t.Errorf("%+v", st)
	}
}
