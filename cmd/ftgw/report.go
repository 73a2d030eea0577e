// What a node says of itself to an operator.
package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ftgw/ftgw/config"
	"github.com/ftgw/ftgw/proxy"
	"github.com/ftgw/ftgw/replication/link"
	"github.com/ftgw/ftgw/rewrite"
	"github.com/ftgw/ftgw/state"
	"github.com/ftgw/ftgw/takeover"
)

func (n *node) status() state.Status {
	kept := n.repairs.status()
	s := state.Status{Node: n.self.Name, Version: version(), Address: n.self.Address.String(), Started: n.started.Round(0), At: time.Now().Round(0),
		Config: digestText(n.now()), Rules: &kept, Services: []state.Service{}, ARP: n.arp.Counts(), Queues: n.queues()}
	s.Accepted, s.Drops = n.verdicts()
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
	s.Warnings = append(s.Warnings, n.settingsWarnings()...)
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
func (n *node) peerStatus(o config.Node) state.Peer {
	p := state.Peer{Name: o.Name, Address: o.Address.String()}
	n.member(o.Name, func(g *group, i int) {
		l := g.links[i].Status()
		if state := g.peerState(i, l.Up); slices.Index(peerStates, state) > slices.Index(peerStates, p.State) {
			p.State = state
		}
		p.RTT = max(p.RTT, l.RTT.Microseconds())
		if l.Up {
			p.Session = l.At.String()
		}
		p.Sessions += l.Sessions
		p.Dropped += l.Dropped
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
func (n *node) witnessStatus(w config.Node) (state.Peer, []string) {
	p := state.Peer{Name: w.Name, Address: w.Address.String(), Witness: true, State: "alive"}
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

// verdicts counts what went on and what was dropped, by reason.
func (n *node) verdicts() (accepted, dropped map[string]uint64) {
	accepted, dropped = n.data.verdicts()
	if r, err := n.rules.Drops(); err == nil {
		for reason, count := range r {
			dropped["rule-"+reason] += count
		}
	}
	for _, reason := range []string{"queue-full", "queue-socket-full", "queue-unanswered"} {
		dropped[reason] = 0
	}
	for _, w := range n.workers {
		q := w.queue.Stats()
		dropped["queue-full"] += q.QueueFull
		dropped["queue-socket-full"] += q.SocketFull
		dropped["queue-unanswered"] += q.Unanswered + q.Unfit + q.Malformed
	}
	for _, s := range n.senders {
		dropped["send-lost"] += s.Stats().Lost
	}
	n.access.drops(dropped)
	n.hookDrops(dropped)
	dropped["session-stranger"] = n.port.Strangers()
	return accepted, dropped
}

func (n *node) queues() []state.Queue {
	var all []state.Queue
	for i, w := range n.workers {
		q, direction := w.queue.Stats(), "out"
		if w.in {
			direction = "in"
		}
		all = append(all, state.Queue{Number: queueBase + uint16(i), Direction: direction, Packets: q.Packets,
			Waiting: q.Waiting, Full: q.QueueFull, SocketFull: q.SocketFull})
	}
	return all
}

func (g *group) serviceStatus(v *service) state.Service {
	st := g.dir.status.Load()
	c, p := g.n.data.count(v.cfg.Advertised), v.proxy.Stats()
	peer := g.nodes[st.Target].Name
	s := state.Service{Name: v.cfg.Name, Advertised: v.cfg.Advertised.String(), Nodes: v.cfg.Nodes, Role: st.Role.String(),
		Mode: "simplex", Epoch: uint64(st.Epoch), Peer: peer, InSync: st.Paired && st.Mated && st.Session, Why: why(st),
		Upstream: v.state().Verdict.String(), UpstreamWhy: v.state().Reason,
		Flows: state.FlowCounts{Duplex: c.Duplex, Simplex: c.Simplex, Unprotected: p.Alone, Relayed: c.Relay, HalfOpen: c.HalfOpen, Closing: c.Closing},
		Exchanges: state.ExchangeCounts{Delivered: p.Delivered, Replayed: p.Replayed, Reexecuted: p.Reexecuted,
			Moved: p.Moved, Unprotected: p.Unprotected, Failed: p.Failed, Running: p.Inflight},
		Modes: state.ModeCounts{Logged: p.Delivered - p.SyncStatic - p.Static - p.Deferred, SyncStatic: p.SyncStatic, Static: p.Static,
			Deferred: p.Deferred, Unprotected: p.Unprotected,
			Instead: p.Unlike, Mirrored: p.Mirrored, Differed: p.Differed},
		IfDied:      forecast(st, c, p.Held, g.witness == nil || g.witness.Up()),
		Replication: g.replicationStatus(v, p),
		Web:         v.webServer(),
		Bodies:      state.Bodies{Memory: p.Memory, OnDisk: p.OnDisk, Spilled: p.Filed, Failures: p.Spills},
		Lease:       g.leaseStatus(),
		Fenced:      g.fenced.Load(),
	}
	if st.Paired {
		s.Mode = "duplex"
	}
	if s.Takeovers, s.Claims = g.dir.record.latest(); len(s.Takeovers) > 0 {
		s.LastTakeover = &s.Takeovers[len(s.Takeovers)-1]
	}
	switch {
	case st.Owner:
		s.Owner = g.n.self.Name
	case st.Peer.Owner:
		s.Owner = peer
	}
	return s
}

// forecast is what the peer's death now would mean: the connections that both hosts hold and those
// that this one holds alone go on, those that the peer holds alone end. held are the connections with
// a request that has no stored reply. Where this host may not claim, nothing goes on.
func forecast(st *takeover.Status, c rewrite.Count, held int, mayClaim bool) state.Forecast {
	switch st.Role {
	case takeover.Sole: // the peer holds nothing
		return state.Forecast{Survive: c.Duplex + c.Simplex}
	case takeover.Primary, takeover.Backup:
	default:
		return state.Forecast{}
	}
	own, theirs := c.Duplex+c.Simplex, c.Relay+c.Elsewhere
	if !mayClaim {
		return state.Forecast{Lost: own + theirs}
	}
	return state.Forecast{Survive: own, Lost: theirs, Reexecute: held}
}

func (g *group) replicationStatus(v *service, p proxy.Stats) state.Replication {
	r := state.Replication{Stored: v.stores.records.Load(), StoredBytes: v.stores.bytes.Load(),
		StoreTime: v.stores.nanoseconds.Load() / 1000, Unstorable: p.Refused, Strangers: p.Unknown}
	for _, l := range g.links {
		if l == nil {
			continue
		}
		b := l.Backlog(v.cfg.Advertised)
		r.Unstored += b.Records
		r.UnstoredBytes += b.Bytes
		r.Lag = max(r.Lag, b.Age.Microseconds())
	}
	return r
}

func (v *service) webServer() state.WebServer {
	w := v.web.Load()
	h, p := w.health.Stats(), w.pool.Stats()
	return state.WebServer{Checks: h.Checks, FailedChecks: h.Failed, Lent: p.Lent, Idle: p.Idle, Waiting: p.Waiting,
		Connects: p.Dialled, Failed: p.Failed, Reused: p.Reused, Stale: p.Stale, Expired: p.Expired}
}

func (g *group) leaseStatus() state.Lease {
	l := &g.leases
	last := time.Duration(l.last.Load())
	return state.Lease{Held: last > 0 && time.Since(g.n.started)-last < g.n.cfg.Timing.Lease,
		Renewals: l.renewed.Load(), Failures: l.failed.Load()}
}

func why(st *takeover.Status) string {
	if st.Held != "" {
		return st.Held
	}
	return st.Why
}
