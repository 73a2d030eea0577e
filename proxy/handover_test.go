package proxy

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/ftgw/ftgw/replication"
)

// The executor's part goes back and forth between two living hosts while a client sends requests
// of all shapes in chunks of any size: each is answered once, in order, and executed once.
func TestHandOverBackAndForth(t *testing.T) {
	up := newWeb(t)
	for round := range 20 {
		t.Run(fmt.Sprint(round), func(t *testing.T) {
			t.Parallel()
			rnd := rand.New(rand.NewPCG(uint64(round), 2))
			a, b := newPair(t, Config{Upstream: up.addr(), Memory: 64 << 10})
			b.link.peer = a.Server
			w := newTwin(t, a, b)
			raw, methods := series(rnd, 12)
			var sent sync.WaitGroup
			sent.Go(func() {
				for chunk := range chunks(rnd, raw) {
					w.write(chunk)
				}
			})
			ended := make(chan struct{})
			go func() { w.readers.Wait(); close(ended) }()
			moves := 0
			for over := false; !over; {
				select {
				case <-ended:
					over = true
				case <-time.After(time.Millisecond):
					moves += len(a.Yield(all)) + len(b.Yield(all))
				}
			}
			sent.Wait()
			stored := map[uint64]bool{}
			for i := range methods {
				stored[uint64(i)] = true
			}
			w.check(t, up, methods, stored)
			if sa := w.seen(0); sa != w.seen(1) {
				t.Errorf("the hosts wrote %d and %d bytes", len(sa), len(w.seen(1)))
			}
			t.Logf("asked %d times", moves)
		})
	}
}

// A peer that does not take over leaves the flow where it is.
func TestHandOverRefused(t *testing.T) {
	up := newWeb(t)
	a, b := newPair(t, Config{Upstream: up.addr()})
	w := newTwin(t, a, b)
	get := []byte("GET /1? HTTP/1.1\r\nHost: shop\r\n\r\n")
	w.write(get)
	eventually(t, "the first reply", func() bool { return a.Stats().Delivered == 1 })
	b.Promote(all)() // refuses every record from now on
	a.Yield(all)
	eventually(t, "back in its old part", func() bool { return a.Executing() == 1 })
}

// A flow that the peer has not begun to execute is taken without a word.
func TestTakeUnbegunFlow(t *testing.T) {
	up := newWeb(t)
	a, b := newPair(t, Config{Upstream: up.addr()})
	a.packets.duty = Standby // it knows of the switchover already
	b.link.peer = a.Server
	w := newTwin(t, a, b)
	w.write([]byte("GET /1? HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n"))
	eventually(t, "held", func() bool { return b.Stats().Held == 1 })
	b.Take(all)
	w.check(t, up, []string{"GET"}, map[uint64]bool{0: true})
}

const getClose = "GET /1? HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n"

// A connection that is accepted in the very moment of a switchover has one executor, not two and
// not none.
func TestVoiceMovesDuringAccept(t *testing.T) {
	for _, late := range []string{"yield", "take"} {
		t.Run(late, func(t *testing.T) {
			up := newWeb(t)
			a, b := newPair(t, Config{Upstream: up.addr()})
			b.link.peer = a.Server
			noted := 0
			move := func() {
				a.packets.duty = Standby
				noted = len(a.Yield(all))
			}
			take := func() {
				b.packets.duty = Executor
				b.Take(all)
			}
			if late == "yield" {
				a.packets.answered = move // called with the lock of packets held
			} else {
				move()
				b.packets.answered = take
			}
			w := newTwin(t, a, b)
			w.write([]byte(getClose))
			if late == "yield" {
				eventually(t, "held", func() bool { return a.Stats().Held == 1 && b.Stats().Held == 1 })
				b.packets.mu.Lock()
				take()
				b.packets.mu.Unlock()
			}
			w.check(t, up, []string{"GET"}, map[uint64]bool{0: true})
			if noted != 0 {
				t.Errorf("%d flows were said to be executed", noted)
			}
		})
	}
}

// A host that is to hand over and loses its peer first goes on.
func TestPromotedBeforeHandOver(t *testing.T) {
	up := newWeb(t)
	a, b := newPair(t, Config{Upstream: up.addr()})
	w := newTwin(t, a, b)
	w.write([]byte("GET /0?sleep=300ms HTTP/1.1\r\nHost: shop\r\n\r\n"))
	eventually(t, "under way", func() bool { return a.Stats().Inflight == 1 })
	a.Yield(all)
	a.Promote(all)()
	w.write([]byte(getClose))
	w.check(t, up, []string{"GET", "GET"}, map[uint64]bool{0: true, 1: true})
}

// While a handover is on its way the voice comes back: the flow is the peer's all the same.
func TestTakeLeavesGivenFlow(t *testing.T) {
	up := newWeb(t)
	a, b := newPair(t, Config{Upstream: up.addr()})
	b.link.peer = a.Server
	taken := make(chan struct{})
	a.link.before = func(r Record) {
		if r.Kind == replication.KindHandOver {
			a.Take(all)
			close(taken)
		}
	}
	w := newTwin(t, a, b)
	eventually(t, "asked", func() bool { return len(a.Yield(all)) == 1 })
	<-taken
	eventually(t, "there", func() bool { return b.Executing() == 1 })
	a.Take(all)
	if a.Executing() != 0 {
		t.Error("two executors")
	}
	w.write([]byte(getClose))
	w.check(t, up, []string{"GET"}, map[uint64]bool{0: true})
}

// A flow that the peer executed and can no longer hold is executed here.
func TestAdopt(t *testing.T) {
	up := newWeb(t)
	a, b := newPair(t, Config{Upstream: up.addr()})
	a.packets.duty = Standby
	b.link.peer = nil
	w := newTwin(t, a, b)
	w.write([]byte(getClose))
	eventually(t, "held", func() bool { return b.Stats().Held == 1 })
	b.Adopt(w.id)
	eventually(t, "executed", func() bool { return b.Stats().Delivered == 1 })
	up.mu.Lock()
	defer up.mu.Unlock()
	if len(up.attempts) != 1 || up.attempts[transactionID(w.id, 0)] != "2" {
		t.Errorf("attempts %v", up.attempts)
	}
}
