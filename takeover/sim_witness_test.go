package takeover

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// arbiter is the witness of a sim: a third host with a disk. A nil arbiter is none.
type arbiter struct {
	alive, stopped bool
	cut            [most]bool // from that host

	w         *Witness
	start     time.Duration
	disk      Grant
	connected [most]Boot
	down      [most]time.Duration
	queue     []arrival
}

type arrival struct {
	at time.Duration
	ev WitnessEvent
}

func (r *arbiter) launch(s *sim) {
	r.alive, r.stopped, r.start, r.queue, r.connected = true, false, s.now, nil, [most]Boot{}
	r.w = NewWitness(WitnessConfig{SuspectAfter: 50 * time.Millisecond, HangTimeout: time.Second}, r.disk)
}

func (r *arbiter) reach(h *host) bool { return r != nil && h.up && h.linked && !r.cut[h.i] }

func name(h *host) string { return fmt.Sprint("n", h.i) }

// tell carries a message on the host's connection, where there is one.
func (r *arbiter) tell(s *sim, h *host, ev WitnessEvent) {
	if r != nil && r.alive && r.reach(h) && r.connected[h.i] == h.boot {
		ev.Node, ev.Boot = name(h), h.boot
		at := s.now + s.delay()
		for _, a := range r.queue { // one stream, in order
			if a.ev.Node == ev.Node {
				at = max(at, a.at)
			}
		}
		r.queue = append(r.queue, arrival{at, ev})
	}
}

// lose ends the connection of a process that dies.
func (r *arbiter) lose(s *sim, h *host) {
	if r != nil && r.alive && r.connected[h.i] == h.boot {
		r.tell(s, h, WitnessEvent{Kind: NodeDown})
		r.connected[h.i] = Boot{}
	}
}

func (r *arbiter) step(s *sim) {
	if r == nil || !r.alive {
		return
	}
	for _, h := range s.hosts {
		r.connection(s, h)
	}
	if r.stopped {
		return
	}
	if s.now%(5*time.Millisecond) == 0 {
		r.do(s, WitnessEvent{Kind: WitnessTick})
	}
	var later []arrival
	due := r.queue
	r.queue = nil
	for _, a := range due {
		if a.at > s.now {
			later = append(later, a)
		} else {
			r.do(s, a.ev)
		}
	}
	r.queue = append(later, r.queue...)
}

// connection keeps the host's connection and sends its beats.
func (r *arbiter) connection(s *sim, h *host) {
	switch {
	case !r.reach(h):
		if r.down[h.i] == 0 {
			r.down[h.i] = s.now
		} else if s.now-r.down[h.i] > 300*time.Millisecond && r.connected[h.i] != (Boot{}) {
			r.do(s, WitnessEvent{Kind: NodeDown, Node: name(h), Boot: r.connected[h.i]})
			r.connected[h.i] = Boot{}
		}
	case !h.alive || h.stopped:
		r.down[h.i] = 0
	case r.connected[h.i] != h.boot:
		if s.now%(50*time.Millisecond) == 0 {
			r.connected[h.i] = h.boot
			r.tell(s, h, WitnessEvent{Kind: NodeUp})
		}
	case s.now%(10*time.Millisecond) == 0:
		r.down[h.i] = 0
		r.tell(s, h, WitnessEvent{Kind: NodeBeat, View: h.m.View(h.m.target)})
	}
}

func (r *arbiter) do(s *sim, ev WitnessEvent) {
	ev.Now = s.now - r.start
	for _, a := range r.w.Step(ev) {
		switch a.Do {
		case WriteGrant:
			r.disk = a.Grant
			r.queue = append(r.queue, arrival{s.now + s.delay(), WitnessEvent{Kind: GrantWritten, Epoch: a.Grant.Epoch}})
		case Answer:
			kind := Denied
			if a.Granted {
				kind = Granted
				s.note("w: grants %d to %s", a.Epoch, a.Node)
			} else if a.Against {
				s.note("w: denies %d to %s: %s", a.Epoch, a.Node, a.Why)
			}
			r.reply(s, a, Event{Kind: kind, Epoch: a.Epoch, Held: a.Held, Against: a.Against, Why: a.Why})
		case Notify:
			s.note("w: tells %s of %d", a.Node, a.Epoch)
			r.reply(s, a, Event{Kind: Superseded, Epoch: a.Epoch})
		}
	}
}

func (r *arbiter) reply(s *sim, a WitnessAction, ev Event) {
	for _, h := range s.hosts {
		if name(h) == a.Node && h.boot == a.Boot && h.alive && r.reach(h) && r.connected[h.i] == h.boot {
			s.postAt(h, s.now+time.Duration(1+s.rnd.IntN(12))*time.Millisecond, ev) // a busy daemon
		}
	}
}

// fault breaks something about the witness: its process, its time, its link to a host.
func (r *arbiter) fault(s *sim, what int, h *host) {
	switch {
	case what == 0 && r.alive:
		s.note("w: dies")
		r.alive = false
	case what == 1 && r.alive:
		s.note("w: stopped")
		r.stopped = true
	case what == 2:
		s.note("w: cut from %d", h.i)
		r.cut[h.i] = true
	}
}

func (r *arbiter) mend(s *sim, what int) {
	if r == nil {
		return
	}
	if what == 0 || what == 4 {
		r.stopped = false
	}
	if what == 1 || what == 4 {
		r.cut = [most]bool{}
	}
	if (what == 3 || what == 4) && !r.alive {
		s.note("w: starts, knows %+v", r.disk)
		r.launch(s)
	}
}

// TestPartitionWithWitness cuts two healthy hosts from each other: exactly one claims, the
// other has fallen silent before, and the pair comes back when the cut heals.
func TestPartitionWithWitness(t *testing.T) {
	for seed := range uint64(200) {
		s := newSim(seed, true, 2, false)
		err := s.run(time.Second)
		s.cut[0][1], s.cut[1][0] = true, true
		if err == nil {
			err = s.run(10 * time.Second)
		}
		soles := 0
		for _, h := range s.hosts {
			if h.m.role == Sole {
				soles++
			}
		}
		claims := 0
		for _, line := range s.log {
			if strings.Contains(line, "promote") {
				claims++
			}
		}
		if soles != 1 || claims != 1 || s.undecidable {
			t.Errorf("seed %d: %d hosts serve alone after %d claims", seed, soles, claims)
		}
		s.cut = [most][most]bool{}
		if err == nil {
			err = s.run(3 * time.Second)
		}
		if err == nil {
			err = s.settled()
		}
		if err != nil || t.Failed() {
			t.Fatalf("seed %d: %v\n%v", seed, err, s.log)
		}
	}
}
