package takeover

import "time"

// The steps between the decision to claim and WriteEpoch: the witness' grant, then the fence
// command. A number goes to disk only when both are there, so that a node which waits for them
// and restarts does not come back with a number that fences a healthy peer.

// grantWait is how long a grant is waited for. A claim without it is given up and tried anew
// with another number, so that a grant that arrives late is of no claim.
func (c Config) grantWait() time.Duration { return 10 * c.SuspectAfter }

// fenceRetry is between two runs of a fence command that failed.
func (c Config) fenceRetry() time.Duration { return 2 * c.HangTimeout }

// fenceHead is by how much the owner, or of two joining nodes the first, is ahead where both
// would power each other off.
func (c Config) fenceHead() time.Duration {
	if c.Witness {
		return 0
	}
	return c.HangTimeout
}

// advance takes the claim's next step.
func (m *Machine) advance() {
	c := m.claim
	switch {
	case c == nil || c.writing:
	case m.cfg.Witness && !c.granted:
		if m.now-c.at >= m.cfg.grantWait() {
			m.retry = m.now + m.cfg.SuspectAfter
			m.callOff("no claim: the witness does not answer (" + c.why + ")")
		}
	default:
		m.fenceOrWrite(c)
	}
}

// fenceOrWrite powers off the next node that is to be, or goes on with the number.
func (m *Machine) fenceOrWrite(c *claim) {
	i, there := m.toFence(c)
	switch {
	case !there:
		c.writing = true
		m.do(Action{Do: WriteEpoch, Epoch: c.epoch, Why: c.why})
	case c.fencing && c.victim == i:
	case m.owner, !m.inPair() && m.cfg.Index < i, m.now-c.at >= m.cfg.fenceHead():
		c.fencing, c.victim = true, i
		m.do(Action{Do: FencePeer, Epoch: c.epoch, Node: i, Why: c.why})
	}
}

// waitsTurn reports that nothing has come of a claim yet but the wait for fenceHead.
func (m *Machine) waitsTurn(c *claim) bool {
	return !m.cfg.Witness && !c.fencing && !c.writing
}

// toFence returns a node that is still to be powered off: the peer, and where this node is in no
// pair any other that it does not hear, which may be serving. A process that is known to be gone
// has left nothing that could speak. It reports false if there is none.
func (m *Machine) toFence(c *claim) (int, bool) {
	for i, command := range m.cfg.Fences {
		n := &m.nodes[i]
		silent := i == m.target && c.on == onSilence || i != m.target && !m.inPair() && !n.up
		if command && silent && i != m.cfg.Index && !n.dead && !c.fenced[i] {
			return i, true
		}
	}
	return 0, false
}

// granted books the witness' grant. From now on the peer has been told, and a sign of its life
// changes nothing any more.
func (m *Machine) granted(e Epoch) {
	if m.claim != nil && m.claim.epoch == e {
		m.claim.granted = true
	}
}

// denied books the witness' refusal. If the peer was granted a number since the epoch that is
// in force here, it may have claimed.
func (m *Machine) denied(ev Event) {
	m.seen = max(m.seen, ev.Held)
	if m.claim != nil && m.claim.epoch == ev.Epoch {
		m.retry = m.now + m.cfg.SuspectAfter
		m.callOff("no claim: " + ev.Why + " (" + m.claim.why + ")")
	}
	if ev.Against {
		m.superseded(ev.Held)
	}
}

// superseded ends the service of an epoch below one that the witness granted to the peer, and
// says so: the witness lets the peer speak when it knows that this node does not.
func (m *Machine) superseded(e Epoch) {
	m.learn(e)
	if !m.serving() {
		m.do(Action{Do: ReportSilent, Epoch: e})
	}
}

// fenceAnswered books the end of the fence command of a node.
func (m *Machine) fenceAnswered(ev Event, off bool) {
	i := ev.From
	if i == m.cfg.Index {
		i = m.target
	}
	switch {
	case m.claim == nil || m.claim.epoch != ev.Epoch:
	case off:
		m.claim.fenced[i] = true
	default:
		m.retry = m.now + m.cfg.fenceRetry()
		m.callOff("no claim: a fence command failed, so its node may still be serving (" + m.claim.why + ")")
	}
}
