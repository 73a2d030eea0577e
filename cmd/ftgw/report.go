package main

import (
	"fmt"

	"github.com/ftgw/ftgw/takeover"
)

// status is what this node says of itself to an operator.
func (n *node) status() Status {
	st := n.dir.status.Load()
	s := Status{Node: n.self.Name, Version: version(), Drops: n.drops(),
		Peers: []PeerStatus{{Name: n.peer.Name, State: peerState(st), RTT: n.link.RTT().Microseconds(), Problem: n.problem()}}}
	if w, there := n.cfg.Witness(); there {
		p := PeerStatus{Name: w.Name, State: "alive", RTT: n.witness.RTT().Microseconds()}
		if !n.witness.Up() {
			p.State, p.RTT = "dead", 0
			s.Warnings = append(s.Warnings, fmt.Sprintf("witness %s does not answer (%s): this node cannot claim, so nothing survives the death of %s until the witness is back",
				w.Name, orDash(n.witness.Wrong()), n.peer.Name))
		}
		s.Peers = append(s.Peers, p)
	}
	for _, v := range n.services {
		s.Services = append(s.Services, n.serviceStatus(v, st))
	}
	return s
}

// problem says what keeps this node and its peer from being a pair.
func (n *node) problem() string {
	l := n.link.Status()
	switch {
	case !l.Up && l.Refusal != nil:
		return l.Refusal.Error()
	case l.Up:
		return unequal(n.kernel, l.Peer.Kernel)
	}
	return ""
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
	if s := n.port.Strangers(); s > 0 {
		m["session-stranger"] = s
	}
	return m
}

func peerState(st *takeover.Status) string {
	switch {
	case st.Session && !st.Suspect:
		return "alive"
	case st.Role == takeover.Sole:
		return "dead"
	}
	return "suspect"
}

func (n *node) serviceStatus(v *service, st *takeover.Status) ServiceStatus {
	c, p := n.data.count(v.cfg.Advertised), v.proxy.Stats()
	s := ServiceStatus{Name: v.cfg.Name, Advertised: v.cfg.Advertised.String(), Role: st.Role.String(),
		Mode: "simplex", Epoch: uint64(st.Epoch), Peer: n.peer.Name, InSync: st.Paired && st.Mated && st.Session, Why: why(st),
		Upstream: v.upstream.String(), LastTakeover: n.dir.lastTakeover(),
		Flows: FlowCounts{Duplex: c.Duplex, Simplex: c.Simplex},
		Exchanges: ExchangeCounts{Delivered: p.Delivered, Replayed: p.Replayed,
			Reexecuted: p.Reexecuted, Failed: p.Failed},
	}
	if st.Paired {
		s.Mode = "duplex"
		s.IfDied = Forecast{Survive: c.Duplex + c.Simplex, Lost: c.Relay, Reexecute: p.Held}
	}
	switch {
	case st.Owner:
		s.Owner = n.self.Name
	case st.Peer.Owner:
		s.Owner = n.peer.Name
	}
	return s
}

func why(st *takeover.Status) string {
	if st.Held != "" {
		return st.Held
	}
	return st.Why
}
