package main

import (
	"context"
	"net/netip"
	"time"

	"github.com/ftgw/ftgw/proxy"
	"github.com/ftgw/ftgw/replication"
	"github.com/ftgw/ftgw/replication/link"
	"github.com/ftgw/ftgw/rewrite"
	"github.com/ftgw/ftgw/sockdiag"
	"github.com/ftgw/ftgw/takeover"
)

// The stage: what the director's decisions do to this node's parts.

var _ stage = (*node)(nil)

// begin runs f in a goroutine that run waits for.
func (n *node) begin(f func(context.Context)) {
	n.wg.Go(func() { f(n.ctx) })
}

// ProbeConnect asks for evidence R: a fresh connect, refused at once where the process died.
func (n *node) ProbeConnect() {
	n.begin(func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, n.cfg.Timing.HangTimeout)
		defer cancel()
		refused, err := link.Probe(ctx, netip.AddrPortFrom(n.peer.Address, n.cfg.SessionPort))
		switch {
		case refused:
			n.dir.post(n.ctx, takeover.Event{Kind: takeover.Refused})
		case err == nil:
			n.dir.post(n.ctx, takeover.Event{Kind: takeover.Connected})
		}
	})
}

// Probe asks by ARP; a probe that cannot be sent is one without an answer.
func (n *node) Probe(what takeover.Do) {
	targets := []netip.Addr{n.peer.Address}
	switch what {
	case takeover.ProbeGateway:
		targets = []netip.Addr{n.gateway}
	case takeover.ProbeAdvertised:
		targets = n.addresses()
	}
	for _, a := range targets {
		if err := n.arp.Probe(a); err != nil {
			n.log.Debug("probe not sent", "target", a, "error", err)
		}
	}
}

// WriteEpoch puts a claim's number on disk before anyone hears of it (I5).
func (n *node) WriteEpoch(e takeover.Epoch) { n.writes <- e }

// keepEpochs writes the epochs in the order in which the director gave them.
func (n *node) keepEpochs(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case e := <-n.writes:
			ev := takeover.Event{Kind: takeover.EpochWritten, Epoch: e}
			if err := n.epochs.write(e); err != nil {
				n.log.Error("cannot write the epoch", "error", err)
				ev.Kind = takeover.EpochWriteFailed
			}
			n.dir.post(ctx, ev)
		}
	}
}

// Publish tells the peer at once; the next heartbeat says the same.
func (n *node) Publish() {
	st := n.dir.status.Load()
	owner := ""
	if st.Owner {
		owner = n.self.Name
	}
	n.link.SendEpoch(replication.Epoch{Epoch: uint64(st.Epoch), Against: st.Role == takeover.Sole, Owner: owner})
	n.gossip.UpdateMeta()
}

// AbandonPeer ends the session as well: what that process says from now on is not for this
// epoch, and a process that is well after all comes back by a new session.
func (n *node) AbandonPeer() {
	n.link.Abandon()
	n.link.Drop()
}

// Promote makes every flow this host's own. Their packets wait for ReleaseHeld.
func (n *node) Promote(bool) {
	n.held = nil
	for _, v := range n.services {
		proxy.Speak(v.listener, true)
		n.held = append(n.held, n.data.survive(v.cfg.Advertised)...)
		v.proxy.Promote(n.data.own)
	}
}

func (n *node) ReleaseHeld() {
	held := n.held
	n.held = nil
	n.begin(func(context.Context) { n.data.release(held) })
}

func (n *node) Gate(open bool) {
	if open && n.leaving.Load() {
		return
	}
	for _, a := range n.addresses() {
		change := n.rules.Revoke
		if open {
			change = n.rules.Renew
		}
		if err := change(a); err != nil {
			n.log.Error("cannot change the lease", "address", a, "open", open, "error", err)
		}
	}
}

func (n *node) Own(own bool) {
	for _, a := range n.addresses() {
		if !own {
			n.arp.Disown(a)
		} else if err := n.arp.Own(a); err != nil {
			n.log.Error("cannot answer for the address", "address", a, "error", err)
		}
	}
}

func (n *node) Announce() {
	for _, a := range n.addresses() {
		if err := n.arp.Announce(a); err != nil {
			n.log.Error("cannot announce the address", "address", a, "error", err)
		}
	}
}

// Duplex shares new flows with the peer.
func (n *node) Duplex(speaker bool) {
	n.link.Resume()
	for _, v := range n.services {
		proxy.Speak(v.listener, speaker)
		n.data.setStance(v.cfg.Advertised, rewrite.Stance{Serve: true, Duplex: true, Speak: speaker})
		n.data.alone(v.cfg.Advertised)
	}
}

// Fence kills the flows without a word to the clients: the packet layer forgets them first, so
// that the sockets' RSTs are of no known flow.
func (n *node) Fence() {
	flows := 0
	for _, v := range n.services {
		flows += n.data.fence(v.cfg.Advertised)
	}
	n.log.Warn("fenced: the peer has claimed", "flows", flows)
	n.link.Abandon()
	n.begin(func(context.Context) {
		for _, v := range n.services {
			v.proxy.Abort()
		}
		n.dir.post(n.ctx, takeover.Event{Kind: takeover.FenceDone})
	})
}

// permit waits until this process knows that it did not stand still while the peer claimed.
func (n *node) permit(ctx context.Context) error {
	for !n.dir.awake() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(n.cfg.Timing.ProbeEvery):
		}
	}
	return nil
}

// turnOver reports whether a flow stems from a time when this host was alone, though there is
// a pair again.
func (n *node) turnOver(id rewrite.FlowID) bool {
	if n.cfg.Timing.TurnOver == 0 && !n.draining.Load() || !n.dir.status.Load().Paired {
		return false
	}
	mode, ok := n.data.mode(id)
	return ok && mode == rewrite.Simplex
}

// keepLease renews the lease while the director allows it. It passes through every table's
// lock, so that a verdict loop that stands still loses the lease as well.
func (n *node) keepLease(ctx context.Context) error {
	t := time.NewTicker(n.cfg.Timing.Lease / 5)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		n.data.each(func(*rewrite.Table) {})
		if !n.dir.mayRenew() {
			continue
		}
		n.Gate(true)
		if !n.dir.mayRenew() { // decided meanwhile, perhaps while this process stood still
			n.Gate(false)
		}
	}
}

// keepRules puts the rules back when somebody flushes them. Meanwhile the second fence keeps
// this host silent.
func (n *node) keepRules(ctx context.Context) error {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		switch restored, err := n.rules.Restore(); {
		case err != nil:
			n.log.Error("cannot see after the rules", "error", err)
		case restored:
			n.log.Warn("somebody removed or changed the nftables rules; they are back in force")
		}
	}
}

// keepFlows lets flows expire, turns over those that only this host holds, and forgets those
// whose sockets are gone.
func (n *node) keepFlows(ctx context.Context) error {
	const expireEvery, sweepEvery = 200 * time.Millisecond, 2 * time.Second
	t := time.NewTicker(expireEvery)
	defer t.Stop()
	swept, looked := time.Now(), time.Now()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		late := time.Since(looked) > 2*expireEvery
		looked = time.Now()
		if late { // this process stood still: what it waits for may wait for it
			t.Reset(expireEvery)
			continue
		}
		n.data.expire()
		if time.Since(swept) < sweepEvery {
			continue
		}
		swept = time.Now()
		for _, v := range n.services {
			n.sweep(v.cfg.Advertised)
			v.proxy.TurnOver()
		}
	}
}

func (n *node) sweep(advertised netip.AddrPort) {
	sockets, err := sockdiag.List(advertised)
	if err != nil {
		n.log.Warn("cannot list sockets", "address", advertised, "error", err)
		return
	}
	live := make(map[netip.AddrPort]struct{}, len(sockets))
	for _, s := range sockets {
		live[s.Remote] = struct{}{}
	}
	n.data.sweep(advertised, live)
}

// resolvePeer learns the peer's Ethernet address, from which alone clones are then taken.
func (n *node) resolvePeer(ctx context.Context) error {
	mac, err := n.arp.Resolve(ctx, n.peer.Address)
	if err == nil {
		n.peerMAC(mac)
	}
	return nil // the run is over, or Answered will tell
}
