package main

import (
	"context"
	"net"
	"time"

	"github.com/ftgw/ftgw/takeover"
)

// peerMAC puts the peer's Ethernet address into the rules where it is new. Clones are taken
// from that address alone, so a forged ARP frame must not replace it: whoever claims another
// one is asked again, and must answer for a while without the known one doing so.
func (n *node) peerMAC(mac net.HardwareAddr) {
	const enough, while = 3, 150 * time.Millisecond
	n.mac.Lock()
	defer n.mac.Unlock()
	switch {
	case n.mac.addr == mac.String():
		n.mac.doubts = 0
		return
	case n.mac.addr == "":
	default:
		if n.mac.doubts++; n.mac.doubts == 1 {
			n.mac.since = time.Now()
			n.doubtPeer(mac)
		}
		if n.mac.doubts < enough || time.Since(n.mac.since) < while {
			return
		}
		n.log.Warn("the peer has another Ethernet address now", "mac", mac.String(), "before", n.mac.addr)
	}
	if err := n.rules.UpdatePeerMAC(n.peer.Address, mac); err != nil {
		n.log.Error("cannot put the peer's Ethernet address into the rules", "mac", mac.String(), "error", err)
		return
	}
	n.mac.addr, n.mac.doubts = mac.String(), 0
}

// doubtPeer asks who has the peer's address, a few times. n.mac is locked.
func (n *node) doubtPeer(mac net.HardwareAddr) {
	const times, pause = 5, 50 * time.Millisecond
	if n.mac.asking {
		return
	}
	n.mac.asking = true
	n.log.Warn("the peer's address is claimed by another station", "mac", mac.String(), "known", n.mac.addr)
	n.begin(func(ctx context.Context) {
		for range times {
			n.Probe(takeover.ProbePeer)
			select {
			case <-ctx.Done():
			case <-time.After(pause):
			}
		}
		n.mac.Lock()
		n.mac.asking = false
		n.mac.Unlock()
	})
}

// fromPeer reports whether mac is the peer's as far as is known.
func (n *node) fromPeer(mac net.HardwareAddr) bool {
	n.mac.Lock()
	defer n.mac.Unlock()
	return n.mac.addr == "" || n.mac.addr == mac.String()
}
