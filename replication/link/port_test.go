package link

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
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
