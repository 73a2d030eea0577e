package takeover

import "time"

// claim is a decision to serve alone that is not carried out yet; grant.go has its steps.
type claim struct {
	epoch Epoch
	why   string
	on    ground
	at    time.Duration // it was decided

	granted bool // by the witness
	fencing bool // the fence command of node victim runs
	victim  int
	fenced  []bool // which nodes are off
	writing bool   // the number is on its way to disk
}

// ground is what a claim rests on.
type ground uint8

const (
	onSilence ground = iota // a sign of life calls it off
	onWord                  // the peer's LinkDead: the peer alone takes it back
	onDeath                 // R, or what cannot change: nothing calls it off
)

// cause is why voice and answers are withheld.
type cause uint8

const (
	notHeld  cause = iota
	linkDead       // no S, no G
	checking       // stood still, or the link came back: is our epoch still the highest?
	parted         // the peer, which answers for the address, is not reached on the clients' network
)

// hold withholds voice and answers while the role is kept.
type hold struct {
	cause cause
	at    time.Duration // it began
	asks  time.Duration // checking: stamps from then on go with a state that does not say LinkDead; 0: none yet
	doubt bool          // for so long that the peer may have claimed unseen
}

// String returns the cause in words, or nothing.
func (h hold) String() string {
	return [...]string{"", "own link dead", "checking for a higher epoch", "parted from the peer"}[h.cause]
}

// claimFlows claims from within a pair, or gives the flows up if the peer may have changed them.
func (m *Machine) claimFlows(why string, on ground) {
	if !m.mated && m.cfg.Nodes > 2 {
		m.fence(why + ", before it said that it is in the pair") // it may have chosen another node
		return
	}
	if !m.mated && on != onDeath && m.quiet() < 2*m.cfg.HangTimeout {
		// It has not said that it is in a pair with this node: it may be a survivor behind a dead
		// link, which falls silent later than a primary.
		m.why = why + ", before it said that it is in the pair"
		return
	}
	if m.hold.doubt {
		m.fence(why + ", but this node could not see whether it claimed before")
		return
	}
	m.begin(why, on)
}

// claimEmpty claims as a node without flows (I6).
func (m *Machine) claimEmpty(why string, on ground) {
	if m.now < m.cfg.StartWait {
		m.why = why + "; waiting for start_wait"
		return
	}
	if m.cfg.Nodes > 2 {
		m.nodes[m.target].gone = m.now
		if not := m.elsewhere(); not != "" {
			m.why = why + "; " + not
			return
		}
		if i, there := m.unheard(); there {
			m.turnTo(i)
			return
		}
		if m.company() {
			m.why = why + "; another node waits as well"
			return
		}
	}
	m.begin(why, on)
}

func (m *Machine) begin(why string, on ground) {
	if m.linkDead() {
		return
	}
	if m.claim != nil {
		m.claim.on = max(m.claim.on, on)
		m.advance()
		return
	}
	if m.now < m.retry {
		return
	}
	base := m.epoch
	if !m.inPair() {
		base = m.seen // without flows to save, this node may claim after whatever was
	}
	m.seen = m.seen.Next(m.cfg.Index, m.cfg.Nodes)
	m.claim = &claim{epoch: m.seen, why: why, on: on, at: m.now, fenced: make([]bool, m.cfg.Nodes)}
	m.adopt = 0
	m.why = why
	if m.cfg.Witness {
		m.do(Action{Do: AskGrant, Epoch: m.seen, Base: base, Empty: !m.inPair(), Why: why})
	}
	m.advance()
}

// callOff drops a claim that is not carried out. No peer was told its number, so the disk may
// forget it again; otherwise a restart would fence a peer that did nothing wrong.
func (m *Machine) callOff(why string) {
	written := m.claim.writing
	m.claim = nil
	m.why = why
	if written {
		m.do(Action{Do: WriteEpoch, Epoch: m.epoch, Why: "claim called off: " + why})
	}
}

func (m *Machine) epochWritten(e Epoch) {
	switch {
	case m.claim != nil && m.claim.epoch == e:
		m.carryOut()
	case m.adopt != 0 && m.adopt == e && m.role == Joining:
		m.epoch, m.adopt = e, 0
	case m.adopt != 0 && m.adopt == e && m.role == Sole:
		m.epoch, m.adopt = e, 0
		m.do(Action{Do: Publish})
	}
}

func (m *Machine) epochWriteFailed(e Epoch) {
	if m.claim != nil && m.claim.epoch == e || m.adopt == e {
		m.claim, m.adopt = nil, 0
		m.retry = m.now + m.cfg.SuspectAfter
		m.why = "the epoch could not be written: look at the disk of state_dir"
	}
}

// carryOut is the claim itself, in the order of I6.
func (m *Machine) carryOut() {
	c, old, empty := m.claim, m.mate, m.role == Joining
	m.claim, m.mate, m.mated, m.hold = nil, Boot{}, false, hold{}
	m.role, m.owner, m.epoch, m.why = Sole, true, c.epoch, c.why
	if empty {
		clear(m.shared)
	}
	m.ev.gone = ""
	m.ev.link, m.ev.answer = m.now, m.now // its patience with the gateway begins here
	if old != (Boot{}) {
		m.do(Action{Do: AbandonPeer, Boot: old})
		if m.peer.boot == old {
			m.peer.up, m.peer.heard = false, false
		}
	}
	m.do(Action{Do: Publish},
		Action{Do: Promote, Epoch: c.epoch, Empty: empty, Why: c.why},
		Action{Do: OpenGate}, Action{Do: Own}, Action{Do: Announce}, Action{Do: ReleaseHeld})
}

// fence ends all that this node does for the address (I5).
func (m *Machine) fence(why string) {
	m.claim, m.mate, m.mated, m.hold, m.adopt = nil, Boot{}, false, hold{}, 0
	m.role, m.owner, m.why = Fenced, false, why
	m.gaveUp++
	m.ev.gone = ""
	m.do(Action{Do: CloseGate}, Action{Do: Disown}, Action{Do: Fence, Why: why}, Action{Do: Publish})
}

// withhold makes this node silent without giving up its role.
func (m *Machine) withhold(c cause) {
	if m.hold.cause == notHeld {
		m.hold.at = m.now
		m.ev.gone = "" // a death from before says nothing of what has happened since
		if m.speaker() {
			m.do(Action{Do: CloseGate})
		}
		if m.owner {
			m.do(Action{Do: Disown})
		}
	}
	if c == linkDead && m.hold.cause != linkDead {
		m.hold.at = m.now
	}
	m.hold.cause = c
}

// resume ends a hold.
func (m *Machine) resume(why string) {
	if m.cut {
		return
	}
	m.hold, m.why = hold{}, why
	m.ev.link, m.ev.answer = m.now, m.now
	if m.maySpeak() {
		m.do(Action{Do: OpenGate, Why: why})
	}
	if m.owner {
		m.do(Action{Do: Own}, Action{Do: Announce})
	}
	if m.speaker() {
		m.do(Action{Do: ReleaseHeld}) // of a voice that was taken meanwhile
	}
}

// linkDown makes this node silent: what it has queued must not leave when the link returns, for
// somebody else may serve then.
func (m *Machine) linkDown() {
	const why = "this node's own link has no carrier"
	if m.claim != nil {
		m.callOff(why)
	}
	m.cut = true
	if m.serving() {
		m.why = why
		m.withhold(linkDead)
	}
}

// linkBack listens anew after the own link was dead. Whatever was not seen meanwhile is asked
// of the peer; if that is dead then, only a blindness too short for a claim that went unseen is no
// doubt.
func (m *Machine) linkBack() {
	if m.cut {
		return
	}
	if m.ev.dead {
		m.ev.dead = false
		m.listenAnew()
	}
	if m.hold.cause != linkDead {
		return
	}
	m.hold.doubt = m.hold.doubt || m.inPair() && m.now-m.hold.at >= m.cfg.SuspectAfter
	m.hold.cause = checking
	m.listenAnew()
}

// stalled handles a gap between two events: this process stood still, and what it knows, and
// what waits in its buffers, is as old as the gap.
func (m *Machine) stalled(gap time.Duration) {
	if m.claim != nil {
		m.callOff("this process stood still")
	}
	m.ev.gone, m.awake = "", m.now
	m.listenAnew()
	if !m.serving() {
		return
	}
	if m.hold.cause != linkDead {
		m.withhold(checking)
	}
	m.hold.doubt = m.hold.doubt || m.inPair() && gap >= m.cfg.HangTimeout
	m.why = "this process stood still"
}

func (m *Machine) listenAnew() {
	m.ev.since, m.hold.asks = m.now, 0
	m.ev.round = round{}
}
