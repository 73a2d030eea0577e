package takeover

import (
	"fmt"
	"testing"
	"time"
)

// own is the hosts' own network of a sim, by which sessions go while it is up.
type own struct {
	on      bool
	shut    bool             // the hosts' firewalls reject sessions on the clients' network
	cut     [most]bool       // a host's link to it
	lame    [most]bool       // what a host sends on the clients' network is lost
	between [most][most]bool // two hosts are cut from each other there
}

// byOwn reports whether two hosts reach each other by it.
func (s *sim) byOwn(a, b *host) bool {
	o := &s.own
	return o.on && a.up && b.up && !o.cut[a.i] && !o.cut[b.i] && !o.between[a.i][b.i]
}

// carries reports whether the session that a has with b gets anything through.
func (s *sim) carries(a, b *host) bool {
	if a.ends[b.i].own {
		return s.byOwn(a, b)
	}
	return s.session(a, b)
}

// returns reports whether their session is to leave the clients' network now.
func (s *sim) returns(a, b *host) bool {
	return s.byOwn(a, b) && !a.ends[b.i].own && s.now%time.Second == 0
}

// parted reports whether hosts have lost each other wholly with the gateway in sight.
func (s *sim) parted() bool {
	for _, a := range s.hosts {
		for _, b := range s.hosts[:a.i] {
			if s.cut[a.i][b.i] && !(a.ends[b.i].own && b.ends[a.i].own && s.byOwn(a, b)) {
				return true
			}
		}
	}
	return false
}

// fault breaks something of that network at random and reports whether it did.
func (o *own) fault(s *sim, h *host) bool {
	if !o.on || s.rnd.IntN(5) > 0 {
		return false
	}
	if s.rnd.IntN(4) == 0 {
		s.note("%d: what it sends to the clients' network is lost", h.i)
		o.lame[h.i] = true
		return true
	}
	if p := s.others(h)[s.rnd.IntN(len(s.hosts)-1)]; s.rnd.IntN(2) == 0 {
		s.note("%d and %d cut from each other on their own network", h.i, p.i)
		o.between[h.i][p.i], o.between[p.i][h.i] = true, true
	} else {
		s.note("%d: cut from the hosts' own network", h.i)
		o.cut[h.i] = true
	}
	return true
}

// asks reports whether one host can have an answer of another on the clients' network.
func (s *sim) asks(a, b *host) bool { return !s.own.lame[a.i] && !s.own.lame[b.i] }

// TestOneWay loses all that one host sends to the clients' network: the other one serves, soon.
func TestOneWay(t *testing.T) {
	for lame := range 2 {
		s := newSim(uint64(lame+1), false, 2, true)
		err := s.run(2 * time.Second)
		s.own.lame[lame] = true
		if err == nil {
			err = s.run(4 * time.Second)
		}
		if h := s.hosts[1-lame]; err != nil || !h.open || !h.owner || h.m.role != Sole {
			t.Fatalf("host %d is lame: %v, the other one is %v\n%s", lame, err, h.m.role, s.tail())
		}
		s.mend(4)
		if err := s.run(7 * time.Second); err != nil {
			t.Fatal(err)
		}
		if err := s.settled(); err != nil {
			t.Fatalf("%v\n%s", err, s.tail())
		}
	}
}

// TestStartsBehindDeadLink starts hosts one of which has no way to the clients, or hears there and is
// not heard: the others serve.
func TestStartsBehindDeadLink(t *testing.T) {
	for _, hosts := range []int{2, 3} {
		for dead := range hosts {
			for _, lame := range []bool{false, true} {
				t.Run(fmt.Sprintf("hosts=%d/dead=%d/lame=%v", hosts, dead, lame), func(t *testing.T) { startBehindDeadLink(t, hosts, dead, lame) })
			}
		}
	}
}

func startBehindDeadLink(t *testing.T, hosts, dead int, lame bool) {
	s := newSim(uint64(dead+1), false, hosts, true)
	s.hosts[dead].linked, s.own.lame[dead] = lame, lame
	if err := s.run(12 * time.Second); err != nil {
		t.Fatal(err)
	}
	voice, owner := false, false
	for _, h := range s.hosts {
		voice = voice || h.i != dead && s.now < h.lease
		owner = owner || h.i != dead && h.owner && h.m.MayAnswer(s.now-h.start)
	}
	if !voice || !owner {
		t.Errorf("a healthy host speaks: %v, answers: %v\n%s", voice, owner, s.tail())
	}
	s.mend(4)
	if err := s.run(7 * time.Second); err != nil {
		t.Fatal(err)
	}
	if err := s.settled(); err != nil {
		t.Fatalf("%v\n%s", err, s.tail())
	}
}

// TestTwoMachinesApart has a network of the hosts' own, too; and partitions of the clients' one in
// each round, which it makes decidable while it is up.
func TestTwoMachinesApart(t *testing.T) { roundsBy(t, false, 2, true) }

// TestTwoMachinesApartAndWitness has a witness as well.
func TestTwoMachinesApartAndWitness(t *testing.T) { roundsBy(t, true, 2, true) }

// TestThreeMachinesApart has a spare.
func TestThreeMachinesApart(t *testing.T) { roundsBy(t, false, 3, true) }

// TestThreeMachinesApartAndWitness has both.
func TestThreeMachinesApartAndWitness(t *testing.T) { roundsBy(t, true, 3, true) }
