// The Ethernet addresses of the other nodes, from which alone clones are taken.
package main

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/ftgw/ftgw/config"
)

// neighbour is another node that this one shares a group with.
type neighbour struct {
	name string
	addr netip.Addr

	mu     sync.Mutex
	mac    string    // empty: not known yet
	doubts int       // answers in a row that name another one
	since  time.Time // the first of them
	asking bool
}

// neighbours are all of them, each once. The list never changes.
type neighbours struct{ list []*neighbour }

func newNeighbours(groups []*group) neighbours {
	var all neighbours
	for _, g := range groups {
		for i, o := range g.nodes {
			if i != g.index && all.at(o.Address) == nil {
				all.list = append(all.list, &neighbour{name: o.Name, addr: o.Address})
			}
		}
	}
	return all
}

// at returns the neighbour of an address, or nil.
func (s neighbours) at(a netip.Addr) *neighbour {
	for _, p := range s.list {
		if p.addr == a {
			return p
		}
	}
	return nil
}

// sender returns the index of the node of a group that has an Ethernet address, as far as is
// known, or -1. While the present peer's is not known, any may be its.
func (s neighbours) sender(g *group, mac net.HardwareAddr) int {
	for i, o := range g.nodes {
		if p := s.at(o.Address); p != nil && p.has(mac.String()) {
			return i
		}
	}
	if p := s.at(g.nodes[g.target()].Address); p.has("") {
		return g.target()
	}
	return -1
}

func (p *neighbour) has(mac string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mac == mac
}

// resolve learns a neighbour's Ethernet address; a change is learned from Answered.
func (n *node) resolve(ctx context.Context, p *neighbour) error {
	if mac, err := n.arp.Resolve(ctx, p.addr); err == nil {
		n.learnMAC(p, mac)
	}
	return nil // the run is over, or Answered will tell
}

// learnMAC puts a neighbour's Ethernet address into the rules where it is new. Clones are taken
// from that address alone, so a forged ARP frame must not replace it: whoever claims another
// one is asked again, and must answer for a while without the known one doing so.
func (n *node) learnMAC(p *neighbour, mac net.HardwareAddr) {
	const enough, while = 3, 150 * time.Millisecond
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.mac == mac.String():
		p.doubts = 0
		return
	case p.mac == "":
	default:
		if p.doubts++; p.doubts == 1 {
			p.since = time.Now()
			n.doubt(p, mac)
		}
		if p.doubts < enough || time.Since(p.since) < while {
			return
		}
		n.quiet.Warn("the peer has another Ethernet address now", "peer", p.name, "mac", mac.String(), "before", p.mac)
	}
	if err := n.rules.UpdatePeerMAC(p.addr, mac); err != nil {
		n.quiet.Error("cannot put a node's Ethernet address into the rules", "peer", p.name, "mac", mac.String(), "error", err)
		return
	}
	p.mac, p.doubts = mac.String(), 0
}

// doubt asks who has a neighbour's address, a few times. p is locked.
func (n *node) doubt(p *neighbour, mac net.HardwareAddr) {
	const times, pause = 5, 50 * time.Millisecond
	if p.asking {
		return
	}
	p.asking = true
	n.quiet.Warn("the peer's address is claimed by another station", "peer", p.name, "mac", mac.String(), "known", p.mac)
	n.begin(func(ctx context.Context) {
		for range times {
			n.probe(p.addr)
			select {
			case <-ctx.Done():
			case <-time.After(pause):
			}
		}
		p.mu.Lock()
		p.asking = false
		p.mu.Unlock()
	})
}

// peersOf returns the addresses of the other nodes of a service.
func peersOf(cfg *config.Config, s config.Service) []netip.Addr {
	var all []netip.Addr
	for _, p := range cfg.Peers(s) {
		all = append(all, p.Address)
	}
	return all
}
