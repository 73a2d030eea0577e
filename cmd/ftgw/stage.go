// The stage: what the decisions of a group's director do to this node's parts.
package main

import (
	"context"
	"log/slog"
	"time"

	"github.com/ftgw/ftgw/proxy"
	"github.com/ftgw/ftgw/replication"
	"github.com/ftgw/ftgw/replication/link"
	"github.com/ftgw/ftgw/rewrite"
	"github.com/ftgw/ftgw/takeover"
)

var _ stage = (*group)(nil)

// Choose makes another node the present peer: clones, records, notes and confirmations go to it
// from now on. What concerned the former one is over, says the machine.
func (g *group) Choose(i int) {
	former := g.target()
	if i == former || i == g.index {
		return
	}
	g.log.Info("another peer", "peer", g.nodes[i].Name, "before", g.nodes[former].Name)
	g.links[former].Abandon()
	g.links[former].Idle(true)
	g.links[i].Idle(false)
	g.peer.Store(int32(i))
	g.peers.add(time.Now(), i)
	for _, v := range g.services {
		g.n.data.setPeer(v.cfg.Advertised, g.clonesTo(v))
	}
}

// ProbeConnect asks for evidence R: a fresh connect, refused at once where the process died; by
// each network, for what one says is no news of the other.
func (g *group) ProbeConnect(i int) {
	for _, path := range g.links[i].Paths() {
		g.n.begin(func(ctx context.Context) {
			ctx, cancel := context.WithTimeout(ctx, g.n.cfg.Timing.HangTimeout)
			defer cancel()
			refused, err := link.Probe(ctx, path)
			switch {
			case refused:
				g.post(takeover.Event{Kind: takeover.Refused, From: i, Apart: path.Own})
			case err == nil:
				g.post(takeover.Event{Kind: takeover.Connected, From: i, Apart: path.Own})
			}
		})
	}
}

// Probe asks by ARP; i is the node for ProbePeer.
func (g *group) Probe(what takeover.Do, i int) {
	switch what {
	case takeover.ProbePeer:
		g.n.probe(g.nodes[i].Address)
	case takeover.ProbeGateway:
		g.n.probe(g.n.gateway)
	case takeover.ProbeAdvertised:
		for _, a := range g.addresses() {
			g.n.probe(a)
		}
	}
}

// WriteEpoch puts a claim's number on disk before anyone hears of it (I5).
func (g *group) WriteEpoch(e takeover.Epoch) { g.n.writes <- epochWrite{g, e} }

// Publish tells the others at once; the next heartbeat says the same.
func (g *group) Publish() {
	for _, l := range g.links {
		if l != nil {
			g.tellEpoch(l)
		}
	}
	g.n.gossip.UpdateMeta()
}

func (g *group) tellEpoch(l *link.Link) {
	st := g.dir.status.Load()
	owner := ""
	if st.Owner {
		owner = g.n.self.Name
	}
	l.SendEpoch(replication.Epoch{Epoch: uint64(st.Epoch), Against: st.Role == takeover.Sole, Owner: owner})
}

// AbandonPeer ends the session as well: what that process says from now on is not for this
// epoch, and a process that is well after all comes back by a new session. One that is heard no more
// but hears is told the epoch by this one, the fastest way there is.
func (g *group) AbandonPeer() {
	g.link().Abandon()
	g.tellEpoch(g.link())
	g.link().Drop()
}

// Promote makes every flow this host's own. Their packets and exchanges wait for ReleaseHeld.
func (g *group) Promote(bool) {
	g.held, g.rouse = nil, nil
	for _, v := range g.services {
		proxy.Speak(v.listener, true)
		g.held = append(g.held, g.n.data.survive(v.cfg.Advertised)...)
		g.rouse = append(g.rouse, v.proxy.Promote(g.n.data.own))
	}
}

func (g *group) ReleaseHeld() {
	held, rouse := g.held, g.rouse
	g.held, g.rouse = nil, nil
	g.n.begin(func(context.Context) {
		g.n.data.release(held)
		for _, f := range rouse {
			f()
		}
	})
}

func (g *group) Own(own bool) {
	for _, a := range g.addresses() {
		if !own {
			g.n.arp.Disown(a)
		} else if err := g.n.arp.Own(a); err != nil {
			g.log.Error("cannot answer for the address", "address", a, "error", err)
		}
	}
}

func (g *group) Announce() {
	for _, a := range g.addresses() {
		if err := g.n.arp.Announce(a); err != nil {
			g.log.Error("cannot announce the address", "address", a, "error", err)
		}
	}
}

// Duplex shares new flows with the peer.
func (g *group) Duplex(speaker bool) {
	g.link().Resume()
	for _, v := range g.services {
		proxy.Speak(v.listener, speaker)
		g.n.data.setStance(v.cfg.Advertised, rewrite.Stance{Serve: true, Duplex: true, Speak: speaker})
		g.n.data.alone(v.cfg.Advertised)
	}
}

// Fence kills the flows without a word to the clients: the packet layer forgets them first, so
// that the sockets' RSTs are of no known flow.
func (g *group) Fence() {
	g.fenced.Add(1)
	flows := 0
	for _, v := range g.services {
		flows += g.n.data.fence(v.cfg.Advertised)
	}
	if flows > 0 {
		g.event(slog.LevelWarn, "connections are lost: another node has claimed", "flows", flows)
	}
	g.link().Abandon()
	g.n.begin(func(context.Context) {
		for _, v := range g.services {
			v.proxy.Abort()
		}
		g.post(takeover.Event{Kind: takeover.FenceDone, From: g.index})
	})
}

// permit waits until this process knows that it did not stand still while the peer claimed.
func (g *group) permit(ctx context.Context) error {
	for !g.dir.awake() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(g.n.cfg.Timing.ProbeEvery):
		}
	}
	return nil
}

// mayOutrun reports whether the peer has heard this node so lately that it cannot have claimed: it does
// not before it has heard nothing for suspect_after, unless this process died.
func (g *group) mayOutrun() bool {
	return g.dir.now()-time.Duration(g.hears[g.target()].Load()) < min(g.n.cfg.Timing.SuspectAfter, proxy.NewsWithin/2)
}

// turnOver reports whether a flow stems from a time when this host was alone, though there is
// a pair again, or the service ends here.
func (g *group) turnOver(id rewrite.FlowID) bool {
	if g.ending.Load() {
		return true
	}
	if g.n.now().Timing.TurnOver == 0 && g.draining.Load() == 0 || !g.dir.status.Load().Paired {
		return false
	}
	mode, ok := g.n.data.mode(id)
	return ok && mode == rewrite.Simplex
}
