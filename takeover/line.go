package takeover

import (
	"slices"
	"time"
)

// A group may list more than two nodes. At any time a node has one of the others as its peer: a
// half of a pair has the other half, a survivor the node that it wants as the missing half, a
// spare the one that it waits for. Sessions go to all, and show who serves; so a node that comes
// late or was cut off never begins anew beside those who serve. With two nodes there is nothing
// to choose.

// node is another node of the list, the present peer or not.
type node struct {
	peer
	lost time.Duration // its session ended, 0 before the first
	gone time.Duration // it was judged gone, 0: it was not, or has given a sign since
	dead bool          // the last that it showed was R

	tells  bool          // the last that it said of itself, by whatever way, is that it serves
	signed time.Duration // the last Sign
}

// paired reports that the node is in the pair with this process, and not in one that this
// process gave up.
func (m *Machine) paired(p *peer) bool {
	return p.up && p.heard && p.view.Paired && p.view.Knew == m.gaveUp && p.view.Role.inPair()
}

// begin starts a session with the node.
func (p *peer) begin(ev Event) {
	*p = peer{boot: ev.Boot, up: true, unequal: ev.Unequal, apart: ev.Apart}
}

// says takes what a heartbeat shows.
func (p *peer) says(v View, now time.Duration) {
	if !v.LinkDead {
		p.deadAt = 0
	} else if p.deadAt == 0 {
		p.deadAt = now
	}
	p.view, p.heard = v, true
}

// serves reports that the node says it serves.
func (n *node) serves() bool { return n.up && n.heard && n.view.Role.serving() }

// waits reports that the node could become the half of a pair.
func (n *node) waits() bool {
	return n.up && n.heard && !n.unequal && !n.view.LinkDead && n.view.Role == Joining
}

// about books what an event tells about a node, and reports whether it concerns the present
// peer or no node at all, so that there is more to it.
func (m *Machine) about(ev Event) bool {
	switch ev.Kind {
	case Sign, SessionUp, SessionDown, PeerState, PeerLeaving, Claimed, Refused, Connected, AnswerPeer, HandedOver:
	default:
		return true
	}
	i := ev.From
	if i == m.cfg.Index {
		i = m.target
	}
	if i < 0 || i >= len(m.nodes) {
		return false
	}
	n := &m.nodes[i]
	if ev.Kind == Refused && !m.believes(n, ev) {
		return false
	}
	switch ev.Kind {
	case Sign:
		n.gone, n.dead, n.signed, n.tells = 0, false, m.now, n.tells || ev.Epoch > 0
	case SessionUp:
		n.gone, n.dead = 0, false
	case PeerState:
		n.gone, n.dead, n.tells = 0, false, ev.Peer.Role.serving()
	case Connected:
		n.dead = false
	case SessionDown:
		n.lost = m.now
	case Refused:
		n.dead, n.tells = true, false
	case PeerLeaving:
		n.gone, n.dead, n.tells = m.now, true, false
	}
	if i == m.target {
		return true
	}
	m.aside(n, ev)
	return false
}

// believes reports whether a refused connect says that the node's process died: by the network of
// its latest session, for on the other one a firewall may refuse what never stood there.
func (m *Machine) believes(n *node, ev Event) bool {
	return !m.cfg.Apart || n.boot == (Boot{}) || n.apart == ev.Apart
}

// aside books what another node than the present peer says. One that serves at a higher epoch
// has claimed, whoever it is; what a node that serves nothing has on its disk is history.
func (m *Machine) aside(n *node, ev Event) {
	switch ev.Kind {
	case Sign, Claimed:
		m.overhear(ev.Epoch, true)
	case SessionUp:
		n.begin(ev)
		m.overhear(ev.Epoch, false)
	case SessionDown, PeerLeaving:
		n.up, n.peer.heard = false, false
	case PeerState:
		if ev.Boot != n.boot || !n.up {
			return
		}
		n.says(ev.Peer, m.now)
		m.overhear(ev.Peer.Epoch, n.serves())
		if n.serves() && !m.lost(n) && m.role == Joining && m.claim != nil && !m.claim.granted {
			m.callOff("another node serves")
		}
	}
}

func (m *Machine) overhear(e Epoch, serves bool) {
	if serves {
		m.learn(e)
	} else {
		m.seen = max(m.seen, e)
	}
}

// listedFirst reports whether this node comes before its peer in the list.
func (m *Machine) listedFirst() bool { return m.cfg.Index < m.target }

// choose turns to another peer where that is better. The halves of a pair have each other.
func (m *Machine) choose() {
	if m.cfg.Nodes == 2 || m.claim != nil {
		return
	}
	best := m.target
	switch {
	case m.role == Sole && m.hold.cause == notHeld:
		best = m.chooseHalf()
	case m.role == Joining:
		best = m.chooseToJoin()
	}
	if best != m.target {
		m.turnTo(best)
	}
}

// chooseHalf returns the node that a survivor wants: the one that it has chosen, as long as
// that may come; else the next in the list that waits.
func (m *Machine) chooseHalf() int {
	p := &m.nodes[m.target]
	comes := p.waits() || m.paired(&p.peer)
	if comes && m.now-m.chosen < m.cfg.patience() {
		return m.target
	}
	for k := range m.cfg.Nodes {
		i := k
		if comes { // it waits and does not come: turn by turn
			i = (m.target + 1 + k) % m.cfg.Nodes
		}
		if i != m.cfg.Index && m.nodes[i].waits() {
			return i
		}
	}
	return m.target
}

// chooseToJoin returns whom a node without flows looks at: the survivor that has chosen it,
// else one that serves, else the first in the list that waits as well, else whom it looked at.
func (m *Machine) chooseToJoin() int {
	best, rank := m.target, 0
	unknown := slices.ContainsFunc(m.nodes, m.unknown)
	for k := range m.cfg.Nodes {
		i := (m.target + k) % m.cfg.Nodes // the present one first: nothing changes among equals
		n := &m.nodes[i]
		r := 0
		switch {
		case i == m.cfg.Index || m.lost(n):
		case n.serves() && n.view.Role == Sole && n.view.Chosen && !n.unequal:
			r = 3
		case n.serves():
			r = 2
		case n.waits() && !unknown:
			r = 1
		}
		better := r > rank
		if r == rank && r > 1 {
			better = n.view.Epoch > m.nodes[best].view.Epoch
		} else if r == rank && r == 1 {
			better = i < best
		}
		if better {
			best, rank = i, r
		}
	}
	return best
}

// turnTo makes node i the peer. What was known of the life of another one says nothing of it.
func (m *Machine) turnTo(i int) {
	m.target, m.peer, m.chosen, m.adopt = i, &m.nodes[i].peer, m.now, 0
	m.ev = evidence{since: m.now, link: m.ev.link, answer: m.ev.answer, linked: m.ev.linked, dead: m.ev.dead}
	m.do(Action{Do: Choose, Node: i}, Action{Do: Publish})
}

// elsewhere says why a node without flows must not begin to serve, in words; empty: it may.
// Any node of the list but the peer, which has its own evidence, may be serving until it says
// otherwise or was not heard for long.
func (m *Machine) elsewhere() string {
	for i := range m.nodes {
		n := &m.nodes[i]
		switch {
		case i == m.cfg.Index || i == m.target:
		case n.serves() && !m.lost(n):
			return "another node serves"
		case m.unknown(*n):
			return "listening for another node"
		}
	}
	return ""
}

// absentee reports that a node beside the peer is not heard.
func (m *Machine) absentee() bool {
	for i := range m.nodes {
		n := &m.nodes[i]
		if i != m.cfg.Index && i != m.target && (!n.up || !n.heard || m.lost(n)) {
			return true
		}
	}
	return false
}

// company reports that another node than the peer waits as this one does: they can be a pair, or
// if their kernels differ the first of them in the list claims. Else both would.
func (m *Machine) company() bool {
	for i := range m.nodes {
		n := &m.nodes[i]
		if i != m.cfg.Index && i != m.target && n.up && n.heard && !n.view.LinkDead && (!n.unequal || i < m.cfg.Index) {
			return true
		}
	}
	return false
}

// unknown reports that a node may be doing anything, for all that was heard of it. One without
// a session, whose config differs say, serves on as long as its gossip comes.
func (m *Machine) unknown(n node) bool {
	if n.up || n.gone != 0 {
		return n.up && !n.heard
	}
	heard := max(n.lost, m.awake)
	if n.tells {
		heard = max(heard, n.signed)
	}
	return m.now-heard < m.cfg.listenFor()
}

// unheard returns a node of which nothing is known and which was not found gone lately; it
// must be looked at before this node claims empty. It reports false if there is none.
func (m *Machine) unheard() (int, bool) {
	lately := time.Duration(3*m.cfg.Nodes) * m.cfg.HangTimeout
	for k := range m.cfg.Nodes {
		i := (m.target + 1 + k) % m.cfg.Nodes
		n := &m.nodes[i]
		if i != m.cfg.Index && i != m.target && !n.up && (n.gone == 0 || m.now-n.gone >= lately) {
			return i, true
		}
	}
	return 0, false
}
