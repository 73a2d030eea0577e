package witness

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/ftgw/ftgw/replication"
	"github.com/ftgw/ftgw/replication/link"
)

func about(group string) func(*ClientConfig) {
	return func(c *ClientConfig) { c.Pair = group }
}

// Two hosts that share two groups have two connections each, and what is granted in one group
// has nothing to do with the other.
func TestTwoGroups(t *testing.T) {
	const pairBA = "b,a"
	p := newPlace(t)
	s, _ := p.serve(pairAB, pairBA)
	a1, a2 := p.join("a", replication.RolePrimary, nil), p.join("a", replication.RoleBackup, about(pairBA))
	b1, b2 := p.join("b", replication.RoleBackup, nil), p.join("b", replication.RolePrimary, about(pairBA))
	all := []*node{a1, a2, b1, b2}
	until(t, "all are connected", func() bool {
		for _, n := range all {
			if !n.Up() {
				return false
			}
		}
		return s.Connected(pairAB, "a") && s.Connected(pairBA, "a") && s.Connected(pairAB, "b") && s.Connected(pairBA, "b")
	})
	b1.asks(t, 1, 0, "answer 1 granted=true")
	a2.asks(t, 3, 0, "answer 3 granted=true")
	until(t, "both are on disk", func() bool { return s.Grant(pairAB).Epoch == 1 && s.Grant(pairBA).Epoch == 3 })
	if s.Grant(pairAB).Node != "b" || s.Grant(pairBA).Node != "a" {
		t.Errorf("granted to %+v and %+v", s.Grant(pairAB), s.Grant(pairBA))
	}
	if !a1.heard("notice 1") || a1.heard("notice 3") || !b2.heard("notice 3") || b2.heard("notice 1") {
		t.Errorf("a was told %q, b %q", a1.said, b2.said)
	}
	a1.stop()
	until(t, "one is gone", func() bool { return !s.Connected(pairAB, "a") })
	if !s.Connected(pairBA, "a") || a2.heard("up false") {
		t.Error("the other connection of the same node suffered")
	}
}

// A spare may ask, but only if it knows of the latest claim.
func TestSpareAsks(t *testing.T) {
	const group = "a,b,c"
	p := newPlace(t)
	s, _ := p.serve(group)
	a := p.join("a", replication.RolePrimary, about(group))
	b := p.join("b", replication.RoleBackup, about(group))
	c := p.join("c", replication.RoleJoining, about(group))
	until(t, "all are connected", func() bool { return a.Up() && b.Up() && c.Up() })
	a.stop()
	b.asks(t, 1, 0, "answer 1 granted=true")
	c.asks(t, 2, 0, "answer 2 granted=false against=true held=1")
	b.stop()
	c.asks(t, 5, 1, "answer 5 granted=true")
	if g := s.Grant(group); g.Epoch != 5 || g.Node != "c" {
		t.Errorf("granted %+v", g)
	}
}

// The names of a group may be long, and a connection is about no other group than its own.
func TestOwnGroupOnly(t *testing.T) {
	long := strings.Repeat("x", 3000) + ",b"
	p := newPlace(t)
	s, _ := p.serve(pairAB, long)
	b := p.join("b", replication.RoleBackup, about(long))
	until(t, "connected", b.Up)
	c := b.conn.Load()
	if err := c.send(replication.GrantRequest{Pair: pairAB, Epoch: 1, Echo: b.echo.Load()}.Append(nil)); err != nil {
		t.Fatal(err)
	}
	b.asks(t, 3, 0, "answer 3 granted=true")
	if b.heard("answer 1") || s.Grant(pairAB).Epoch != 0 || s.Grant(long).Epoch != 3 {
		t.Errorf("granted %+v and %+v", s.Grant(pairAB), s.Grant(long))
	}
}

// A query is answered and leaves the node's connection alone.
func TestQuery(t *testing.T) {
	p := newPlace(t)
	s, _ := p.serve(pairAB)
	a := p.join("a", replication.RolePrimary, nil)
	until(t, "connected", func() bool { return a.Up() && s.Connected(pairAB, "a") })
	for range 10 {
		h, err := link.Ask(t.Context(), netip.Addr{}, p.at, keys(t, 1), replication.Hello{Node: "a", Group: pairAB})
		if err != nil || h.Node != "w" || h.Group != pairAB {
			t.Errorf("answer %+v, %v", h, err)
		}
	}
	if a.heard("up false") || !s.Connected(pairAB, "a") {
		t.Error("the node's connection suffered")
	}
	if _, err := link.Ask(t.Context(), netip.Addr{}, p.at, keys(t, 1), replication.Hello{Node: "a", Group: "a,c"}); err == nil || !strings.Contains(err.Error(), `"a,c"`) {
		t.Errorf("asked about an unknown group: %v", err)
	}
}
