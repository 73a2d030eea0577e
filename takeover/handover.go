package takeover

// Voice and address move by agreement between two living hosts: the one that has them lets go
// first and says so, the other takes them when it hears it. In between nobody speaks or
// answers, so no moment has two voices (I3), and no epoch is raised. A message that is lost
// with its session, or with either host, leaves a pair in which the usual evidence decides.

// relinquish gives the peer what this node has of voice and address.
func (m *Machine) relinquish(ev Event) {
	voice, address := ev.Voice && m.role == Primary, ev.Address && m.owner
	if !m.settled() || !voice && !address {
		return
	}
	if voice {
		m.do(Action{Do: Yield}, Action{Do: CloseGate})
		m.role = Backup
	}
	if address {
		m.do(Action{Do: Disown})
		m.owner = false
	}
	m.why = "handed over to the peer"
	m.do(Action{Do: HandOver, Epoch: m.epoch, Boot: m.mate, Speaker: voice, Owner: address, Why: m.why},
		Action{Do: Publish})
}

// settled reports whether this node is in a sound pair, with nothing else under way.
func (m *Machine) settled() bool {
	return m.inPair() && m.mated && m.peer.up && m.peer.boot == m.mate &&
		m.hold.cause == notHeld && m.claim == nil && !m.suspect()
}

// handedOver takes what the peer gave. A node that withholds its voice takes the part all the
// same; it speaks when the hold ends.
func (m *Machine) handedOver(ev Event) {
	if !m.inPair() || ev.Boot != m.mate || m.claim != nil {
		return
	}
	m.why = "handed over by the peer"
	if ev.Voice && m.role == Backup {
		m.role = Primary
		m.do(Action{Do: TakeVoice, Epoch: m.epoch, Why: m.why})
		if m.hold.cause == notHeld {
			m.do(Action{Do: OpenGate}, Action{Do: ReleaseHeld})
		}
	}
	if ev.Address && !m.owner {
		m.owner = true
		if m.hold.cause == notHeld {
			m.do(Action{Do: Own}, Action{Do: Announce})
		}
	}
	m.do(Action{Do: Publish})
}
