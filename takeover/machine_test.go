package takeover

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"
)

func TestEpochNext(t *testing.T) {
	for _, tt := range []struct {
		e            Epoch
		index, nodes int
		want         Epoch
	}{
		{0, 0, 2, 2}, {0, 1, 2, 1}, {1, 1, 2, 3}, {1, 0, 2, 2}, {2, 0, 2, 4}, {2, 1, 2, 3},
		{7, 2, 3, 8}, {8, 2, 3, 11}, {9, 2, 3, 11},
	} {
		if got := tt.e.Next(tt.index, tt.nodes); got != tt.want {
			t.Errorf("Epoch(%d).Next(%d, %d) = %d, want %d", tt.e, tt.index, tt.nodes, got, tt.want)
		}
	}
}

// Two claims never tie (I5), whatever each node has seen before.
func TestEpochsNeverTie(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 10000 {
		nodes := 2 + rnd.IntN(6)
		i, j := rnd.IntN(nodes), rnd.IntN(nodes)
		a, b := Epoch(rnd.Uint64N(1000)), Epoch(rnd.Uint64N(1000))
		x, y := a.Next(i, nodes), b.Next(j, nodes)
		if x <= a || y <= b || x > a+Epoch(nodes) {
			t.Fatalf("Next of %d is %d, of %d is %d", a, x, b, y)
		}
		if i != j && x == y {
			t.Fatalf("nodes %d and %d of %d both claim %d", i, j, nodes, x)
		}
	}
}

func TestConfigCheck(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"one node":               func(c *Config) { c.Nodes = 1 },
		"index out of range":     func(c *Config) { c.Index = 2 },
		"no probes":              func(c *Config) { c.Probes = 0 },
		"lease longer than hang": func(c *Config) { c.Lease = c.HangTimeout },
		"no time to renew":       func(c *Config) { c.HangTimeout = 500 * time.Millisecond },
	} {
		c := Defaults(1, 2)
		if err := c.Check(); err != nil {
			t.Fatalf("the defaults: %v", err)
		}
		change(&c)
		if c.Check() == nil {
			t.Errorf("%s: passed", name)
		}
	}
}

// paired returns a machine in duplex at 100 ms.
func paired(t *testing.T, index int) *world {
	t.Helper()
	w := &world{t: t}
	w.command([]string{"start", [...]string{"primary", "backup"}[index]})
	w.command([]string{"pair"})
	w.run(60 * time.Millisecond)
	return w
}

// A starved daemon sees time jump and its events late: every probe still gets its time to be
// answered, and what was waiting calls off nothing wrongly nor brings on a claim.
func TestLateTicks(t *testing.T) {
	w := paired(t, 1)
	var probes int
	for range 40 {
		w.now += 120 * time.Millisecond // below the bound of standing still
		for _, a := range w.m.Step(Event{Now: w.now, Kind: Tick}) {
			switch a.Do {
			case ProbePeer:
				probes++
			case WriteEpoch:
				t.Fatalf("%v: claims a peer that is only late", w.now)
			}
		}
		w.m.Step(Event{Now: w.now, Kind: PeerState, Boot: w.boot, Peer: w.view, Echo: w.now - 100*time.Millisecond})
	}
	if probes == 0 {
		t.Error("never probed")
	}
	if !w.m.MayAnswer(w.now) {
		t.Error("does not answer any more")
	}
}

// A suspicion is probed 3 times within 30 ms, all questions at once.
func TestProbePace(t *testing.T) {
	w := paired(t, 0)
	last := w.now
	for end := w.now + 78*time.Millisecond; w.now < end; {
		w.now += time.Millisecond
		var asked []Do
		for _, a := range w.m.Step(Event{Now: w.now, Kind: Tick}) {
			asked = append(asked, a.Do)
		}
		since := w.now - last
		var want []Do
		switch since {
		case 50 * time.Millisecond:
			want = []Do{ProbeConnect, ProbePeer, ProbeGateway, ProbeAdvertised}
		case 60 * time.Millisecond, 70 * time.Millisecond:
			want = []Do{ProbePeer, ProbeGateway, ProbeAdvertised}
		}
		if !reflect.DeepEqual(asked, want) {
			t.Errorf("%v after the last sign: asks %v, want %v", since, asked, want)
		}
	}
}

// An answer to an earlier round proves nothing about this one.
func TestAnswersAreFresh(t *testing.T) {
	w := paired(t, 1)
	w.beat = false
	w.run(40 * time.Millisecond)
	w.m.Step(Event{Now: w.now, Kind: AnswerPeer}) // asked before the suspicion
	w.arp = false
	w.run(60 * time.Millisecond)
	if w.m.role != Sole {
		t.Errorf("is %v (%s), want a claim", w.m.role, w.m.why)
	}
}

// A machine that is not stepped loses voice and answers by itself.
func TestRightsEndByThemselves(t *testing.T) {
	for index := range 2 {
		w := paired(t, index)
		speaks, answers := w.m.MayRenew(w.now), w.m.MayAnswer(w.now)
		if speaks != (index == 0) || answers != (index == 1) {
			t.Errorf("node %d: speaks %v, answers %v", index, speaks, answers)
		}
		later := w.now + w.m.cfg.stall()
		if w.m.MayRenew(later) || w.m.MayAnswer(later) {
			t.Errorf("node %d: keeps its rights while it stands still", index)
		}
	}
}

// The voice has ended, the kernel's lease included, at 0.7 hang_timeout after the stamp that
// the peer last echoed: before the owner may claim.
func TestLeaseEndsBeforeTheClaim(t *testing.T) {
	w := paired(t, 0)
	w.beat = false
	echo := w.m.ev.echo
	w.run(50 * time.Millisecond)
	if got, want := w.m.RenewUntil()+w.m.cfg.Lease, echo+700*time.Millisecond; got > want {
		t.Errorf("the voice ends at %v, want %v at most", got, want)
	}
}

func TestWords(t *testing.T) {
	for k := Kind(0); k < Kind(kinds); k++ {
		if k.String() == "" {
			t.Errorf("event %d has no name", k)
		}
	}
	for d := Do(0); d < Do(dos); d++ {
		if d.String() == "" {
			t.Errorf("action %d has no name", d)
		}
	}
	for got, want := range map[string]string{
		Kind(kinds).String(): fmt.Sprintf("kind(%d)", kinds), Do(dos).String(): fmt.Sprintf("do(%d)", dos), Role(9).String(): "role(9)",
		Boot{}.String(): "none", Boot{1, 2, 3, 4, 5}.String(): "01020304", Sole.String(): "sole",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// The link is back, but the event has waited, so that a heartbeat from after it said LinkDead still.
// The peer may be claiming on that, and its echo proves nothing.
func TestEchoOfLinkDead(t *testing.T) {
	w := &world{t: t}
	w.command([]string{"start", "primary", "apart"})
	w.command([]string{"pair"})
	w.run(60 * time.Millisecond)
	w.step(Event{Kind: LinkDown})
	w.run(20 * time.Millisecond)
	w.step(Event{Kind: LinkUp})
	back := w.now
	w.step(Event{Kind: AnswerGateway})
	if w.m.hold.cause != checking {
		t.Fatalf("held: %v", w.m.hold)
	}
	heartbeat := func(echo time.Duration) {
		w.now += time.Millisecond
		w.step(Event{Kind: PeerState, Boot: w.boot, Peer: w.view, Echo: echo, Apart: true})
	}
	heartbeat(back)
	heartbeat(back + time.Millisecond)
	if w.m.MayRenew(w.now) {
		t.Error("speaks on the echo of its own LinkDead")
	}
	w.now += time.Millisecond
	w.step(Event{Kind: Tick})
	said := w.now
	heartbeat(said - 1)
	if w.m.MayRenew(w.now) {
		t.Error("speaks on an echo from before it had said otherwise")
	}
	heartbeat(said)
	if !w.m.MayRenew(w.now) {
		t.Error("silent, though the peer has heard that the link is back")
	}
}

// Handovers are counted round: the one after the 65535th of a pair is said and taken like any other.
func TestTurnsGoRound(t *testing.T) {
	giver, taker := paired(t, 0), paired(t, 1)
	for _, w := range []*world{giver, taker} {
		w.m.voice.turn, w.view.VoiceTurn = 65535, 65535
		w.run(20 * time.Millisecond)
	}
	said := 0
	for _, ev := range []Event{{Kind: Relinquish, Voice: true}, {Kind: Tick}} {
		ev.Now, ev.From = giver.now, giver.m.cfg.Index
		for _, a := range giver.m.Step(ev) {
			if a.Do != HandOver {
				continue
			}
			said++
			taker.step(Event{Kind: HandedOver, From: taker.m.cfg.Index, Boot: taker.boot, Epoch: a.Epoch, Turn: a.Turn, Voice: a.Speaker})
		}
	}
	if said != 1 || giver.m.MayRenew(giver.now) || !taker.m.MayRenew(taker.now) {
		t.Errorf("said %d times; the giver speaks: %v, the taker: %v", said, giver.m.MayRenew(giver.now), taker.m.MayRenew(taker.now))
	}
	giver.view.VoiceTurn = giver.m.voice.turn
	giver.run(20 * time.Millisecond)
	if giver.m.voice.given {
		t.Error("what the peer has heard is said on")
	}
}
