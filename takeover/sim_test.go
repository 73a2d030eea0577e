package takeover

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

const most = 4 // hosts

// sim is some hosts, each a machine with a disk, a kernel with a lease, and a link, on one
// subnet with a gateway. Time goes in milliseconds.
type sim struct {
	rnd   *rand.Rand
	now   time.Duration
	hosts []*host
	cut   [most][most]bool // the hosts reach the gateway, but not each other
	half  bool             // the hosts reach each other by ARP only
	gate  bool             // the gateway answers
	boots byte
	log   []string
	odd   odd
	own   own
	later []relaunch

	undecidable bool // some were cut off from each other since a pair last agreed
	arbiter     *arbiter
}

type host struct {
	i       int
	up      bool // power
	alive   bool // the process exists
	stopped bool // by SIGSTOP
	linked  bool
	disk    Epoch

	m       *Machine
	boot    Boot
	start   time.Duration // of the process: its Now is counted from here
	ends    [most]end     // of the sessions, by the other host
	queue   []delivery
	open    bool          // the gate, as the actions left it
	owner   bool          // likewise
	lease   time.Duration // the kernel's, absolute
	written time.Duration // when the disk is done
	writes  []write
	gone    bool // it has said farewell, its gate is closed for good
}

// end is one host's end of a session.
type end struct {
	with  Boot          // the process at the other end, as this end believes
	heard time.Duration // Sent of the other's newest heartbeat, for the echo
	down  time.Duration // since when the session cannot carry anything
	own   bool          // it goes by the hosts' own network
}

type delivery struct {
	at   time.Duration
	ev   Event
	boot Boot          // for the process boot only
	sent time.Duration // a heartbeat's stamp
}

func newSim(seed uint64, witness bool, hosts int, apart bool) *sim {
	s := &sim{own: own{on: apart, shut: apart && seed%5 == 0}, rnd: rand.New(rand.NewPCG(seed, 1)), gate: true, hosts: make([]*host, hosts)}
	if witness {
		s.arbiter = &arbiter{alive: true}
		s.arbiter.launch(s)
	}
	for i := range s.hosts {
		s.hosts[i] = &host{i: i, up: true, linked: true}
		s.launch(s.hosts[i])
	}
	return s
}

func (s *sim) note(format string, args ...any) {
	s.log = append(s.log, fmt.Sprintf("%6d ", s.now.Milliseconds())+fmt.Sprintf(format, args...))
}

func (s *sim) launch(h *host) {
	s.boots++
	h.boot = Boot{s.boots}
	h.alive, h.stopped, h.open, h.owner = true, false, false, false
	h.gone, h.writes, h.written = false, nil, 0
	h.lease = 0 // a process begins with its gate closed
	h.ends, h.queue, h.start = [most]end{}, nil, s.now
	c := Defaults(h.i, len(s.hosts))
	c.Witness, c.Apart = s.arbiter != nil, s.own.on
	h.m = New(c, State{Boot: h.boot, Epoch: h.disk})
	s.note("%d: process %v starts at epoch %d", h.i, h.boot, h.disk)
}

func (s *sim) kill(h *host) {
	h.alive, h.queue = false, nil
	s.note("%d: process dies", h.i)
	s.arbiter.lose(s, h)
	for _, o := range s.others(h) {
		if h.up && s.carries(o, h) && o.ends[h.i].with == h.boot {
			s.post(o, Event{Kind: SessionDown, From: h.i})
			o.ends[h.i].with = Boot{}
		}
	}
}

func (s *sim) others(h *host) []*host {
	return slices.DeleteFunc(slices.Clone(s.hosts), func(o *host) bool { return o == h })
}

// reach reports whether two hosts can exchange frames.
func (s *sim) reach(a, b *host) bool {
	return a.up && b.up && a.linked && b.linked && !s.cut[a.i][b.i]
}

// talk reports whether their daemons can.
func (s *sim) talk(a, b *host) bool {
	return s.reach(a, b) && !s.half && !s.odd.mute[a.i][b.i]
}

// session reports whether a session between them can stand.
func (s *sim) session(a, b *host) bool {
	return s.talk(a, b) && !s.odd.deaf[a.i][b.i] && !s.own.shut && s.asks(a, b)
}

// gossips reports whether b hears of a, by way of a third one perhaps.
func (s *sim) gossips(a, b *host) bool {
	return s.talk(a, b) || slices.ContainsFunc(s.hosts, func(c *host) bool {
		return c != a && c != b && c.alive && !c.stopped && s.talk(a, c) && s.talk(c, b)
	})
}

func (s *sim) post(h *host, ev Event) { s.postAt(h, s.now+s.delay(), ev) }

func (s *sim) postAt(h *host, at time.Duration, ev Event) {
	if h.alive {
		h.queue = append(h.queue, delivery{at: at, ev: ev, boot: h.boot})
	}
}

func (s *sim) delay() time.Duration { return time.Duration(1+s.rnd.IntN(3)) * time.Millisecond }

// step lets a millisecond pass and returns what is wrong, if anything.
func (s *sim) step() error {
	s.now += time.Millisecond
	s.resurrect(s.now)
	s.disks()
	s.wires()
	s.arbiter.step(s)
	for _, h := range s.hosts {
		if h.alive && h.up && !h.stopped {
			s.process(h)
		}
	}
	speaking := 0
	for _, h := range s.hosts {
		if h.alive && h.up && !h.stopped {
			if h.open && !h.gone && h.m.MayRenew(s.now-h.start) {
				h.lease = s.now + h.m.cfg.Lease
			}
			if s.now < h.lease && h.linked && !s.own.lame[h.i] {
				speaking++
			}
		}
	}
	for _, h := range s.hosts {
		for _, o := range s.hosts[:h.i] {
			if a, b := h.m, o.m; a.epoch == b.epoch && a.epoch > 0 && a.role == Sole && b.role == Sole {
				return fmt.Errorf("two claims of epoch %d", a.epoch)
			}
		}
	}
	if speaking > 1 && !s.undecidable {
		return fmt.Errorf("two voices")
	}
	return nil
}

// wires carries sessions, heartbeats and gossip.
func (s *sim) wires() {
	s.decide()
	for _, h := range s.hosts {
		for _, o := range s.others(h) {
			s.wire(h, o)
		}
	}
}

// wire carries what h has for o.
func (s *sim) wire(h, o *host) {
	e := &h.ends[o.i]
	switch {
	case e.with == (Boot{}) || s.carries(h, o):
		e.down = 0
	case e.down == 0:
		e.down = s.now + time.Duration(100+s.rnd.IntN(3000))*time.Millisecond
	case s.now > e.down:
		s.hangup(h, o)
	}
	if !h.alive || h.stopped || !o.alive {
		return
	}
	if s.gossips(h, o) && !s.own.lame[h.i] && s.now%(25*time.Millisecond) == 0 {
		ev := Event{Kind: Sign, From: h.i}
		if v := h.m.View(o.i); v.Role.serving() {
			ev.Epoch = v.Epoch
		}
		s.postAt(o, s.now+s.delay()+s.lateness(), ev)
	}
	together := e.with == o.boot && o.ends[h.i].with == h.boot
	if together && s.carries(h, o) && s.now%(10*time.Millisecond) == 0 {
		v := h.m.View(o.i)
		v.Paired = v.Paired && h.m.mate == o.boot
		ev := Event{Kind: PeerState, From: h.i, Boot: h.boot, Peer: v, Echo: e.heard, Apart: e.own}
		o.queue = append(o.queue, delivery{at: s.now + s.delay(), ev: ev, boot: o.boot, sent: s.now - h.start})
	}
	if together && s.returns(h, o) {
		s.hangup(h, o)
		s.hangup(o, h)
	}
	if !together && (s.session(h, o) || s.byOwn(h, o)) && h.i < o.i && !o.stopped && s.now%(50*time.Millisecond) == 0 {
		s.meet(h, o)
		s.meet(o, h)
	}
}

// decide keeps account of the partitions that cannot be told from deaths.
func (s *sim) decide() {
	cut := s.parted()
	if r := s.arbiter; cut && (r == nil || r.cut != [most]bool{}) {
		s.undecidable = true
		return
	}
	halves := 0
	for _, h := range s.hosts {
		o := s.hosts[h.m.target]
		switch {
		case !h.alive || !h.m.serving():
		case o.alive && o.m.target == h.i && h.m.View(o.i).Paired && o.m.View(h.i).Paired:
			halves++
		default:
			return
		}
	}
	s.undecidable = s.undecidable && halves != 2
}

func (s *sim) meet(h, o *host) {
	h.ends[o.i] = end{with: o.boot, own: s.byOwn(h, o)}
	s.postAt(h, s.now+time.Millisecond, Event{Kind: SessionUp, From: o.i, Boot: o.boot, Apart: s.byOwn(h, o), Epoch: o.m.View(h.i).Epoch, Unequal: s.odd.unequal[h.i][o.i]})
}

func (s *sim) hangup(h, o *host) {
	if h.ends[o.i].with != (Boot{}) {
		h.ends[o.i].with = Boot{}
		s.postAt(h, s.now+time.Millisecond, Event{Kind: SessionDown, From: o.i}) // before the next session's
	}
}

// process gives a running process what has arrived, in random order but for the session's.
func (s *sim) process(h *host) {
	var due []delivery
	h.queue = slices.DeleteFunc(h.queue, func(d delivery) bool {
		if d.at <= s.now {
			due = append(due, d)
		}
		return d.at <= s.now
	})
	if s.now%(5*time.Millisecond) == 0 {
		due = slices.Insert(due, s.rnd.IntN(len(due)+1), delivery{ev: Event{Kind: Tick}, boot: h.boot})
	}
	for _, d := range due {
		if d.boot != h.boot {
			continue
		}
		if d.ev.Kind == PeerState {
			e := &h.ends[d.ev.From]
			if d.ev.Boot != e.with {
				continue
			}
			e.heard = max(e.heard, d.sent)
		}
		if d.ev.Kind == HandedOver && d.ev.Boot != h.ends[d.ev.From].with {
			continue // it went with its session
		}
		d.ev.Now = s.now - h.start
		role := h.m.role
		for _, a := range h.m.Step(d.ev) {
			s.act(h, a)
		}
		if h.m.role != role {
			s.note("%d: %v to %v (%d): %s", h.i, role, h.m.role, h.m.target, h.m.why)
		}
	}
}

func (s *sim) act(h *host, a Action) {
	o := s.hosts[h.m.target]
	switch a.Do {
	case ProbePeer:
		if s.reach(h, o) && s.asks(h, o) {
			s.post(h, Event{Kind: AnswerPeer, From: o.i})
		}
	case ProbeGateway:
		if h.linked && s.gate && !s.own.lame[h.i] {
			s.post(h, Event{Kind: AnswerGateway})
		}
	case ProbeAdvertised:
		for _, o := range s.others(h) {
			if s.reach(h, o) && s.asks(h, o) && o.alive && !o.stopped && o.owner && o.m.MayAnswer(s.now-o.start) {
				s.post(h, Event{Kind: AnswerAdvertised})
			}
		}
	case ProbeConnect:
		kind := Refused
		if o.alive {
			kind = Connected
		}
		if !s.asks(h, o) {
			// neither the packet nor an answer comes
		} else if s.talk(h, o) && s.own.shut {
			s.post(h, Event{Kind: Refused, From: o.i})
		} else if s.talk(h, o) {
			s.post(h, Event{Kind: kind, From: o.i})
		}
		if s.byOwn(h, o) {
			s.post(h, Event{Kind: kind, From: o.i, Apart: true})
		}
	case Choose:
		s.note("%d: chooses %d", h.i, a.Node)
	case AskGrant:
		s.arbiter.tell(s, h, WitnessEvent{Kind: GrantAsked, Epoch: a.Epoch, Base: a.Base, Empty: a.Empty})
	case ReportSilent:
		s.arbiter.tell(s, h, WitnessEvent{Kind: NodeSilent, Epoch: a.Epoch})
	case WriteEpoch:
		at := max(s.now+s.delay()+s.odd.disk[h.i], h.written+time.Millisecond)
		h.written = at
		h.writes = append(h.writes, write{at, a.Epoch})
	case AbandonPeer:
		for _, o := range s.others(h) { // the peer may be another one by now
			if h.ends[o.i].with != a.Boot {
				continue
			}
			s.hangup(h, o)
			if s.carries(o, h) && o.ends[h.i].with == h.boot {
				s.hangup(o, h)
			}
		}
	case OpenGate:
		h.open = true
	case CloseGate:
		h.open, h.lease = false, 0
	case Own:
		h.owner = true
	case Disown:
		h.owner = false
	case HandOver:
		s.note("%d: %v", h.i, a)
		late := s.delay()
		if !s.carries(h, o) || s.rnd.IntN(4) == 0 { // sent again and again until the session is lost
			late += time.Duration(s.rnd.IntN(2500)) * time.Millisecond
		}
		s.postAt(o, s.now+late, Event{Kind: HandedOver, From: h.i, Boot: h.boot, Epoch: a.Epoch, Turn: a.Turn, Voice: a.Speaker, Address: a.Owner})
	case Promote, Duplex, TakeVoice:
		s.note("%d: %v", h.i, a)
	case Publish:
		s.publish(h)
	case Fence:
		s.postAt(h, s.now+20*time.Millisecond, Event{Kind: FenceDone})
	}
}
