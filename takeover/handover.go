package takeover

import "time"

// Voice and address move by agreement between two living hosts: the one that has one of them lets
// go first and says so, the other takes it when it hears that. In between nobody speaks or
// answers, so no moment has two voices (I3), and no epoch is raised. The turns of each are
// counted within a pair: a word that comes late or twice is not believed, and one that was lost
// is said again until the peer's heartbeats show that it was heard.

// baton is the voice or the address, as far as it is handed over.
type baton struct {
	turn  uint16        // handovers in this pair, in either direction
	given bool          // away, and the peer has not shown yet that it took it
	at    time.Duration // said the last time
}

// later reports that turn a comes after turn b, which wrap around (RFC 1982 §3.2).
func later(a, b uint16) bool { return int16(a-b) > 0 }

// newBatons begins to count anew, unless it is the same pair again: its other side may not have
// noticed that this one was out of it.
func (m *Machine) newBatons() {
	if m.batons.mate != m.mate || m.batons.epoch != m.epoch {
		m.voice, m.address = baton{}, baton{}
	}
	m.voice.given, m.address.given = false, false
	m.batons.mate, m.batons.epoch = m.mate, m.epoch
}

// relinquish gives the peer what this node has of voice and address.
func (m *Machine) relinquish(ev Event) {
	voice, address := ev.Voice && m.role == Primary, ev.Address && m.owner
	if !m.settled() || !voice && !address {
		return
	}
	m.why = "handed over to the peer"
	if voice {
		m.do(Action{Do: Yield}, Action{Do: CloseGate})
		m.role = Backup
		m.voice = baton{turn: m.voice.turn + 1, given: true}
	}
	if address {
		m.do(Action{Do: Disown})
		m.owner = false
		m.address = baton{turn: m.address.turn + 1, given: true}
	}
	m.remind()
	m.do(Action{Do: Publish})
}

// settled reports whether this node is in a sound pair, with nothing else under way.
func (m *Machine) settled() bool {
	return m.inPair() && m.mated && m.peer.up && m.peer.boot == m.mate &&
		m.hold.cause == notHeld && m.claim == nil && !m.suspect() && !m.peer.view.LinkDead
}

// remind says what was given, now and as long as the peer's view does not show it.
func (m *Machine) remind() {
	m.say(&m.voice, m.peer.view.VoiceTurn, Action{Speaker: true})
	m.say(&m.address, m.peer.view.AddressTurn, Action{Owner: true})
}

// say hands one baton over; turn is the latest that the peer knows of.
func (m *Machine) say(b *baton, turn uint16, a Action) {
	if !later(b.turn, turn) {
		b.given = false
	}
	if !b.given || b.at != 0 && m.now-b.at < m.cfg.SuspectAfter {
		return
	}
	b.at = m.now
	a.Do, a.Epoch, a.Boot, a.Turn, a.Why = HandOver, m.epoch, m.mate, b.turn, m.why
	m.do(a)
}

// handedOver takes what the peer gave, voice or address. A node that withholds its voice takes
// the part all the same; it speaks when the hold ends.
func (m *Machine) handedOver(ev Event) {
	if !m.inPair() || ev.Boot != m.mate || ev.Epoch != m.epoch || m.claim != nil {
		return
	}
	free := m.hold.cause == notHeld
	switch {
	case ev.Voice && later(ev.Turn, m.voice.turn) && m.role == Backup:
		m.voice = baton{turn: ev.Turn}
		m.mated = true // who is not gives nothing away
		m.role, m.why = Primary, "handed over by the peer"
		m.do(Action{Do: TakeVoice, Epoch: m.epoch, Why: m.why})
		if free {
			m.do(Action{Do: OpenGate}, Action{Do: ReleaseHeld})
		}
	case ev.Address && later(ev.Turn, m.address.turn) && !m.owner:
		m.address = baton{turn: ev.Turn}
		m.owner, m.why = true, "handed over by the peer"
		if free {
			m.do(Action{Do: Own}, Action{Do: Announce})
		}
	default:
		return
	}
	m.do(Action{Do: Publish})
}
