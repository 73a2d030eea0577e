// What a node says of itself to an operator.
package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ftgw/ftgw/config"
	"github.com/ftgw/ftgw/replication/link"
	"github.com/ftgw/ftgw/takeover"
)

func (n *node) status() Status {
	kept := n.repairs.status()
	s := Status{Node: n.self.Name, Version: version(), Config: digestText(n.cfg), Drops: n.drops(), Rules: &kept}
	if kept.Problem != "" {
		s.Warnings = append(s.Warnings, "the rules are not in force: "+kept.Problem)
	}
	for _, o := range n.cfg.Nodes {
		switch {
		case o.Name == n.self.Name:
		case o.Witness:
			p, warnings := n.witnessStatus(o)
			s.Peers, s.Warnings = append(s.Peers, p), append(s.Warnings, warnings...)
		default:
			s.Peers = append(s.Peers, n.peerStatus(o))
			s.Warnings = append(s.Warnings, n.clockWarnings(o)...)
			s.Warnings = append(s.Warnings, n.pathWarnings(o)...)
		}
	}
	for _, g := range n.groups {
		for _, v := range g.services {
			s.Services = append(s.Services, g.serviceStatus(v))
			for _, r := range v.routes() {
				if r.LoggedSince != nil {
					s.Warnings = append(s.Warnings, fmt.Sprintf("service %s: the %s route %s is logged, for its replies differ between the hosts: %s "+
						"(make them the same, then ftgw routes --reset; or write another mode)", v.cfg.Name, r.Mode, r.Route, r.Why))
				}
			}
		}
		s.Warnings = append(s.Warnings, g.healthWarnings()...)
	}
	return s
}

// clockWarnings has a warning where the clock of a node is far off.
func (n *node) clockWarnings(o config.Node) []string {
	var skew time.Duration
	n.member(o.Name, func(g *group, i int) { skew = g.links[i].Status().Skew })
	if skew.Abs() <= link.MaxSkew {
		return nil
	}
	return []string{fmt.Sprintf("the clock of node %s is %s", o.Name, skewText(skew))}
}

// pathWarnings has a warning where a session goes by the clients' network and should not.
func (n *node) pathWarnings(o config.Node) []string {
	apart := false
	n.member(o.Name, func(g *group, i int) {
		l := g.links[i].Status()
		apart = apart || l.Up && !l.Own && o.ReplicationAddress.IsValid()
	})
	if !apart {
		return nil
	}
	return []string{fmt.Sprintf("node %s is not reached at its replication_address %v: replies to it go by the clients' network (look at the cable; the session returns by itself)",
		o.Name, o.ReplicationAddress)}
}

// peerStates are from the best to the worst.
var peerStates = []string{"", "alive", "suspect", "dead"}

// peerStatus is the worst that any group has to say of a node; of one that shares none with this
// node, what gossip says.
func (n *node) peerStatus(o config.Node) PeerStatus {
	p := PeerStatus{Name: o.Name}
	n.member(o.Name, func(g *group, i int) {
		l := g.links[i].Status()
		if state := g.peerState(i, l.Up); slices.Index(peerStates, state) > slices.Index(peerStates, p.State) {
			p.State = state
		}
		p.RTT = max(p.RTT, l.RTT.Microseconds())
		if l.Up {
			p.Session = l.At.String()
		}
		switch {
		case p.Problem != "":
		case !l.Up && l.Refusal != nil:
			p.Problem = l.Refusal.Error()
		case l.Up:
			p.Problem = unequal(n.kernel, l.Peer.Kernel)
		}
	})
	if p.State == "" {
		p.State = "dead"
		for _, m := range n.gossip.Members() {
			if m.Name == o.Name {
				p.State = "alive"
			}
		}
	}
	return p
}

// peerState is what the director holds of its peer. Of a spare it holds nothing but its session.
func (g *group) peerState(i int, up bool) string {
	st := g.dir.status.Load()
	switch {
	case i == st.Target && st.Session && !st.Suspect, i != st.Target && up:
		return "alive"
	case i == st.Target && st.Role != takeover.Sole:
		return "suspect"
	}
	return "dead"
}

// witnessStatus is the worst that any group's connection to the witness shows.
func (n *node) witnessStatus(w config.Node) (PeerStatus, []string) {
	p := PeerStatus{Name: w.Name, State: "alive"}
	var without []string
	wrong := ""
	for _, g := range n.groups {
		p.RTT = max(p.RTT, g.witness.RTT().Microseconds())
		if !g.witness.Up() {
			without = append(without, g.nodes[g.target()].Name)
			wrong = g.witness.Wrong()
		}
	}
	if len(without) == 0 {
		return p, nil
	}
	slices.Sort(without)
	p.State, p.RTT = "dead", 0
	return p, []string{fmt.Sprintf("witness %s does not answer (%s): this node cannot claim, so nothing survives the death of %s until the witness is back",
		w.Name, orDash(wrong), strings.Join(slices.Compact(without), " or "))}
}

func (n *node) drops() map[string]uint64 {
	m := n.data.drops()
	if r, err := n.rules.Drops(); err == nil {
		for reason, count := range r {
			m["rule-"+reason] += count
		}
	}
	for _, w := range n.workers {
		q := w.queue.Stats()
		m["queue-full"] += q.QueueFull
		m["queue-socket-full"] += q.SocketFull
		m["queue-unanswered"] += q.Unanswered
	}
	n.logDrops(m)
	if s := n.port.Strangers(); s > 0 {
		m["session-stranger"] = s
	}
	return m
}

func (g *group) serviceStatus(v *service) ServiceStatus {
	st := g.dir.status.Load()
	c, p := g.n.data.count(v.cfg.Advertised), v.proxy.Stats()
	peer := g.nodes[st.Target].Name
	s := ServiceStatus{Name: v.cfg.Name, Advertised: v.cfg.Advertised.String(), Role: st.Role.String(),
		Mode: "simplex", Epoch: uint64(st.Epoch), Peer: peer, InSync: st.Paired && st.Mated && st.Session, Why: why(st),
		Upstream: v.health.State().Verdict.String(), UpstreamWhy: v.health.State().Reason, LastTakeover: g.dir.record.lastTakeover(),
		Flows: FlowCounts{Duplex: c.Duplex, Simplex: c.Simplex, Unprotected: p.Alone},
		Exchanges: ExchangeCounts{Delivered: p.Delivered, Replayed: p.Replayed,
			Reexecuted: p.Reexecuted, Moved: p.Moved, Unprotected: p.Unprotected, Failed: p.Failed},
		Modes: ModeCounts{Logged: p.Delivered - p.SyncStatic - p.Static - p.Deferred, SyncStatic: p.SyncStatic, Static: p.Static,
			Deferred: p.Deferred, Unprotected: p.Unprotected,
			Instead: p.Unlike, Mirrored: p.Mirrored, Differed: p.Differed},
	}
	if st.Paired {
		s.Mode = "duplex"
		s.IfDied = Forecast{Survive: c.Duplex + c.Simplex, Lost: c.Relay, Reexecute: p.Held}
	}
	switch {
	case st.Owner:
		s.Owner = g.n.self.Name
	case st.Peer.Owner:
		s.Owner = peer
	}
	return s
}

func why(st *takeover.Status) string {
	if st.Held != "" {
		return st.Held
	}
	return st.Why
}
