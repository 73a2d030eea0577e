// Two of the three ways in which this node hears of the others, gossip and ARP; the third is the
// sessions. Each is turned into evidence for the directors.
package main

import (
	"context"
	"net"
	"net/netip"
	"time"

	"github.com/ftgw/ftgw/membership"
	"github.com/ftgw/ftgw/takeover"
	"github.com/ftgw/ftgw/takeover/address"
)

// gossip takes what membership sees: signs of life, and their absence.
type gossip struct{ n *node }

var _ membership.Handler = gossip{}

func (g gossip) Alive(name string, m membership.Meta)   { g.heard(name, m) }
func (g gossip) Updated(name string, m membership.Meta) { g.heard(name, m) }

func (g gossip) Told(name string, m membership.Meta) { g.says(name, m, takeover.Claimed) }

func (g gossip) heard(name string, m membership.Meta) { g.says(name, m, takeover.Sign) }

func (g gossip) says(name string, m membership.Meta, as takeover.Kind) {
	views, err := parseViews(m.Extra)
	if err != nil {
		g.n.quiet.Warn("gossip", "peer", name, "error", err)
	}
	g.n.member(name, func(of *group, i int) {
		of.post(takeover.Event{Kind: as, From: i, Epoch: epochIn(views, of)})
	})
}

func (g gossip) Heard(name string, _ time.Duration) {
	g.n.member(name, func(of *group, i int) { of.dir.sign(i) })
}

// Leaving changes nothing: the farewell that counts comes by the session, after the gate was
// closed.
func (g gossip) Leaving(string) {}

func (g gossip) Dead(name string) {
	g.n.member(name, func(of *group, i int) { of.post(takeover.Event{Kind: takeover.GossipDead, From: i}) })
}

// member runs f for each group that a node shares with this one, with its index there.
func (n *node) member(name string, f func(g *group, i int)) {
	for _, g := range n.groups {
		if i := g.indexOf(name); i >= 0 && i != g.index {
			f(g, i)
		}
	}
}

// wire takes what ARP shows.
type wire struct{ n *node }

func (w wire) Frame(net.HardwareAddr, netip.Addr) {}

func (w wire) Answered(addr netip.Addr, mac net.HardwareAddr) {
	n := w.n
	if p := n.neighbours.at(addr); p != nil {
		n.learnMAC(p, mac)
		n.member(p.name, func(g *group, i int) { g.post(takeover.Event{Kind: takeover.AnswerPeer, From: i}) })
		return
	}
	if addr == n.gateway {
		for _, g := range n.groups {
			g.post(takeover.Event{Kind: takeover.AnswerGateway, From: g.index})
		}
		return
	}
	g := n.groupOf(addr)
	if g == nil {
		return
	}
	// A stranger's answer for the address is no sign of a node's daemon.
	if i := n.neighbours.sender(g, mac); i >= 0 {
		g.post(takeover.Event{Kind: takeover.AnswerAdvertised, From: i})
	}
}

// Foreign answers a stranger's claim by an announcement, as RFC 5227 §2.4 defends an address.
// The claim of a node of the group is for the director to judge.
func (w wire) Foreign(v netip.Addr, mac net.HardwareAddr) {
	const pause = time.Second // so that two who defend the same address do not fill the network
	n, g := w.n, w.n.groupOf(v)
	if g == nil || time.Since(n.defended[v]) < pause {
		return
	}
	n.defended[v] = time.Now()
	g.quiet.Warn("another station claims the advertised address", "address", v, "mac", mac.String())
	if n.neighbours.sender(g, mac) >= 0 {
		return
	}
	if err := n.arp.Announce(v); err != nil {
		g.quiet.Error("cannot defend the address", "address", v, "error", err)
	}
}

func (w wire) Link(up bool) {
	if w.n.data.cut.Swap(!up) == up { // at the start it is taken for up
		w.n.log.Info("carrier", "interface", w.n.iface, "up", up)
	}
	kind := takeover.LinkUp
	if !up {
		kind = takeover.LinkDown
	}
	for _, g := range w.n.groups {
		g.post(takeover.Event{Kind: kind, From: g.index})
	}
	if !up {
		w.n.begin(w.n.dropWaiting)
	}
}

// dropWaiting drops what was let out a moment ago and waits for a neighbour's Ethernet address,
// behind the lease: the link may return when this host speaks no more.
func (n *node) dropWaiting(ctx context.Context) {
	for wait := 5 * time.Millisecond; n.data.cut.Load() && wait < 500*time.Millisecond; wait *= 4 {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		if err := address.DropWaiting(n.iface); err != nil {
			n.log.Error("cannot drop what waits for a neighbour", "error", err)
		}
	}
}

// probe asks by ARP; a probe that cannot be sent is one without an answer.
func (n *node) probe(a netip.Addr) {
	if err := n.arp.Probe(a); err != nil {
		n.log.Debug("probe not sent", "target", a, "error", err)
	}
}
