package link

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/ftgw/ftgw/replication"
	"github.com/ftgw/ftgw/rewrite"
)

// cutter is a wire between two links that can be cut, and can lose what it carries.
type cutter struct {
	t     testing.TB
	ln    net.Listener
	from  netip.Addr // source of the connections it makes
	to    netip.AddrPort
	wg    sync.WaitGroup
	mu    sync.Mutex
	conns []net.Conn
	limit int64 // bytes that the next connections carry towards the acceptor; 0: all
	mute  bool  // carry nothing, but stay connected
}

func newCutter(t testing.TB, at netip.AddrPort, from netip.Addr, to netip.AddrPort) *cutter {
	ln, err := net.Listen("tcp", at.String())
	if err != nil {
		t.Fatal(err)
	}
	c := &cutter{t: t, ln: ln, from: from, to: to}
	c.wg.Go(c.run)
	t.Cleanup(func() { ln.Close(); c.cut(); c.wg.Wait() })
	return c
}

func (c *cutter) run() {
	for {
		near, err := c.ln.Accept()
		if err != nil {
			return
		}
		far, err := dialer(c.from).Dial("tcp", c.to.String())
		if err != nil {
			near.Close()
			continue
		}
		c.mu.Lock()
		c.conns = append(c.conns, near, far)
		limit := c.limit
		c.mu.Unlock()
		c.wg.Go(func() { c.carry(far, near, limit) })
		c.wg.Go(func() { c.carry(near, far, 0) })
	}
}

func (c *cutter) carry(to, from net.Conn, limit int64) {
	defer to.Close()
	defer from.Close()
	buf := make([]byte, 16<<10)
	var sum int64
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		c.mu.Lock()
		mute := c.mute
		c.mu.Unlock()
		if sum += int64(n); limit > 0 && sum > limit {
			return
		}
		if mute {
			continue
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

func (c *cutter) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range c.conns {
		conn.Close()
	}
	c.conns = nil
}

func (c *cutter) set(limit int64, mute bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.limit, c.mute = limit, mute
}

// throughCutter returns a link pair whose connections pass a cutter; neither runs yet.
func throughCutter(t testing.TB, opts ...option) (a, b *host, c *cutter) {
	low, high := addrs(t)
	wire := netip.AddrPortFrom(netip.AddrFrom4(func() [4]byte { x := low.Addr().As4(); x[3] = 2; return x }()), low.Port())
	a, b = newHost(t, "a", low, wire, opts...), newHost(t, "b", high, low, opts...)
	return a, b, newCutter(t, wire, low.Addr(), high)
}

func TestCutMidRecord(t *testing.T) {
	a, b, c := throughCutter(t)
	c.set(1<<20, false) // either connection dies after a megabyte
	b.start(t)
	a.start(t)
	body := random(8 << 20)
	r := reply(1, 0, len(body))
	done := make(chan error, 1)
	go func() { done <- a.Store(t.Context(), r, bytes.NewReader(body)) }()
	a.until(t, "two cuts", func() bool { return len(a.downs) >= 2 })
	c.set(0, false)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if !bytes.Equal(b.records[r.RecordKey], body) || b.commits != 1 {
		t.Errorf("stored %d times, right: %v", b.commits, bytes.Equal(b.records[r.RecordKey], body))
	}
	if !b.resets[0] {
		t.Errorf("b's first loss was %v, want a reset", b.downs[0])
	}
}

// TestNothingLostByCuts says a hundred notes while the wire is cut again and again: each
// arrives once and in order.
func TestNothingLostByCuts(t *testing.T) {
	a, b, c := throughCutter(t)
	b.start(t)
	a.start(t)
	for i := range 100 {
		if i%10 == 5 {
			n := i/10 + 1
			a.until(t, "up", func() bool { return a.ups >= n })
			c.cut()
		}
		a.Note(replication.FlowNote{Flow: flow(1), Kind: replication.NoteClosed, Reason: uint8(i)})
		b.SendEpoch(replication.Epoch{Epoch: uint64(i)})
	}
	a.until(t, "all epochs", func() bool { return len(a.log) >= 100 })
	b.until(t, "all notes", func() bool { return len(b.log) >= 100 })
	for i := range 100 {
		if want := fmt.Sprintf("note 3 %d", i); b.log[i] != want {
			t.Fatalf("note %d is %q, want %q", i, b.log[i], want)
		}
	}
	if len(a.log) != 100 || len(b.log) != 100 {
		t.Errorf("%d epochs and %d notes, want 100 each", len(a.log), len(b.log))
	}
}

func TestSilence(t *testing.T) {
	a, b, c := throughCutter(t, func(cfg *Config) { cfg.Silence = 100 * time.Millisecond })
	b.start(t)
	a.start(t)
	a.until(t, "up", func() bool { return a.ups == 1 })
	c.set(0, true)
	a.until(t, "down", func() bool { return len(a.downs) == 1 })
	c.set(0, false)
	c.cut()
	b.until(t, "up again", func() bool { return b.ups == 2 })
	if a.resets[0] || !errors.Is(a.downs[0], errSilent) {
		// b may have noticed first, in which case a sees the end of the connection.
		if !wasReset(a.downs[0]) {
			t.Errorf("down with %v, reset %v", a.downs[0], a.resets[0])
		}
	}
}

func TestRefusals(t *testing.T) {
	hello := func(change func(*replication.Hello)) option {
		return func(cfg *Config) {
			old := cfg.Hello
			cfg.Hello = func() replication.Hello { h := old(); change(&h); return h }
		}
	}
	for _, tt := range []struct {
		name string
		opt  option
		want error
	}{
		{"other secret", func(cfg *Config) { cfg.Keys = keys(t, 2) }, replication.ErrSecret},
		{"other config", hello(func(h *replication.Hello) { h.ConfigDigest[5] = 1 }), ErrConfig},
		{"same name", hello(func(h *replication.Hello) { h.Node = "b" }), ErrSelf},
	} {
		t.Run(tt.name, func(t *testing.T) {
			low, high := addrs(t)
			a, b := newHost(t, "a", low, high, tt.opt), newHost(t, "b", high, low)
			b.start(t)
			stop := a.start(t)
			for _, h := range []*host{a, b} {
				refused := waitStatus(t, h, func(s Status) bool { return s.Refusal != nil })
				if !errors.Is(refused.Refusal, tt.want) || refused.Up {
					t.Errorf("status %+v, want refusal %v", refused, tt.want)
				}
			}
			stop()
			a = newHost(t, "a", low, high)
			a.start(t)
			waitStatus(t, b, func(s Status) bool { return s.Up && s.Refusal == nil })
		})
	}
}

// counted waits until a host's port has turned away so many.
func (h *host) counted(t *testing.T, strangers uint64) {
	t.Helper()
	for end := time.Now().Add(patience); h.port.Strangers() < strangers; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited %v, %d strangers, want %d", patience, h.port.Strangers(), strangers)
		}
	}
}

// waitStatus polls, because a refusal is told to nobody but Status.
func waitStatus(t *testing.T, h *host, ok func(Status) bool) Status {
	t.Helper()
	for end := time.Now().Add(patience); ; {
		s := h.Status()
		if ok(s) {
			return s
		}
		if time.Now().After(end) {
			t.Fatalf("waited %v, status %+v", patience, s)
		}
		time.Sleep(time.Millisecond)
	}
}

// TestVersion speaks the next version to the acceptor under the right key.
func TestVersion(t *testing.T) {
	low, high := addrs(t)
	b := newHost(t, "b", high, low)
	b.start(t)
	nc := stranger(t, low, high)
	c := tls.Client(nc, replication.TLSConfig(keys(t, 1), false))
	h := replication.Hello{Node: "a", Channel: replication.Control}.Append(nil)
	h[0] = replication.Version + 1
	if _, err := c.Write(h); err != nil {
		t.Fatal(err)
	}
	if f, err := replication.NewReader(c).Next(); err != nil || f.Type != replication.TypeHello {
		t.Errorf("answered with type %d, error %v; want our own hello", f.Type, err)
	}
	s := waitStatus(t, b, func(s Status) bool { return s.Refusal != nil })
	if !errors.Is(s.Refusal, replication.ErrVersion) {
		t.Errorf("refusal %v, want ErrVersion", s.Refusal)
	}
}

// stranger connects from the peer's address; the listener may still be on its way.
func stranger(t *testing.T, from, to netip.AddrPort) net.Conn {
	t.Helper()
	for end := time.Now().Add(patience); ; {
		nc, err := dialer(from.Addr()).Dial("tcp", to.String())
		if err == nil {
			t.Cleanup(func() { nc.Close() })
			return nc
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

func TestStrangers(t *testing.T) {
	a, b := connected(t)
	for _, from := range []netip.AddrPort{a.cfg.Self, netip.MustParseAddrPort("127.0.0.1:0")} {
		nc := stranger(t, from, b.cfg.Self)
		nc.Write(random(5000)) // a reset on the way is as good as an end
		io.Copy(io.Discard, nc)
	}
	b.counted(t, 2)
	// Under the right key, but without manners.
	nc := stranger(t, a.cfg.Self, b.cfg.Self)
	c := tls.Client(nc, replication.TLSConfig(keys(t, 1), false))
	c.Write(random(100))
	io.Copy(io.Discard, nc)
	if err := a.Store(t.Context(), reply(1, 0, 3), bytes.NewReader([]byte("abc"))); err != nil {
		t.Error(err)
	}
	if s := b.Status(); !s.Up || s.Sessions != 1 {
		t.Errorf("the session suffered: %+v", s)
	}
}

// TestControlOvertakesBulk blocks the receiver in the middle of a large record.
func TestControlOvertakesBulk(t *testing.T) {
	low, high := addrs(t)
	a, b := newHost(t, "a", low, high), newHost(t, "b", high, low)
	b.gate = make(chan struct{})
	b.start(t)
	a.start(t)
	done := make(chan error, 1)
	go func() { done <- a.Store(t.Context(), reply(1, 0, 64<<20), bytes.NewReader(make([]byte, 64<<20))) }()
	b.until(t, "up", func() bool { return b.ups == 1 })
	b.mu.Lock()
	before := b.beats
	b.mu.Unlock()
	b.until(t, "heartbeats", func() bool { return b.beats > before+20 })
	a.Link.Confirm(rewrite.Confirmation{Flow: flow(1), RcvNxt: 1, Edge: 2})
	b.until(t, "confirmation", func() bool { return len(b.log) == 1 })
	select {
	case err := <-done:
		t.Errorf("stored too early: %v", err)
	default:
	}
	close(b.gate)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestLeaveIsFlushed(t *testing.T) {
	low, high := addrs(t)
	a, b := newHost(t, "a", low, high), newHost(t, "b", high, low)
	a.start(t)
	stop := b.start(t)
	b.until(t, "up", func() bool { return b.ups == 1 })
	b.SendLeave()
	stop()
	a.until(t, "farewell", func() bool { return len(a.log) == 1 && a.log[0] == "leave" && len(a.downs) == 1 })
	if !a.resets[0] {
		t.Errorf("down with %v, want a reset", a.downs[0])
	}
	c := newHost(t, "b", high, low)
	c.start(t)
	a.until(t, "a new boot", func() bool { return a.ups == 2 })
	if a.hello.Boot == [16]byte{} {
		t.Error("no boot ID")
	}
}

// A peer that drops the session of a node that leaves, and calls again, gets no other one: neither
// side takes the other for a half of a pair that is about to be.
func TestNoSessionAfterLeave(t *testing.T) {
	for _, leaver := range []string{"a", "b"} {
		a, b := connected(t)
		goes, stays := a, b
		if leaver == "b" {
			goes, stays = b, a
		}
		goes.SendLeave()
		stays.until(t, "farewell", func() bool { return len(stays.log) == 1 })
		stays.Drop()
		goes.until(t, "the end", func() bool { return len(goes.downs) == 1 })
		<-time.After(2 * lastBackoff) // time for several calls
		goes.mu.Lock()
		stays.mu.Lock()
		if goes.ups != 1 || stays.ups != 1 {
			t.Errorf("%s leaves: sessions %d there, %d at its peer", leaver, goes.ups, stays.ups)
		}
		goes.mu.Unlock()
		stays.mu.Unlock()
	}
}

// What was said just before a session is dropped is heard in it.
func TestLastWords(t *testing.T) {
	a, b := connected(t)
	for i := range 6 {
		from, to := a, b
		if i%2 != 0 {
			from, to = b, a
		}
		from.SendEpoch(replication.Epoch{Epoch: uint64(i)})
		from.Drop()
		to.until(t, "the epoch", func() bool { return len(to.log) == i/2+1 })
		for _, h := range []*host{a, b} {
			h.until(t, "the next session", func() bool { return h.ups == i+2 })
		}
		if got := to.during[i/2]; got != i+1 {
			t.Errorf("what was said in session %d was heard in session %d", i+1, got)
		}
	}
}

func TestProbe(t *testing.T) {
	low, high := addrs(t)
	if refused, err := Probe(t.Context(), Path{Self: low, Peer: high}); !refused || err != nil {
		t.Errorf("nobody listens: refused %v, error %v", refused, err)
	}
	for _, at := range []netip.AddrPort{low, high} {
		h := newHost(t, "a", at, map[bool]netip.AddrPort{true: high, false: low}[at == low])
		h.start(t)
		stranger(t, low, at).Close()
		if refused, err := Probe(t.Context(), Path{Self: low, Peer: at}); refused || err != nil {
			t.Errorf("listening: refused %v, error %v", refused, err)
		}
	}
	gone := netip.MustParseAddrPort("192.0.2.9:1")
	if refused, err := Probe(t.Context(), Path{Self: gone, Peer: low}); refused || err == nil {
		t.Errorf("from an address that is gone: refused %v, error %v", refused, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if refused, err := Probe(ctx, Path{Self: low, Peer: high}); refused || err == nil {
		t.Errorf("no time: refused %v, error %v", refused, err)
	}
}

func TestRunNeedsItsAddress(t *testing.T) {
	low, _ := addrs(t)
	if err := newHost(t, "a", low, low).Run(t.Context()); err == nil {
		t.Error("a link to itself ran")
	}
	foreign := netip.MustParseAddrPort("192.0.2.1:7000")
	if err := newHost(t, "a", foreign, low).port.Run(t.Context()); err == nil {
		t.Error("a port ran on an address that is not ours")
	}
}
