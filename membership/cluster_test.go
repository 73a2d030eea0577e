package membership

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

var secret = bytes.Repeat([]byte{42}, 32)

// node is a running Cluster that records what its Handler is told.
type node struct {
	*Cluster
	stop func() // ends Run without a leave, as a crash does; further calls do nothing

	mu   sync.Mutex
	said []string
	wake chan struct{}

	meta  atomic.Pointer[Meta]
	told  atomic.Pointer[Meta]
	heard atomic.Int64
}

func (n *node) note(format string, args ...any) {
	n.mu.Lock()
	n.said = append(n.said, fmt.Sprintf(format, args...))
	n.mu.Unlock()
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

func (n *node) Alive(name string, m Meta) {
	n.note("alive %s boot %d extra %s", name, m.Boot[0], m.Extra)
}
func (n *node) Updated(name string, m Meta) {
	n.note("updated %s boot %d extra %s", name, m.Boot[0], m.Extra)
}
func (n *node) Told(name string, m Meta)    { n.told.Store(&m) }
func (n *node) Leaving(name string)         { n.note("leaving %s", name) }
func (n *node) Dead(name string)            { n.note("dead %s", name) }
func (n *node) Heard(string, time.Duration) { n.heard.Add(1) }

// expect waits until the handler was told so, and forgets all up to it.
func (n *node) expect(t *testing.T, want string, within time.Duration) {
	t.Helper()
	timeout := time.After(within)
	for {
		n.mu.Lock()
		for i, s := range n.said {
			if s == want {
				n.said = n.said[i+1:]
				n.mu.Unlock()
				return
			}
		}
		said := strings.Join(n.said, ", ")
		n.mu.Unlock()
		select {
		case <-n.wake:
		case <-timeout:
			t.Fatalf("not within %v: %q; told %q", within, want, said)
		}
	}
}

// silent fails the test if the handler was told anything.
func (n *node) silent(t *testing.T) {
	t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.said) > 0 {
		t.Errorf("told %q", n.said)
	}
}

// start runs a node until the test ends. change may adapt its config.
func start(t *testing.T, name string, bind netip.AddrPort, boot byte, change func(*Config)) *node {
	t.Helper()
	n := &node{wake: make(chan struct{}, 1)}
	n.meta.Store(&Meta{Boot: BootID{boot}, Extra: []byte("one")})
	cfg := Config{
		Name: name, Bind: bind, Key: secret, Handler: n, RejoinEvery: 50 * time.Millisecond,
		Meta: func() Meta { return *n.meta.Load() },
		Log:  slog.New(slog.DiscardHandler),
		// A loaded machine must not bring deaths that no test asked for.
		ProbeInterval: 100 * time.Millisecond, ProbeTimeout: 50 * time.Millisecond,
	}
	if change != nil {
		change(&cfg)
	}
	var err error
	if n.Cluster, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	n.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run %s: %v", name, err)
		}
	})
	t.Cleanup(n.stop)
	return n
}

func peers(p ...netip.AddrPort) func(*Config) { return func(c *Config) { c.Peers = p } }

// addresses returns two that are free on the loopback interface.
func addresses(t *testing.T) (a, b netip.AddrPort) {
	t.Helper()
	free := func(ip string) netip.AddrPort {
		l, err := net.Listen("tcp", ip+":0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		return netip.MustParseAddrPort(l.Addr().String())
	}
	return free("127.0.0.1"), free("127.0.0.2")
}

func noLeaks(t *testing.T) {
	t.Helper()
	ignore := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, ignore) })
}

const soon = 10 * time.Second

func TestJoinDeathAndReturn(t *testing.T) {
	noLeaks(t)
	addrA, addrB := addresses(t)
	a := start(t, "a", addrA, 1, peers(addrB))
	b := start(t, "b", addrB, 2, peers(addrA))
	a.expect(t, "alive b boot 2 extra one", soon)
	b.expect(t, "alive a boot 1 extra one", soon)
	if m := a.Members(); len(m) != 1 || m[0].Name != "b" || m[0].Addr != addrB || m[0].Meta.Boot[0] != 2 {
		t.Errorf("members of a: %v", m)
	}

	b.stop()
	a.expect(t, "dead b", soon)
	if m := a.Members(); len(m) != 0 {
		t.Errorf("members of a after b's death: %v", m)
	}

	// b comes back knowing nobody: a must find it.
	b = start(t, "b", addrB, 3, nil)
	a.expect(t, "alive b boot 3 extra one", soon)
	b.expect(t, "alive a boot 1 extra one", soon)
	a.silent(t)
}

// With the default timing a death is seen well within a second.
func TestDetectionTime(t *testing.T) {
	noLeaks(t)
	defaults := func(p netip.AddrPort) func(*Config) {
		return func(c *Config) { c.Peers, c.ProbeInterval, c.ProbeTimeout = []netip.AddrPort{p}, 0, 0 }
	}
	addrA, addrB := addresses(t)
	a := start(t, "a", addrA, 1, defaults(addrB))
	b := start(t, "b", addrB, 2, defaults(addrA))
	a.expect(t, "alive b boot 2 extra one", soon)
	for deadline := time.Now().Add(soon); a.heard.Load() < 5; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("b's answers to probes were not reported")
		}
	}
	b.stop()
	stopped := time.Now()
	a.expect(t, "dead b", time.Second)
	t.Logf("dead after %v", time.Since(stopped))
}

// A restart faster than detection shows in the boot ID only.
func TestQuickRestart(t *testing.T) {
	noLeaks(t)
	addrA, addrB := addresses(t)
	a := start(t, "a", addrA, 1, func(c *Config) {
		c.Peers, c.ProbeInterval = []netip.AddrPort{addrB}, 5*time.Second
	})
	b := start(t, "b", addrB, 2, peers(addrA))
	a.expect(t, "alive b boot 2 extra one", soon)
	b.stop()
	start(t, "b", addrB, 3, peers(addrA))
	a.expect(t, "updated b boot 3 extra one", soon)
	a.silent(t)
}

func TestUpdateMeta(t *testing.T) {
	noLeaks(t)
	addrA, addrB := addresses(t)
	a := start(t, "a", addrA, 1, peers(addrB))
	b := start(t, "b", addrB, 2, peers(addrA))
	a.expect(t, "alive b boot 2 extra one", soon)
	b.meta.Store(&Meta{Boot: BootID{2}, Extra: []byte("seven")})
	b.UpdateMeta()
	a.expect(t, "updated b boot 2 extra seven", soon)
	for end := time.Now().Add(soon); a.told.Load() == nil; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("not told in a datagram of its own")
		}
	}
	if m := a.told.Load(); string(m.Extra) != "seven" {
		t.Errorf("told %v", m)
	}
}

func TestLeave(t *testing.T) {
	noLeaks(t)
	addrA, addrB := addresses(t)
	a := start(t, "a", addrA, 1, peers(addrB))
	b := start(t, "b", addrB, 2, peers(addrA))
	a.expect(t, "alive b boot 2 extra one", soon)
	b.expect(t, "alive a boot 1 extra one", soon)
	if err := b.Leave(context.Background()); err != nil {
		t.Fatal(err)
	}
	a.expect(t, "leaving b", soon)
	b.stop()
	a.expect(t, "dead b", soon)
	if err := b.Leave(context.Background()); !errors.Is(err, ErrNotRunning) {
		t.Errorf("leave after the end: %v", err)
	}
}

func TestWrongKeyIsNoPeer(t *testing.T) {
	noLeaks(t)
	addrA, addrB := addresses(t)
	var refused counter
	a := start(t, "a", addrA, 1, func(c *Config) {
		c.Peers, c.Log = []netip.AddrPort{addrB}, slog.New(&refused)
	})
	b := start(t, "b", addrB, 2, func(c *Config) {
		c.Peers, c.Key = []netip.AddrPort{addrA}, bytes.Repeat([]byte{1}, 32)
	})
	for deadline := time.Now().Add(soon); refused.n.Load() < 3; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("no attempt to join was refused")
		}
	}
	a.silent(t)
	b.silent(t)
	b.stop()
	start(t, "b", addrB, 3, nil) // with the right key
	a.expect(t, "alive b boot 3 extra one", soon)
}

// counter counts failed joins among the log records.
type counter struct{ n atomic.Int64 }

func (c *counter) Enabled(context.Context, slog.Level) bool { return true }
func (c *counter) Handle(_ context.Context, r slog.Record) error {
	if r.Message == "peer not joined" {
		c.n.Add(1)
	}
	return nil
}
func (c *counter) WithAttrs([]slog.Attr) slog.Handler { return c }
func (c *counter) WithGroup(string) slog.Handler      { return c }

func TestTakenPort(t *testing.T) {
	noLeaks(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	n := &node{wake: make(chan struct{}, 1)}
	c, err := New(Config{Name: "a", Bind: netip.MustParseAddrPort(l.Addr().String()), Key: secret, Handler: n, Meta: func() Meta { return Meta{} }})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Run(context.Background()); err == nil || !strings.Contains(err.Error(), "is another ftgw running") {
		t.Errorf("error %v", err)
	}
}
