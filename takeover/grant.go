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
	case m.mustFence(c):
		first := m.owner || !m.inPair() && m.listedFirst()
		if !c.fencing && (first || m.now-c.at >= m.cfg.fenceHead()) {
			c.fencing = true
			m.do(Action{Do: FencePeer, Epoch: c.epoch, Node: m.target, Why: c.why})
		}
	default:
		c.writing = true
		m.do(Action{Do: WriteEpoch, Epoch: c.epoch, Why: c.why})
	}
}

// mustFence reports whether the peer is still to be powered off. A process that is known to be
// gone has left nothing that could speak.
func (m *Machine) mustFence(c *claim) bool {
	return m.cfg.Fences != nil && m.cfg.Fences[m.target] && !c.sure && !c.fenced
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

// fenceAnswered books the end of the fence command.
func (m *Machine) fenceAnswered(e Epoch, off bool) {
	switch {
	case m.claim == nil || m.claim.epoch != e:
	case off:
		m.claim.fenced = true
	default:
		m.retry = m.now + m.cfg.fenceRetry()
		m.callOff("no claim: the fence command failed, so the peer may still be serving (" + m.claim.why + ")")
	}
}
