package takeover

import "time"

// evidence is what this node knows about the life of its peer and of its own link.
type evidence struct {
	since    time.Duration // nothing from before counts: start, resumption, return of the link
	heard    time.Duration // the last S
	progress time.Duration // a client last showed that the peer speaks
	echo     time.Duration // the newest own stamp that the peer echoed
	gone     string        // R, in words; empty: not so
	link     time.Duration // the own link last showed that it lives: G or S; with Config.Apart S by it alone, and A
	answer   time.Duration // Config.Apart: the link last showed both its directions: A, G or R
	linked   bool          // G was there at least once
	dead     bool          // the own link was found dead, and has shown no life since
	near     time.Duration // Config.Apart: the peer was last heard on the clients' network
	gate     time.Duration // the last G
	away     bool          // the latest round without S had no A either
	back     time.Duration // the peer's host was there again after that
	round    round
	next     time.Duration // the next round may begin

	downAt    time.Duration // the session broke
	connectAt time.Duration // the next connect is due
}

// round is one series of ARP probes and what answered it.
type round struct {
	sent                      int // 0: not begun
	start, last               time.Duration
	peer, gateway, advertised bool
	kernel                    bool // Config.Apart: the peer's took a connect, by whatever network
}

// quiet is how long the peer's daemon has been silent while this node listened. Half a pair that
// has had no session for HangTimeout is as good as hung, whatever else is heard of it: its voice
// has lapsed, and no record goes either way.
func (m *Machine) quiet() time.Duration {
	heard := m.ev.heard
	if m.inPair() && !m.peer.up {
		heard = min(heard, m.ev.downAt+m.cfg.HangTimeout)
	}
	return m.now - max(heard, m.ev.since)
}

// suspect reports the absence of S.
func (m *Machine) suspect() bool { return m.quiet() >= m.cfg.SuspectAfter }

// sign books an S.
func (m *Machine) sign(apart bool) {
	m.ev.heard = m.now
	m.reached()
	if !apart {
		m.heardNear()
	}
	if m.role == Joining {
		m.ev.gone = ""
	}
	if m.claim != nil && m.claim.on == onSilence && !m.claim.granted && !m.suspect() {
		m.callOff("the peer gave a sign of life")
	}
}

// reached books that the peer's host is there. A claim that only waits for its turn to power that
// host off has lost its ground; once, for a host that answers now and then is not to be waited for.
func (m *Machine) reached() {
	if !m.ev.away {
		return
	}
	again := m.ev.back > max(m.ev.heard, m.ev.since)
	m.ev.away, m.ev.back = false, m.now
	if c := m.claim; c != nil && c.on == onSilence && m.waitsTurn(c) && !again {
		m.callOff("the peer's host answers again")
	}
}

// departed books R, which came over a living link.
func (m *Machine) departed(why string, apart bool) {
	if !apart {
		m.ev.link, m.ev.answer = m.now, m.now
		m.linkBack()
	}
	m.ev.gone = why
}

func (m *Machine) sessionUp(ev Event) {
	if ev.Boot != m.peer.boot {
		m.ev.echo = 0
	}
	m.peer.begin(ev)
	m.ev.gone = ""
	m.sign(ev.Apart)
	m.greeted(ev.Epoch)
	if ev.Boot != m.mate && ev.Epoch <= m.epoch {
		m.hold.doubt = false // a new process says what is on its disk: no claim
	}
}

// sessionDown asks for a connect at once: R decides, nothing else is concluded.
func (m *Machine) sessionDown() {
	m.peer.up, m.peer.heard = false, false
	m.ev.downAt, m.ev.connectAt = m.now, m.now
}

func (m *Machine) peerState(ev Event) {
	if ev.Boot != m.peer.boot || !m.peer.up {
		m.learn(ev.Peer.Epoch)
		return
	}
	m.peer.says(ev.Peer, m.now)
	m.ev.echo = max(m.ev.echo, min(ev.Echo, m.now))
	m.sign(ev.Apart)
	m.takenBack()
	m.told(ev.Peer.Epoch, ev.Peer.Role.serving())
	if m.hold.cause == notHeld && m.now-m.ev.echo < m.cfg.HangTimeout {
		m.hold.doubt = false
	}
	claims := ev.Peer.Role.inPair() && !ev.Peer.Paired
	if m.hold.cause == checking && m.hold.asks > 0 && m.ev.echo >= m.hold.asks && (m.role == Sole || m.mate == ev.Boot && !claims) {
		m.resume("the peer knows of no higher epoch")
	}
}

// learn books an epoch that somebody has. One above ours was raised against us if we serve: an
// agreement raises ours before the peer can show it.
func (m *Machine) learn(e Epoch) {
	m.seen = max(m.seen, e)
	if e <= m.epoch || m.claim != nil && m.claim.granted && e < m.claim.epoch {
		return
	}
	if m.claim != nil {
		m.callOff("a higher epoch is there")
	}
	if m.serving() {
		m.fence("a higher epoch was claimed")
	}
}

// greeted books the epoch of a hello, which does not say whether its node serves: where that
// matters the first heartbeat decides.
func (m *Machine) greeted(e Epoch) {
	if m.role == Sole && !m.shared[m.target] {
		m.seen = max(m.seen, e)
	} else {
		m.learn(e)
	}
}

// told books the peer's epoch. To a survivor none of whose flows that node ever had, its number is
// history while it serves nothing: whoever claimed it, these flows were not among what was claimed.
// The survivor takes the number, so that the other one can join.
func (m *Machine) told(e Epoch, serves bool) {
	if serves || m.role != Sole || m.shared[m.target] || e <= m.epoch {
		m.learn(e)
		return
	}
	m.seen = max(m.seen, e)
	if m.claim == nil && m.adopt != e && m.now >= m.retry {
		m.adopt = e
		m.do(Action{Do: WriteEpoch, Epoch: e, Why: "the number of a node that serves nothing"})
	}
}

func (m *Machine) gatewayAnswered() {
	m.ev.round.gateway, m.ev.linked = true, true
	m.ev.link, m.ev.answer, m.ev.gate = m.now, m.now, m.now
	m.linkBack()
}

// advertisedAnswered counts as S on a node that is not itself the owner: the owner's daemon
// answers, never its kernel (DESIGN §3). The owner itself cannot know whose claim it is.
func (m *Machine) advertisedAnswered() {
	m.ev.round.advertised = true
	if !m.inPair() || m.owner {
		return
	}
	m.sign(false)
	if m.now-m.ev.echo >= m.cfg.HangTimeout {
		m.hold.doubt = true // it lives and hears nothing from here: it claims, or has done so
	}
}

// conclude draws from the evidence what it allows, and asks for more.
func (m *Machine) conclude() {
	m.connect()
	if m.inPair() && m.peer.up && m.peer.boot != m.mate {
		m.ev.gone = "the peer's hello bears a new boot ID: its process died"
	}
	if m.ev.gone != "" {
		m.judgeGone()
	}
	m.judgeStranded()
	if m.probe() {
		r := m.ev.round
		m.ev.round = round{}
		m.judge(r)
	}
	m.joinUnequal()
}

// connect asks for a fresh connect while there is no session or no S: a refusal is R.
func (m *Machine) connect() {
	idle := m.role == Fenced || m.role == Sole && m.hold.cause == notHeld
	if idle || m.now < m.ev.connectAt || m.peer.up && !m.suspect() {
		return
	}
	m.do(Action{Do: ProbeConnect, Node: m.target})
	m.ev.connectAt = m.now + m.cfg.idleEvery()
	if !m.peer.up && m.ev.downAt > 0 && m.now-m.ev.downAt < m.cfg.connectFast() {
		m.ev.connectAt = m.now + m.cfg.ProbeEvery
	}
}

// probe sends what is due of a round and reports whether it is complete: each probe had
// ProbeEvery to be answered, even if the ticks came late.
func (m *Machine) probe() bool {
	r := &m.ev.round
	if m.role == Fenced || !(m.suspect() || m.hold.cause == linkDead || m.unseen() || m.untried() ||
		m.hold.cause == checking && m.now >= m.ev.since+m.cfg.SuspectAfter) {
		*r = round{}
		return false
	}
	if r.sent == 0 {
		if m.now < m.ev.next {
			return false
		}
		*r = round{start: m.now}
		m.ev.next = m.now
		if !m.inPair() || m.quiet() > 3*m.cfg.HangTimeout || !m.ev.linked && !m.suspect() && !m.unseen() {
			m.ev.next += m.cfg.idleEvery()
		}
	}
	switch {
	case r.sent < m.cfg.Probes && (r.sent == 0 || m.now >= r.last+m.cfg.ProbeEvery):
		r.sent++
		r.last = m.now
		m.do(Action{Do: ProbePeer, Node: m.target}, Action{Do: ProbeGateway})
		if m.cfg.Apart && m.suspect() && r.sent == 1 {
			m.do(Action{Do: ProbeConnect, Node: m.target})
		}
		if m.serving() && !(m.owner && m.hold.cause == notHeld) {
			m.do(Action{Do: ProbeAdvertised})
		}
	case r.sent == m.cfg.Probes && m.now >= r.last+m.cfg.ProbeEvery:
		return true
	}
	return false
}

// judge reads one complete round by the table of DESIGN §5.
func (m *Machine) judge(r round) {
	switch {
	case !r.gateway && m.cfg.Apart && !m.suspect() && !m.condemned(r):
		// The peer is heard all the same, so there is time to look again.
	case !r.gateway:
		m.judgeLink()
	case m.role == Sole:
		m.judgeSole(r)
	case !m.suspect():
		// Held with a peer that lives: its echo decides.
	case !r.peer && !r.kernel:
		m.ev.away = true
		m.judgeGoneHost()
	default:
		m.reached()
		m.judgeHung(r)
	}
}

// judgeLink: no S, no G. A survivor has missed S for long, and one late answer of the gateway
// is no reason to fall silent; nor is a gateway that never answered one.
func (m *Machine) judgeLink() {
	const why = "the probe address does not answer: this node's own link is dead"
	seen := m.ev.link
	if m.cfg.Apart {
		seen = m.ev.answer
	}
	if m.role == Sole && (!m.ev.linked || m.now-seen < m.cfg.HangTimeout) {
		return
	}
	m.ev.dead, m.why = true, why
	if m.claim != nil {
		m.callOff(why)
	}
	if m.serving() {
		m.withhold(linkDead)
	}
}

// judgeGone: R.
func (m *Machine) judgeGone() {
	switch {
	case m.cfg.Apart && m.now-m.ev.link >= m.cfg.SuspectAfter:
		// The nodes' own network told it: first a look at the clients' one.
	case m.inPair():
		m.claimFlows(m.ev.gone, onDeath)
	case m.role == Sole && m.hold.cause != notHeld:
		m.resume(m.ev.gone)
	case m.role == Joining && !m.peer.up && m.suspect():
		m.claimEmpty(m.ev.gone, onSilence)
	}
}

// judgeGoneHost: no S, no A, G. A node without flows waits until a survivor behind a dead link
// has surely fallen silent.
func (m *Machine) judgeGoneHost() {
	const why = "the peer's host does not answer"
	if m.inPair() {
		m.claimFlows(why, onSilence)
	} else if m.role == Joining && m.quiet() >= 2*m.cfg.HangTimeout {
		m.claimEmpty(why, onSilence)
	}
}

// judgeHung: no S, A, G. The owner waits HangTimeout, for the primary's lease lapses before;
// the other waits twice as long, so that the owner's daemon has its turn. Acknowledgments of
// what the peer sent are late by a round trip, so they count here alone, where nothing is urgent.
// The time during which the kernel was out of reach as well says nothing of the daemon.
func (m *Machine) judgeHung(r round) {
	const why = "the peer's kernel answers, its daemon does not"
	quiet := min(m.quiet(), m.now-m.ev.back)
	hung, longer := m.cfg.HangTimeout, 2*m.cfg.HangTimeout
	if m.address.given || m.voice.given {
		longer = 3 * m.cfg.HangTimeout // the peer may have taken it: its turn first
	}
	speaks := m.now-m.ev.progress < hung && quiet < longer // a client might feign it for ever
	switch {
	case m.owner && m.inPair() && quiet >= hung && !speaks,
		!m.owner && m.inPair() && quiet >= longer && !r.advertised:
		m.claimFlows(why, onSilence)
	case m.claim == nil && m.now >= m.retry:
		m.why = why
	}
}

// judgeSole: a survivor that is held, with G.
func (m *Machine) judgeSole(r round) {
	switch {
	case m.hold.cause != checking || r.advertised:
	case m.suspect() && !r.peer:
		m.resume("the peer's host does not answer")
	case m.now-m.ev.since >= m.cfg.HangTimeout:
		m.resume("nobody else answers for the address")
	}
}
