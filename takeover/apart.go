package takeover

import "time"

// What Config.Apart adds: see the package comment.

// linkDead reports that this node's own link to the clients was found dead.
func (m *Machine) linkDead() bool { return m.cut || m.ev.dead }

// stranded is what LinkDead says: this node is silent, since it cannot do its part.
func (m *Machine) stranded() bool { return m.linkDead() || m.hold.cause == parted }

// unseen reports that nothing has come by the clients' network for too long, whatever else was
// heard, or no answer, without which it is not known whether anything goes out there.
func (m *Machine) unseen() bool {
	return m.cfg.Apart && (m.now-max(m.ev.link, m.ev.since) >= m.cfg.SuspectAfter || m.unanswered() >= m.cfg.HangTimeout/2)
}

// unanswered is how long nobody has answered there.
func (m *Machine) unanswered() time.Duration { return m.now - max(m.ev.answer, m.ev.since) }

// untried reports that the gateway was not seen since the peer said LinkDead, or never.
func (m *Machine) untried() bool {
	return m.cfg.Apart && (!m.ev.linked || m.peer.up && m.peer.deadAt > 0 && m.ev.gate < m.peer.deadAt)
}

// unreached reports that the peer was not heard on the clients' network lately, so that no pair
// with it would work.
func (m *Machine) unreached() bool {
	return m.cfg.Apart && (m.stranded() || m.ev.near == 0 || m.now-m.ev.near >= m.cfg.HangTimeout)
}

// lost reports that a node has been stranded for so long that others may serve in its place,
// though their clients' connections begin anew.
func (m *Machine) lost(n *node) bool {
	return n.up && n.heard && n.deadAt > 0 && m.now-n.deadAt >= 2*m.cfg.HangTimeout
}

// peerAnswered books an A.
func (m *Machine) peerAnswered() {
	m.ev.round.peer = true
	if m.cfg.Apart && !m.suspect() {
		m.ev.answer = m.now
		m.heardNear()
		m.linkBack()
	}
}

// heardNear books that the peer is there on the clients' network. So is this node's link, at least
// in one direction, which does not bring a dead one back.
func (m *Machine) heardNear() {
	m.ev.near, m.ev.link = m.now, m.now
	if !m.cfg.Apart {
		m.linkBack()
	}
	if m.hold.cause == parted {
		m.hold.cause = checking
		m.listenAnew()
	}
}

// condemned reports whether a round without G speaks against the own link though the peer is
// heard by the nodes' own network: not where the peer answered, or where there never was a
// gateway, unless this node serves nothing yet, and only after a while, for answers may queue behind
// what clients are sent; a longer one where the peer is heard there, so that what comes in does come.
func (m *Machine) condemned(r round) bool {
	silent := m.now-max(m.ev.link, m.ev.since) >= 3*m.cfg.SuspectAfter && m.ev.linked
	return !r.peer && (m.ev.linked || m.role == Joining) && (silent || m.unanswered() >= m.cfg.HangTimeout)
}

// takenBack calls a claim off whose ground the peer has taken back.
func (m *Machine) takenBack() {
	if c := m.claim; c != nil && c.on == onWord && !c.granted && m.peer.deadAt == 0 {
		m.callOff("the peer's link is back")
	}
}

// judgeStranded: the peer is heard by the nodes' own network, and one of the two cannot do its part.
func (m *Machine) judgeStranded() {
	const why = "the peer's own link is dead, as it says itself"
	p := m.peer
	switch {
	case !m.cfg.Apart || !p.up || !p.heard || m.linkDead():
	case p.deadAt > 0 && (m.untried() || m.now-m.ev.since < 2*m.cfg.SuspectAfter):
		// probe asks; and what came back here may come back there in a moment
	case p.deadAt > 0 && m.inPair() && p.boot == m.mate:
		m.claimStranded(why)
	case p.deadAt > 0 && m.role == Joining && (p.view.Role == Joining || m.lost(&m.nodes[m.target])):
		m.claimEmpty(why, onWord)
	case m.inPair() && !m.owner && p.view.Owner && p.deadAt == 0 && m.hold.cause == notHeld &&
		m.now-max(m.ev.near, m.ev.since, m.entered) >= m.cfg.HangTimeout:
		m.why = "the peer is not reached on the clients' network"
		m.withhold(parted)
	}
}

// claimStranded claims the flows of a peer that is silent by its own word.
func (m *Machine) claimStranded(why string) {
	switch {
	case m.hold.cause == checking:
	case !m.mated:
		m.fence(why + ", before it said that it is in the pair")
	default:
		m.claimFlows(why, onWord)
	}
}
