package takeover

// pair forms duplex by agreement, which fences nobody: the epoch is the higher of the two. The
// joining side moves first; a survivor shares new flows only when the newcomer says that it
// is ready. If the peer lost its part in the pair, this side goes on alone.
func (m *Machine) pair() {
	p := m.peer
	if !p.up || !p.heard || p.unequal || m.claim != nil || m.suspect() {
		return
	}
	mine := m.paired(p)
	switch m.role {
	case Joining:
		m.join(mine)
	case Sole:
		if mine && p.view.Epoch == m.epoch && m.hold.cause == notHeld {
			m.enter(Primary, true)
		}
	case Primary, Backup:
		switch {
		case p.boot != m.mate:
		case m.cfg.Nodes > 2 && !p.view.Chosen && (!m.mated || p.view.Role.inPair()):
			m.fence("the peer has chosen another node")
		case mine:
			m.confirm()
			m.remind()
		case m.mated && (p.view.Role == Joining || p.view.Role == Fenced):
			m.ev.gone = "the peer has given up its flows"
		case !m.mated && m.now-m.entered > m.cfg.HangTimeout && p.view.Role == Joining:
			m.fence("the peer has not followed into the pair")
		}
	}
}

// join takes the part that the peer leaves open: by the configured order if it is joining too.
func (m *Machine) join(mine bool) {
	v := m.peer.view
	role, owner := Backup, false
	if m.cfg.Nodes > 2 && !v.Chosen {
		m.why = "spare, until a survivor chooses this node"
		return
	}
	switch {
	case v.LinkDead, m.unreached(), m.unseen():
		m.why = "waiting for the peer on the clients' network"
		return
	case v.Role == Joining && m.elsewhere() != "":
		m.why = m.elsewhere()
		return
	case v.Role == Joining && m.absentee():
		m.why = "the first in the list claims, for not all nodes are heard"
		if m.listedFirst() {
			m.begin(m.why, onDeath) // the absent one may serve at the epoch that they would agree on
		}
		return
	case v.Role == Joining:
		if m.listedFirst() {
			role = Primary
		} else {
			owner = true
		}
	case v.Role == Sole && v.Epoch >= m.epoch:
	case mine && v.Epoch >= m.epoch:
		if v.Role == Backup {
			role = Primary
		}
		owner = !v.Owner
	default:
		m.why = "waiting for the peer, which is " + v.Role.String()
		return
	}
	e := max(m.epoch, v.Epoch)
	switch {
	case e == m.epoch:
		m.adopt = 0
		m.enter(role, owner)
	case m.adopt != e && m.now >= m.retry:
		m.adopt = e
		m.do(Action{Do: WriteEpoch, Epoch: e, Why: "agreed with the peer"})
	}
}

// enter begins duplex with the peer's present process.
func (m *Machine) enter(role Role, owner bool) {
	was := m.role
	m.role, m.owner, m.mate, m.hold = role, owner, m.peer.boot, hold{}
	m.mated, m.ev.gone, m.knew = m.paired(m.peer), "", m.peer.view.GaveUp
	m.newBatons()
	m.shared[m.target] = true
	m.entered = m.now
	m.why = "in duplex with the peer"
	m.do(Action{Do: Duplex, Epoch: m.epoch, Boot: m.mate, Speaker: m.speaker(), Owner: owner})
	if was == Joining && m.maySpeak() {
		m.do(Action{Do: OpenGate})
	}
	if was == Joining && owner {
		m.do(Action{Do: Own}, Action{Do: Announce})
	}
	m.do(Action{Do: Publish})
}

// maySpeak reports whether the voice is this node's to use. Of several others the peer may have
// chosen another one since it was last heard; so a new primary waits until it says Paired.
func (m *Machine) maySpeak() bool {
	return m.role == Sole || m.role == Primary && (m.mated || m.cfg.Nodes == 2)
}

// confirm books that the peer is in the pair too.
func (m *Machine) confirm() {
	before := m.maySpeak()
	m.mated = true
	if !before && m.maySpeak() && m.hold.cause == notHeld {
		m.do(Action{Do: OpenGate})
	}
}

// joinUnequal serves alone, as the first in the list, where two joining nodes can never be a
// pair because their kernels differ.
func (m *Machine) joinUnequal() {
	p := m.peer
	if m.role != Joining || !m.listedFirst() || !p.up || !p.heard || p.view.Role != Joining || m.claim != nil {
		return
	}
	why := "the kernels of the two hosts are set differently"
	if !p.unequal {
		why = "the peer waits as well, and is not reached on the clients' network"
	}
	if (p.unequal || m.unreached()) && m.now >= m.cfg.StartWait && m.elsewhere() == "" && !m.company() {
		m.begin(why, onDeath)
	}
}
