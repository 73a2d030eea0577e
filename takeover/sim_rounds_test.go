package takeover

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"
)

func (s *sim) run(d time.Duration) error {
	for end := s.now + d; s.now < end; {
		if err := s.step(); err != nil {
			return fmt.Errorf("%v: %w", s.now, err)
		}
	}
	return nil
}

// fault breaks one thing at random.
func (s *sim) fault(partitions bool) {
	h := s.hosts[s.rnd.IntN(len(s.hosts))]
	if s.strange(h) || s.own.fault(s, h) {
		return
	}
	faults := 8
	if s.arbiter != nil {
		faults = 11
	}
	switch n := s.rnd.IntN(faults+2) - 2; {
	case n < 0:
		s.post(h, Event{Kind: Relinquish, Voice: true, Address: s.rnd.IntN(2) == 0})
	case n == 0 && h.alive && h.up:
		s.kill(h)
	case n == 1 && h.up:
		s.note("%d: host dies", h.i)
		h.up, h.alive, h.queue, h.lease = false, false, nil, 0
	case n == 2 && h.linked:
		s.note("%d: link cut", h.i)
		h.linked = false
		if s.rnd.IntN(2) == 0 { // at this end of the cable
			s.postAt(h, s.now+time.Millisecond, Event{Kind: LinkDown})
		}
	case n == 3 && h.alive && !h.stopped:
		s.note("%d: stopped", h.i)
		h.stopped = true
	case n == 4 && partitions:
		o := s.others(h)[s.rnd.IntN(len(s.hosts)-1)]
		s.note("%d and %d cut from each other", h.i, o.i)
		s.cut[h.i][o.i], s.cut[o.i][h.i] = true, true
	case n == 5:
		s.note("gateway gone")
		s.gate = false
	case n == 6:
		s.note("hosts reach each other by ARP only")
		s.half = true
	case n >= 8 && n < 11:
		s.arbiter.fault(s, n-8, h)
	default:
		s.mend(s.rnd.IntN(4))
	}
}

// mend repairs what is broken of one sort, or with 4 everything.
func (s *sim) mend(what int) {
	s.note("mended %d", what)
	s.arbiter.mend(s, what)
	if what == 4 {
		s.resurrect(0)
	}
	for _, h := range s.hosts {
		if what == 0 || what == 4 {
			h.stopped = false
		}
		if what == 1 || what == 4 {
			if !h.linked {
				s.postAt(h, s.now+3*time.Millisecond, Event{Kind: LinkUp}) // never before a LinkDown
			}
			h.linked = true
			s.cut, s.half, s.gate, s.odd.mute, s.odd.deaf, s.odd.late = [most][most]bool{}, false, true, [most][most]bool{}, [most][most]bool{}, 0
			s.own.cut, s.own.lame, s.own.between = [most]bool{}, [most]bool{}, [most][most]bool{}
		}
		if (what == 2 || what == 4) && !h.up {
			h.up = true
		}
		if (what == 3 || what == 4) && h.up && !h.alive {
			s.launch(h)
		}
	}
}

// settled returns what is wrong after a quiet time with everything mended.
func (s *sim) settled() error {
	voices, owners, pairs, astray, all := 0, 0, 0, 0, ""
	for _, h := range s.hosts {
		v := h.m.View(h.m.target)
		all += fmt.Sprintf("\n%d with %d: %+v %s (%s)", h.i, h.m.target, v, h.m.hold, h.m.why)
		o := s.hosts[h.m.target].m.View(h.i)
		if v.Paired && o.Paired && v.Epoch == o.Epoch && v.Role != o.Role {
			pairs++
		} else if v.Role != Joining {
			astray++
		}
		if h.open && h.m.MayRenew(s.now-h.start) {
			voices++
		}
		if h.owner && h.m.MayAnswer(s.now-h.start) {
			owners++
		}
	}
	alone := s.odd.unequal != [most][most]bool{} && pairs == 0 && astray == 1
	if !alone && (pairs != 2 || astray > 0) || voices != 1 || owners != 1 {
		return fmt.Errorf("%d in a pair, %d astray, %d voices, %d owners:%s", pairs, astray, voices, owners, all)
	}
	return nil
}

// TestTwoMachines breaks and mends two hosts at random. Never do two speak (I3), unless they
// were cut off from each other with the gateway in sight, which cannot be told from two
// deaths; and once all is mended and quiet, there is one pair with one voice and one owner.
func TestTwoMachines(t *testing.T) { rounds(t, false, 2) }

// TestTwoMachinesAndWitness has partitions in every round, and no exception: never do two speak,
// except where a host that is cut off from the other is cut off from the witness as well.
func TestTwoMachinesAndWitness(t *testing.T) { rounds(t, true, 2) }

// TestThreeMachines has a spare, which may not begin anew beside those who serve.
func TestThreeMachines(t *testing.T) { rounds(t, false, 3) }

// TestThreeMachinesAndWitness has a spare and partitions in every round.
func TestThreeMachinesAndWitness(t *testing.T) { rounds(t, true, 3) }

func rounds(t *testing.T, witness bool, hosts int) { roundsBy(t, witness, hosts, false) }

// roundsBy has a network of the hosts' own as well, if wanted.
func roundsBy(t *testing.T, witness bool, hosts int, own bool) {
	rounds := 250
	if testing.Short() {
		rounds = 60
	}
	if hosts > 2 {
		rounds = rounds * 2 / 5
	}
	if own {
		rounds /= 3
	}
	if n, err := strconv.Atoi(os.Getenv("FTGW_ROUNDS")); err == nil {
		rounds = n // for a long run by hand
	}
	for seed := range uint64(rounds) {
		s := newSim(seed, witness, hosts, own)
		if err := s.story(witness || own || seed%4 == 3); err != nil {
			t.Fatalf("seed %d: %v\n%s", seed, err, s.tail())
		}
	}
}

// crossing reports a stopped host that the other cannot reach. A claim against it and the
// return of its link may cross for as long as its lease lasts (see the package comment).
func (s *sim) crossing() bool {
	return slices.ContainsFunc(s.hosts, func(h *host) bool {
		seen := !slices.ContainsFunc(s.others(h), func(o *host) bool { return !s.byOwn(h, o) })
		return h.stopped && (!h.linked || s.cut != [most][most]bool{}) && !seen
	})
}

func (s *sim) story(partitions bool) error {
	if err := s.run(time.Second); err != nil {
		return err
	}
	for range 3 {
		for range 1 + s.rnd.IntN(6) {
			s.fault(partitions)
			pause := time.Duration(150+s.rnd.IntN(2500)) * time.Millisecond
			if s.crossing() {
				pause += 500 * time.Millisecond
			} else if s.rnd.IntN(4) == 0 {
				pause = time.Duration(1+s.rnd.IntN(40)) * time.Millisecond
			}
			if err := s.run(pause); err != nil {
				return err
			}
		}
		s.mend(4)
		if err := s.run(7 * time.Second); err != nil {
			return err
		}
		if err := s.settled(); err != nil {
			return fmt.Errorf("%v: %w", s.now, err)
		}
	}
	return nil
}
