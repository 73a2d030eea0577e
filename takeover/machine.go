package takeover

import "time"

// State is what a process starts with.
type State struct {
	Boot  Boot  // of this process; never zero
	Epoch Epoch // the last one written by WriteEpoch, 0 if none
}

// Machine decides who serves one advertised address, as one node sees it. It is not safe for
// concurrent use: one goroutine steps it, and hands RenewUntil and AnswerUntil to the others.
type Machine struct {
	cfg  Config
	boot Boot
	now  time.Duration // of the latest event
	run  bool          // an event was seen

	role  Role
	owner bool
	epoch Epoch // in force here
	seen  Epoch // the highest known, tried ones included: the next claim is above it
	mate  Boot  // the process this one is in duplex with
	mated bool  // it has said so too

	shared []bool // which nodes may have had flows that live here, by their place in the list

	entered time.Duration // the pair
	gaveUp  uint16        // pairs of this process
	knew    uint16        // of the peer's when it entered
	why     string

	target int   // the present peer, by its place in the list
	peer   *peer // it, in nodes
	nodes  []node
	chosen time.Duration // the present peer was
	awake  time.Duration // this process has not stood still since

	ev    evidence
	hold  hold
	cut   bool // the own link has no carrier: what still arrives has waited somewhere
	claim *claim
	adopt Epoch // being written by agreement with the peer; 0: none
	retry time.Duration
	acts  []Action

	voice, address baton
	batons         struct { // the pair in which they are counted
		mate  Boot
		epoch Epoch
	}
}

// peer is another node as its session shows it.
type peer struct {
	boot    Boot // of its latest hello
	up      bool // a session is there
	unequal bool
	apart   bool // the latest one goes by the nodes' own network
	heard   bool // view is from the present session
	view    View
	deadAt  time.Duration // since when it says LinkDead; 0: it does not
}

// New returns a joining machine. It panics if cfg.Check fails, for then it could not keep I3.
func New(cfg Config, st State) *Machine {
	if err := cfg.Check(); err != nil {
		panic(err)
	}
	m := &Machine{cfg: cfg, boot: st.Boot, epoch: st.Epoch, seen: st.Epoch, why: "started", nodes: make([]node, cfg.Nodes), shared: make([]bool, cfg.Nodes)}
	if cfg.Index == 0 {
		m.target = 1
	}
	m.peer = &m.nodes[m.target].peer
	m.nodes[cfg.Index].gone = 1 // nobody waits for its own session
	return m
}

// Step takes one event and returns what is to be done, in order. The slice is the caller's.
func (m *Machine) Step(ev Event) []Action {
	m.acts = nil
	gap := ev.Now - m.now
	m.now = max(m.now, ev.Now)
	if !m.run {
		m.run = true
		m.ev.since = m.now
	} else if gap > m.cfg.stall() {
		m.stalled(gap)
	}
	if m.about(ev) {
		m.take(ev)
	}
	m.advance()
	m.pair()
	m.conclude()
	m.choose()
	return m.acts
}

// take books one event.
func (m *Machine) take(ev Event) {
	switch ev.Kind {
	case Sign:
		m.sign(ev.Apart)
		m.learn(ev.Epoch)
	case SessionUp:
		m.sessionUp(ev)
	case SessionDown:
		m.sessionDown()
	case PeerState:
		m.peerState(ev)
	case PeerLeaving:
		m.peer.up, m.peer.heard = false, false
		m.departed("the peer said farewell", ev.Apart)
	case Claimed:
		m.learn(ev.Epoch)
	case Refused:
		if !m.peer.up || m.suspect() {
			m.departed("the peer's session port refuses: its process died", ev.Apart)
		}
	case Connected:
		m.ev.round.kernel = m.cfg.Apart
		if m.role == Joining {
			m.ev.gone = ""
		}
	case AnswerPeer:
		m.peerAnswered()
	case AnswerGateway:
		m.gatewayAnswered()
	case AnswerAdvertised:
		m.advertisedAnswered()
	case EpochWritten:
		m.epochWritten(ev.Epoch)
	case EpochWriteFailed:
		m.epochWriteFailed(ev.Epoch)
	case FenceDone:
		if m.role == Fenced {
			m.role = Joining
			m.do(Action{Do: Publish})
		}
	case Granted:
		m.granted(ev.Epoch)
	case Denied:
		m.denied(ev)
	case Superseded:
		m.superseded(ev.Epoch)
	case PeerFenced:
		m.fenceAnswered(ev, true)
	case FenceFailed:
		m.fenceAnswered(ev, false)
	case Progress:
		m.ev.progress = m.now
	case Relinquish:
		m.relinquish(ev)
	case HandedOver:
		m.handedOver(ev)
	case LinkDown:
		m.linkDown()
	case LinkUp:
		m.cut = false
		m.ev.gone = ""                         // it was concluded before
		m.ev.next, m.ev.round = m.now, round{} // look around at once
	case Tick:
		if m.hold.asks == 0 {
			m.hold.asks = m.now // a tick is made after the last step was published, another event may be older
		}
	case GossipDead:
		// The absence of one S, which the others' absence shows as well.
	}
}

// RenewUntil returns the time up to which the verdict loop may renew the lease of the voice if
// nothing more is heard; see the package comment. It is not after now if it may not at all.
func (m *Machine) RenewUntil() time.Duration {
	if !m.maySpeak() || m.hold.cause != notHeld {
		return 0
	}
	until := m.now + m.cfg.stall()
	if m.role == Primary {
		until = min(until, m.ev.echo+m.cfg.renewFor())
	}
	return until
}

// MayRenew reports whether the lease may be renewed now.
func (m *Machine) MayRenew(now time.Duration) bool { return now < m.RenewUntil() }

// AnswerUntil is to the answers for the advertised address what RenewUntil is to the voice.
func (m *Machine) AnswerUntil() time.Duration {
	if !m.owner || m.hold.cause != notHeld {
		return 0
	}
	return m.now + m.cfg.stall()
}

// MayAnswer reports whether who-has for the address may be answered now.
func (m *Machine) MayAnswer(now time.Duration) bool { return now < m.AnswerUntil() }

// View returns what node to is to be told, in each hello and heartbeat.
func (m *Machine) View(to int) View {
	v := View{Epoch: m.epoch, Role: m.role, Owner: m.owner, LinkDead: m.cfg.Apart && m.stranded()}
	if to == m.target {
		granted := m.claim != nil && m.claim.granted // which no sign of life undoes: the pair is over
		v.Chosen, v.Paired = true, m.inPair() && m.mate == m.peer.boot && !granted
		v.VoiceTurn, v.AddressTurn = m.voice.turn, m.address.turn
		v.GaveUp, v.Knew = m.gaveUp, m.knew
	}
	return v
}

// Status is a machine as a person sees it.
type Status struct {
	View         // as the present peer is told
	Target  int  // the present peer, by its place in the list
	Mate    Boot // the process that this one is in duplex with: Paired is for no other ears
	Boot    Boot
	Peer    View   // as last heard
	Session bool   // it is up
	Mated   bool   // the peer has said that it is in the pair too
	Suspect bool   // no sign of the peer's daemon for Config.SuspectAfter
	Held    string // why voice and answers are withheld, empty if they are not
	Why     string // the last decision, or what it waits for
}

// Status returns the machine's view of itself and its peer.
func (m *Machine) Status() Status {
	return Status{View: m.View(m.target), Target: m.target, Mate: m.mate, Boot: m.boot, Peer: m.peer.view, Session: m.peer.up, Mated: m.inPair() && m.mated,
		Suspect: m.suspect(), Held: m.hold.String(), Why: m.why}
}

func (r Role) inPair() bool  { return r == Primary || r == Backup }
func (r Role) serving() bool { return r.inPair() || r == Sole }

func (m *Machine) inPair() bool  { return m.role.inPair() }
func (m *Machine) serving() bool { return m.role.serving() }
func (m *Machine) speaker() bool { return m.role == Primary || m.role == Sole }

func (m *Machine) do(actions ...Action) { m.acts = append(m.acts, actions...) }
