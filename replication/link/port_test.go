package link

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ftgw/ftgw/replication"
)

// about sets whose link it is, with whom and about what.
func about(group, peer string) option {
	return func(cfg *Config) { cfg.Group, cfg.PeerName = group, peer }
}

// site runs one port for the links of several hosts, and the links.
func site(t testing.TB, hosts ...*host) *Port {
	p := NewPort(PortConfig{Self: hosts[0].cfg.Self, Keys: keys(t, 1)})
	for _, h := range hosts {
		p.Add(h.Link)
	}
	background(t, p.Run)
	for _, h := range hosts {
		background(t, h.Run)
	}
	return p
}

func (h *host) untilUp(t testing.TB, times int) {
	t.Helper()
	h.until(t, fmt.Sprintf("%s up %d times", h.cfg.Group, times), func() bool { return h.ups == times })
}

// Two hosts that share two groups have two sessions, of which each lives for itself.
func TestTwoGroups(t *testing.T) {
	low, high := addrs(t)
	groups := []string{"a,b", "b,a"}
	var as, bs []*host
	for _, g := range groups {
		as = append(as, newHost(t, "a", low, high, about(g, "b")))
		bs = append(bs, newHost(t, "b", high, low, about(g, "a")))
	}
	atA, atB := site(t, as...), site(t, bs...)
	for i, g := range groups {
		for _, h := range []*host{as[i], bs[i]} {
			h.untilUp(t, 1)
			if h.hello.Group != g {
				t.Errorf("session of %s is with group %s", g, h.hello.Group)
			}
		}
		as[i].SendEpoch(replication.Epoch{Epoch: uint64(i), Owner: g})
	}
	for i, g := range groups {
		bs[i].until(t, "its epoch", func() bool { return len(bs[i].log) == 1 })
		if want := fmt.Sprintf("epoch %d false %s", i, g); bs[i].log[0] != want {
			t.Errorf("group %s heard %q, want %q", g, bs[i].log[0], want)
		}
	}
	bs[0].Drop()
	as[0].untilUp(t, 2)
	bs[0].untilUp(t, 2)
	if s := as[1].Status(); !s.Up || s.Sessions != 1 {
		t.Errorf("the other group suffered: %+v", s)
	}
	if n := atA.Strangers() + atB.Strangers(); n > 0 {
		t.Errorf("%d strangers among friends", n)
	}
}

// Each of three nodes has a session with each other one.
func TestThreeNodes(t *testing.T) {
	low, high := addrs(t)
	third := high.Addr().As4()
	third[3] = 5
	at := map[string]netip.AddrPort{"a": low, "b": high, "c": netip.AddrPortFrom(netip.AddrFrom4(third), low.Port())}
	links := map[[2]string]*host{}
	for me := range at {
		var hosts []*host
		for other := range at {
			if other != me {
				h := newHost(t, me, at[me], at[other], about("a,b,c", other))
				links[[2]string{me, other}] = h
				hosts = append(hosts, h)
			}
		}
		site(t, hosts...)
	}
	for k, h := range links {
		h.untilUp(t, 1)
		if h.hello.Node != k[1] {
			t.Errorf("session of %s with %s is with %s", k[0], k[1], h.hello.Node)
		}
	}
}

// A peer that asks for another group is told so, on both sides, and harms no session.
func TestUnknownGroup(t *testing.T) {
	low, high := addrs(t)
	as := []*host{newHost(t, "a", low, high), newHost(t, "a", low, high, about("a,b,c", "b"))}
	b := newHost(t, "b", high, low)
	site(t, b)
	site(t, as...)
	b.untilUp(t, 1)
	for _, h := range []*host{as[1], b} {
		s := waitStatus(t, h, func(s Status) bool { return s.Refusal != nil })
		if !errors.Is(s.Refusal, ErrConfig) || !strings.Contains(s.Refusal.Error(), `"a,b,c"`) {
			t.Errorf("refusal %v, want ErrConfig and the group", s.Refusal)
		}
	}
	if s := as[0].Status(); !s.Up || s.Sessions != 1 || s.Refusal != nil {
		t.Errorf("the session suffered: %+v", s)
	}
}

// The node that the config has at the address is the only one that is let in.
func TestOtherName(t *testing.T) {
	low, high := addrs(t)
	a, b := newHost(t, "c", low, high, about("a,b", "b")), newHost(t, "b", high, low)
	b.start(t)
	a.start(t)
	s := waitStatus(t, b, func(s Status) bool { return s.Refusal != nil })
	if !errors.Is(s.Refusal, ErrName) {
		t.Errorf("refusal %v, want ErrName", s.Refusal)
	}
}

// A peer that fills its slots keeps no other peer out, and itself only for a while.
func TestFlood(t *testing.T) {
	low, high := addrs(t)
	mid := low.Addr().As4()
	mid[3] = 2
	c := netip.AddrPortFrom(netip.AddrFrom4(mid), low.Port())
	fromA, fromC := newHost(t, "b", high, low, about("a,b,c", "a")), newHost(t, "b", high, c, about("a,b,c", "c"))
	p := NewPort(PortConfig{Self: high, Keys: keys(t, 1), MaxGreeting: 4})
	p.Add(fromA.Link)
	p.Add(fromC.Link)
	background(t, p.Run)
	background(t, fromA.Run)
	background(t, fromC.Run)
	for range 20 {
		stranger(t, low, high) // says nothing
	}
	for end := time.Now().Add(patience); p.Strangers() < 16; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d of 20 connections turned away, want 16", p.Strangers())
		}
	}
	newHost(t, "c", c, high, about("a,b,c", "b")).start(t)
	fromC.untilUp(t, 1)
	newHost(t, "a", low, high, about("a,b,c", "b")).start(t)
	fromA.untilUp(t, 1)
}

// A query is answered whatever the state of the session, on either side, and changes nothing.
func TestQuery(t *testing.T) {
	low, high := addrs(t)
	a, b := newHost(t, "a", low, high), newHost(t, "b", high, low)
	background(t, b.port.Run)
	background(t, b.Run)
	ask := func(from, to *host) {
		t.Helper()
		h, err := Ask(t.Context(), from.cfg.Self.Addr(), to.cfg.Self, keys(t, 1),
			replication.Hello{Node: from.cfg.Hello().Node, Group: "a,b"})
		if err != nil || h.Node != to.cfg.Hello().Node || h.Group != "a,b" || h.Channel != replication.Query || skew(h).Abs() > patience {
			t.Errorf("answer %+v, %v", h, err)
		}
	}
	stranger(t, low, high).Close() // it listens
	ask(a, b)
	control, _, _, err := a.call(t.Context(), replication.Control, 5)
	if err != nil {
		t.Fatal(err)
	}
	defer control.raw.Close()
	ask(a, b) // with half a session
	bulk, _, _, err := a.call(t.Context(), replication.Bulk, 5)
	if err != nil {
		t.Fatal(err)
	}
	defer bulk.raw.Close()
	b.untilUp(t, 1)
	a.start(t)
	a.untilUp(t, 1)
	b.untilUp(t, 2)
	for range 10 {
		ask(a, b)
		ask(b, a)
	}
	for _, h := range []*host{a, b} {
		s := h.Status()
		if !s.Up || s.Refusal != nil || h.port.Strangers() > 0 || len(a.downs) > 0 {
			t.Errorf("%s suffered: %+v", h.cfg.Hello().Node, s)
		}
	}
}

// Ask says in words what stands in the way, and the session does not suffer from being asked
// wrongly.
func TestAskRefused(t *testing.T) {
	a, b := connected(t)
	low, high := a.cfg.Self, b.cfg.Self
	free := netip.AddrPortFrom(high.Addr(), 1)
	garbage := listen(t, high.Addr(), func(c net.Conn) { io.WriteString(c, "220 mail.example ready\r\n") })
	silent := listen(t, high.Addr(), func(c net.Conn) { io.Copy(io.Discard, c) })
	next := listen(t, high.Addr(), func(c net.Conn) {
		s := tls.Server(c, replication.TLSConfig(keys(t, 1), true))
		replication.NewReader(s).Next()
		hello := replication.Hello{Channel: replication.Query}.Append(nil)
		hello[0]++
		s.Write(hello)
	})
	hello := replication.Hello{Node: "a", Group: "a,b"}
	for _, tt := range []struct {
		name   string
		from   netip.Addr
		to     netip.AddrPort
		secret byte
		change func(*replication.Hello)
		want   error
		says   string
	}{
		{"other secret", low.Addr(), high, 2, nil, replication.ErrSecret, "secret_file"},
		{"other config", low.Addr(), high, 1, func(h *replication.Hello) { h.ConfigDigest[0] = 1 }, ErrConfig, "ftgw.toml"},
		{"other group", low.Addr(), high, 1, func(h *replication.Hello) { h.Group = "a,b,c" }, ErrConfig, `"a,b,c"`},
		{"own name", low.Addr(), high, 1, func(h *replication.Hello) { h.Node = "b" }, ErrSelf, "--name"},
		{"stranger", netip.MustParseAddr("127.0.0.1"), high, 1, nil, nil, "may not know this node's address"},
		{"nobody", low.Addr(), free, 1, nil, nil, "does not run there"},
		{"foreign source", netip.MustParseAddr("192.0.2.9"), high, 1, nil, nil, "does not have the address"},
		{"not ftgw", low.Addr(), garbage, 1, nil, nil, "does not speak TLS"},
		{"stopped", low.Addr(), silent, 1, nil, nil, "says nothing"},
		{"other version", low.Addr(), next, 1, nil, replication.ErrVersion, "same ftgw release"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := hello
			if tt.change != nil {
				tt.change(&h)
			}
			_, err := Ask(t.Context(), tt.from, tt.to, keys(t, tt.secret), h)
			if err == nil || tt.want != nil && !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.says) ||
				!strings.Contains(err.Error(), tt.to.String()) {
				t.Errorf("says %v, want %q", err, tt.says)
			}
		})
	}
	if s := b.Status(); !s.Up || s.Sessions != 1 {
		t.Errorf("the session suffered: %+v", s)
	}
}

// listen serves connections one after the other until the test ends.
func listen(t *testing.T, at netip.Addr, serve func(net.Conn)) netip.AddrPort {
	ln, err := net.Listen("tcp", netip.AddrPortFrom(at, 0).String())
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	t.Cleanup(func() { ln.Close(); wg.Wait() })
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			c.SetDeadline(time.Now().Add(patience))
			serve(c)
			c.Close()
		}
	})
	return ln.Addr().(*net.TCPAddr).AddrPort()
}

// words is a log as text.
type words struct {
	sync.Mutex
	strings.Builder
}

func (w *words) Write(p []byte) (int, error) {
	w.Lock()
	defer w.Unlock()
	return w.Builder.Write(p)
}

func (w *words) count(what string) int {
	w.Lock()
	defer w.Unlock()
	return strings.Count(w.String(), what)
}

// A clock that is an hour off is shown and warned of, once in each session.
func TestSkew(t *testing.T) {
	for _, tt := range []struct {
		off   time.Duration
		warns int
	}{{0, 0}, {-8 * time.Second, 0}, {time.Hour, 1}, {-time.Hour, 1}} {
		t.Run(tt.off.String(), func(t *testing.T) {
			low, high := addrs(t)
			var said words
			a := newHost(t, "a", low, high)
			b := newHost(t, "b", high, low, func(cfg *Config) { cfg.Log = slog.New(slog.NewTextHandler(&said, nil)) })
			b.start(t)
			stranger(t, low, high).Close() // it listens
			for _, ch := range []replication.Channel{replication.Control, replication.Bulk} {
				nc := stranger(t, low, high)
				defer nc.Close()
				_, _, _, err := exchange(t.Context(), nc, keys(t, 1), func() replication.Hello {
					h := a.ownHello(ch, 1)
					h.Wall += tt.off.Milliseconds()
					return h
				})
				if err != nil {
					t.Fatal(err)
				}
			}
			b.untilUp(t, 1)
			if got := b.Status().Skew; (got - tt.off).Abs() > time.Second {
				t.Errorf("skew %v, want %v", got, tt.off)
			}
			if n := said.count("chrony"); n != tt.warns {
				t.Errorf("%d warnings, want %d", n, tt.warns)
			}
		})
	}
}

// An idle link beats seldom, and at once when it has to work again.
func TestIdle(t *testing.T) {
	for _, tt := range []struct{ beat, silence, idle time.Duration }{
		{10 * time.Millisecond, time.Second, 100 * time.Millisecond},
		{50 * time.Millisecond, time.Second, 250 * time.Millisecond}, // four within Silence
		{time.Second, time.Second, time.Second},                      // never more often than else
	} {
		l := New(Config{Heartbeat: tt.beat, Silence: tt.silence})
		l.Idle(true)
		if got := l.period(); got != tt.idle {
			t.Errorf("heartbeat %v, silence %v: idle %v, want %v", tt.beat, tt.silence, got, tt.idle)
		}
		l.Idle(false)
		if got := l.period(); got != tt.beat {
			t.Errorf("heartbeat %v: %v after idling", tt.beat, got)
		}
	}
	low, high := addrs(t)
	slow := func(cfg *Config) { cfg.Heartbeat, cfg.Silence = time.Minute, time.Hour }
	a, b := newHost(t, "a", low, high, slow), newHost(t, "b", high, low, slow)
	a.Idle(true)
	b.start(t)
	a.start(t)
	b.until(t, "the session's first heartbeat", func() bool { return b.beats == 1 })
	a.Idle(false)
	b.until(t, "a heartbeat at once", func() bool { return b.beats == 2 })
}

// With default times an idle session stays up, and slows down while it is up.
func TestIdleSession(t *testing.T) {
	a, b := connected(t, func(cfg *Config) { cfg.Silence = 400 * time.Millisecond })
	a.Idle(true)
	b.Idle(true)
	b.mu.Lock()
	before := b.beats
	b.mu.Unlock()
	began := time.Now()
	b.until(t, "heartbeats", func() bool { return b.beats >= before+12 })
	if took := time.Since(began); took < 600*time.Millisecond {
		t.Errorf("12 heartbeats within %v, want one in 100 ms", took)
	}
	if s := a.Status(); !s.Up || s.Sessions != 1 {
		t.Errorf("the session suffered: %+v", s)
	}
	if err := a.Store(t.Context(), reply(1, 0, 3), strings.NewReader("abc")); err != nil {
		t.Error(err)
	}
}
