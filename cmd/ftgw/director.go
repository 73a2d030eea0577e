// The director: it steps one group's machine and hands what that decides to the stage.
package main

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/ftgw/ftgw/takeover"
)

// stage carries out what a takeover.Machine asks for. Its methods are called by the director's
// goroutine alone, in the order of the actions, and do not block for long.
type stage interface {
	Choose(node int)
	ProbeConnect(node int)
	Probe(what takeover.Do, node int)
	WriteEpoch(takeover.Epoch)
	AskGrant(e, base takeover.Epoch, empty bool)
	FencePeer(e takeover.Epoch, node int)
	ReportSilent(takeover.Epoch)
	Publish()
	AbandonPeer()
	Promote(empty bool)
	ReleaseHeld()
	Gate(open bool)
	Own(bool)
	Announce()
	Duplex(speaker bool)
	Fence() // FenceDone is posted when the flows are dead
	Yield()
	HandOver(e takeover.Epoch, turn uint16, voice, address bool)
	TakeVoice()
	Changed(before, after *takeover.Status) // told of every step, when its actions are done
}

// director steps the machine: one goroutine, to which events are posted from everywhere.
type director struct {
	start  time.Time
	tick   time.Duration
	self   int           // index of this node: events that are about no other one are about the present peer
	stall  time.Duration // without a step for so long, the process stood still
	events chan takeover.Event
	log    *slog.Logger
	stage  stage

	machine     *takeover.Machine // Run's goroutine only
	at          time.Duration     // of the latest event; likewise
	renewUntil  atomic.Int64      // ns since start
	answerUntil atomic.Int64
	awakeUntil  atomic.Int64
	steppedAt   atomic.Int64
	lastSign    []atomic.Int64 // of each node, by index; behind them those by the nodes' own network
	progressAt  atomic.Int64
	status      atomic.Pointer[takeover.Status]

	record claimRecord
}

// newDirector returns a director for the machine of one node, self, of so many. start is the origin of
// its times.
func newDirector(m *takeover.Machine, start time.Time, tick, stall time.Duration, self, nodes int, log *slog.Logger) *director {
	d := &director{start: start, tick: tick, stall: stall, machine: m, log: log, events: make(chan takeover.Event, 4096),
		lastSign: make([]atomic.Int64, 2*nodes), self: self}
	st := m.Status()
	d.status.Store(&st)
	return d
}

func (d *director) now() time.Duration { return time.Since(d.start) }

// post hands an event to the machine; Now is filled in. It does not wait while the director
// keeps up.
func (d *director) post(ctx context.Context, ev takeover.Event) {
	ev.Now = d.now()
	select {
	case d.events <- ev:
	case <-ctx.Done():
	}
}

// sign notes a sign of a node's daemon. It is cheap, so that every frame may call it.
func (d *director) sign(from int) { d.lastSign[from].Store(int64(d.now())) }

// signApart notes one that came by the nodes' own network.
func (d *director) signApart(from int) { d.sign(from + len(d.lastSign)/2) }

// peerSign notes one of the present peer's, which alone sends clones.
func (d *director) peerSign() { d.sign(d.status.Load().Target) }

// progress notes that a client acknowledged more of what the peer sends; cheap, too.
func (d *director) progress() { d.progressAt.Store(int64(d.now())) }

// Run steps the machine until ctx ends.
func (d *director) Run(ctx context.Context) error {
	ticker := time.NewTicker(d.tick)
	defer ticker.Stop()
	signed, progressed := make([]int64, len(d.lastSign)), int64(0)
	for {
		select {
		case <-ctx.Done():
			return nil
		case ev := <-d.events:
			d.step(ev)
		case <-ticker.C:
			for i := range signed {
				if at := d.lastSign[i].Load(); at > signed[i] {
					signed[i] = at
					nodes := len(signed) / 2
					d.step(takeover.Event{Now: time.Duration(at), Kind: takeover.Sign, From: i % nodes, Apart: i >= nodes})
				}
			}
			if at := d.progressAt.Load(); at > progressed {
				progressed = at
				d.step(takeover.Event{Now: time.Duration(at), Kind: takeover.Progress, From: d.self})
			}
			d.step(takeover.Event{Now: d.now(), Kind: takeover.Tick, From: d.self})
		}
	}
}

func (d *director) step(ev takeover.Event) {
	d.at = max(d.at, ev.Now)
	before := d.status.Load()
	actions := d.machine.Step(ev)
	d.publish(false)
	for _, a := range actions {
		d.log.Debug("action", "action", a.String())
		d.do(a)
	}
	d.publish(true)
	d.stage.Changed(before, d.status.Load())
}

// publish shows the machine's state to the other goroutines, before its actions and when they are
// done: upon LinkDead the peer claims, so it is said with the gate closed.
func (d *director) publish(done bool) {
	st := d.machine.Status()
	st.LinkDead = st.LinkDead && (done || d.status.Load().LinkDead)
	d.status.Store(&st)
	d.steppedAt.Store(int64(d.now()))
	d.renewUntil.Store(int64(d.machine.RenewUntil()))
	d.answerUntil.Store(int64(d.machine.AnswerUntil()))
	awake := time.Duration(0)
	if st.Held == "" && st.Role != takeover.Fenced && st.Role != takeover.Joining {
		awake = d.at + d.stall // not now: the event may have waited while the process stood still
	}
	d.awakeUntil.Store(int64(awake))
}

// awake reports whether this process has been stepping its machine all the time and does not
// doubt or have lost its epoch. A process that was stopped finds packets, requests and bytes that waited
// for it; until the machine has looked around, it must not act on them.
func (d *director) awake() bool { return int64(d.now()) < d.awakeUntil.Load() }

func (d *director) do(a takeover.Action) {
	s := d.stage
	switch a.Do {
	case takeover.Choose:
		s.Choose(a.Node)
	case takeover.ProbeConnect:
		s.ProbeConnect(a.Node)
	case takeover.ProbePeer, takeover.ProbeGateway, takeover.ProbeAdvertised:
		s.Probe(a.Do, a.Node)
	case takeover.WriteEpoch:
		d.record.begin(a)
		s.WriteEpoch(a.Epoch)
	case takeover.AskGrant:
		d.record.begin(a)
		s.AskGrant(a.Epoch, a.Base, a.Empty)
	case takeover.FencePeer:
		d.record.begin(a)
		s.FencePeer(a.Epoch, a.Node)
	case takeover.ReportSilent:
		s.ReportSilent(a.Epoch)
	case takeover.Publish:
		s.Publish()
	case takeover.AbandonPeer:
		s.AbandonPeer()
	case takeover.Promote:
		d.record.written(a)
		s.Promote(a.Empty)
		d.record.done("promoted")
	case takeover.OpenGate:
		s.Gate(true)
		d.record.done("gate-open")
	case takeover.CloseGate:
		s.Gate(false)
	case takeover.Own:
		s.Own(true)
	case takeover.Disown:
		s.Own(false)
	case takeover.Announce:
		s.Announce()
		d.record.done("announced")
	case takeover.ReleaseHeld:
		s.ReleaseHeld()
		d.record.done("released")
	case takeover.Duplex:
		s.Duplex(a.Speaker)
	case takeover.Fence:
		s.Fence()
	case takeover.Yield:
		s.Yield()
	case takeover.HandOver:
		s.HandOver(a.Epoch, a.Turn, a.Speaker, a.Owner)
	case takeover.TakeVoice:
		s.TakeVoice()
	}
}

func (d *director) epoch() takeover.Epoch { return d.status.Load().Epoch }

// outdated reports whether this host is out of the pair, or about to learn that it is.
func (d *director) outdated() bool {
	st := d.status.Load()
	return st.Role == takeover.Fenced || st.Role == takeover.Joining || st.Peer.Epoch > st.Epoch
}

// mayAnswer reports whether who-has for the group's addresses may be answered now.
func (d *director) mayAnswer() bool { return int64(d.now()) < d.answerUntil.Load() }

// mayRenew reports whether the lease of the voice may be renewed now.
func (d *director) mayRenew() bool { return int64(d.now()) < d.renewUntil.Load() }
