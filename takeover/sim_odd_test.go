package takeover

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// odd are faults of single pairs of hosts, of disks and of gossip, which a sim has besides those
// of whole hosts where they are set. The zero value has none.
type odd struct {
	on      bool
	mute    [most][most]bool    // sessions and gossip between the two are cut, ARP goes
	deaf    [most][most]bool    // sessions alone are cut
	late    time.Duration       // how long gossip may take
	disk    [most]time.Duration // how long a write takes
	unequal [most][most]bool    // kernels differ
}

// tail is the end of the log.
func (s *sim) tail() string { return strings.Join(s.log[max(0, len(s.log)-60):], "\n") }

// strange breaks one such thing at random and reports whether it did.
func (s *sim) strange(h *host) bool {
	if !s.odd.on || s.rnd.IntN(2) == 0 {
		return false
	}
	o := s.others(h)[s.rnd.IntN(len(s.hosts)-1)]
	switch s.rnd.IntN(7) {
	case 0:
		s.note("%d and %d reach each other by ARP only", h.i, o.i)
		s.odd.mute[h.i][o.i], s.odd.mute[o.i][h.i] = true, true
	case 6:
		s.note("%d and %d have no session", h.i, o.i)
		s.odd.deaf[h.i][o.i], s.odd.deaf[o.i][h.i] = true, true
	case 1:
		s.note("gossip is late")
		s.odd.late = time.Duration(1+s.rnd.IntN(3000)) * time.Millisecond
	case 2:
		s.note("%d: disk is slow", h.i)
		s.odd.disk[h.i] = time.Duration(1+s.rnd.IntN(700)) * time.Millisecond
	case 3:
		if h.alive && h.up {
			s.kill(h)
			s.later = append(s.later, relaunch{s.now + time.Duration(1+s.rnd.IntN(60))*time.Millisecond, h})
		}
	case 4:
		if h.alive && h.up && !h.stopped {
			s.leave(h)
		}
	case 5:
		if !h.alive {
			h.disk += Epoch(len(s.hosts) * s.rnd.IntN(20))
			s.note("%d: an old number on its disk: %d", h.i, h.disk)
		}
	}
	return true
}

func (s *sim) lateness() time.Duration {
	if s.odd.late == 0 {
		return 0
	}
	return time.Duration(s.rnd.Int64N(int64(s.odd.late)))
}

// publish sends a serving node's epoch to the others in datagrams, some of which come much later.
func (s *sim) publish(h *host) {
	for _, o := range s.others(h) {
		v := h.m.View(o.i)
		if !v.Role.serving() || !s.talk(h, o) || s.own.lame[h.i] {
			continue
		}
		at := s.now + s.delay()
		if s.rnd.IntN(8) == 0 {
			at += time.Duration(s.rnd.IntN(5000)) * time.Millisecond
		}
		s.postAt(o, at, Event{Kind: Claimed, From: h.i, Epoch: v.Epoch})
	}
}

// write is an epoch on its way to a disk.
type write struct {
	at time.Duration
	e  Epoch
}

// disks ends what is being written.
func (s *sim) disks() {
	for _, h := range s.hosts {
		for len(h.writes) > 0 && h.writes[0].at <= s.now && h.alive {
			e := h.writes[0].e
			h.writes = h.writes[1:]
			h.disk = e
			s.postAt(h, s.now, Event{Kind: EpochWritten, Epoch: e})
		}
	}
}

type relaunch struct {
	at time.Duration
	h  *host
}

// leave ends a process in good order: it hands over, closes its gate, says farewell.
func (s *sim) leave(h *host) {
	s.note("%d: leaves", h.i)
	h.open, h.owner, h.lease = false, false, 0
	for _, o := range s.others(h) {
		if e := o.ends[h.i]; s.carries(o, h) && e.with == h.boot {
			s.post(o, Event{Kind: PeerLeaving, From: h.i, Apart: e.own})
		}
	}
	h.gone = true
	s.later = append(s.later, relaunch{s.now + 20*time.Millisecond, h})
}

func (s *sim) resurrect(now time.Duration) {
	var rest []relaunch
	for _, r := range s.later {
		switch {
		case now != 0 && now < r.at:
			rest = append(rest, r)
		case r.h.gone:
			r.h.gone = false
			if r.h.alive {
				s.kill(r.h)
			}
		case r.h.up && !r.h.alive:
			s.launch(r.h)
		}
	}
	s.later = rest
}

// TestOddThreeMachines has the odd faults as well.
func TestOddThreeMachines(t *testing.T) { oddRounds(t, false, 3) }

// TestOddThreeMachinesAndWitness has them with a witness.
func TestOddThreeMachinesAndWitness(t *testing.T) { oddRounds(t, true, 3) }

// TestOddFourMachines has two spares.
func TestOddFourMachines(t *testing.T) { oddRounds(t, false, 4) }

// TestOddFourMachinesAndWitness has them with a witness.
func TestOddFourMachinesAndWitness(t *testing.T) { oddRounds(t, true, 4) }

func oddRounds(t *testing.T, witness bool, hosts int) {
	rounds := 25
	if n, err := strconv.Atoi(os.Getenv("FTGW_ROUNDS")); err == nil {
		rounds = n // for a long run by hand
	}
	for seed := range uint64(rounds) {
		s := newSim(seed, witness, hosts, false)
		s.odd.on = true
		for i := range hosts { // some never are a pair
			if o := (i + 1) % hosts; seed%3 == 1 && s.rnd.IntN(2) == 0 {
				s.odd.unequal[i][o], s.odd.unequal[o][i] = true, true
			}
		}
		if err := s.story(witness || seed%4 == 3); err != nil {
			t.Fatalf("seed %d: %v\n%s", seed, err, s.tail())
		}
	}
}

// TestOneBrokenPath cuts two hosts of three from each other in parts, for good: somebody serves
// all the same, but for a moment.
func TestOneBrokenPath(t *testing.T) {
	for _, witness := range []bool{false, true} {
		for a := range 3 {
			for _, what := range []string{"mute", "deaf"} {
				t.Run(fmt.Sprintf("witness=%v/%s/%d", witness, what, a), func(t *testing.T) { brokenPath(t, witness, a, what == "mute") })
			}
		}
	}
}

// brokenPath breaks the one between a and the next host: all but ARP, or the session alone.
func brokenPath(t *testing.T, witness bool, a int, mute bool) {
	s := newSim(uint64(a), witness, 3, false)
	if err := s.run(time.Second); err != nil {
		t.Fatal(err)
	}
	b := (a + 1) % 3
	path := &s.odd.deaf
	if mute {
		path = &s.odd.mute
	}
	path[a][b], path[b][a] = true, true
	const bound = 6 * time.Second // a session takes 3 s to be found dead
	silent := time.Duration(0)
	for range 15000 {
		if err := s.step(); err != nil {
			t.Fatal(err)
		}
		voice, owner := false, false
		for _, h := range s.hosts {
			voice = voice || s.now < h.lease
			owner = owner || h.owner && h.m.MayAnswer(s.now-h.start)
		}
		if !voice || !owner {
			silent += time.Millisecond
		}
	}
	if silent > bound {
		t.Errorf("nobody served for %v\n%s", silent, s.tail())
	}
}

// TestRollingConfig restarts one node after the other with a new config, with which the ones of the
// old config have no session. Who serves alone at last goes on, for its gossip is heard.
func TestRollingConfig(t *testing.T) {
	s := newSim(1, false, 3, false)
	run := func(d time.Duration) {
		t.Helper()
		if err := s.run(d); err != nil {
			t.Fatalf("%v\n%s", err, s.tail())
		}
	}
	run(2 * time.Second)
	for i := 1; i < 3; i++ {
		s.kill(s.hosts[i])
		run(200 * time.Millisecond)
		s.odd.deaf[0][i], s.odd.deaf[i][0] = true, true
		s.launch(s.hosts[i])
		run(4 * time.Second)
	}
	run(20 * time.Second)
	if r := s.hosts[0].m.role; r != Sole {
		t.Fatalf("the survivor is %v\n%s", r, s.tail())
	}
	s.kill(s.hosts[0])
	run(200 * time.Millisecond)
	s.odd = odd{}
	s.launch(s.hosts[0])
	run(8 * time.Second)
	if err := s.settled(); err != nil {
		t.Fatalf("%v\n%s", err, s.tail())
	}
}
