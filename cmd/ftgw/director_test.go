package main

import (
	"log/slog"
	"testing"
	"time"

	"github.com/ftgw/ftgw/takeover"
)

// quietStage does nothing but what the test wants to see; any other action is a nil call.
type quietStage struct {
	stage
	gate func(open bool)
}

func (s quietStage) Gate(open bool)                { s.gate(open) }
func (s quietStage) Changed(_, _ *takeover.Status) {}
func (s quietStage) Own(bool)                      {}
func (s quietStage) Announce()                     {}
func (s quietStage) Publish()                      {}
func (s quietStage) Duplex(bool)                   {}
func (s quietStage) Probe(takeover.Do, int)        {}
func (s quietStage) ProbeConnect(int)              {}
func (s quietStage) WriteEpoch(takeover.Epoch)     {}

// What this node says of itself when its own link is dead makes the peer claim at once, so it is
// said with the gate closed.
func TestLinkDeadIsSaidLast(t *testing.T) {
	c := takeover.Defaults(0, 2)
	c.Apart = true
	d := newDirector(takeover.New(c, takeover.State{Boot: takeover.Boot{1}}), time.Now(), c.ProbeEvery, time.Second, 0, 2,
		slog.New(slog.DiscardHandler))
	closed := false
	d.stage = quietStage{gate: func(open bool) {
		closed = closed || !open
		if !open && d.status.Load().LinkDead {
			t.Error("said before the gate is closed")
		}
		if !open && d.mayRenew() {
			t.Error("the gate may be renewed while it closes")
		}
	}}
	peer := takeover.Boot{2}
	d.step(takeover.Event{Now: time.Millisecond, Kind: takeover.SessionUp, From: 1, Boot: peer, Apart: true})
	d.step(takeover.Event{Now: 2 * time.Millisecond, Kind: takeover.Sign, From: 1}) // by the clients' network
	view := takeover.View{Role: takeover.Joining, Chosen: true}
	for now := 3 * time.Millisecond; now < 30*time.Millisecond; now += 10 * time.Millisecond {
		d.step(takeover.Event{Now: now, Kind: takeover.PeerState, From: 1, Boot: peer, Peer: view, Echo: now, Apart: true})
		view = takeover.View{Role: takeover.Backup, Owner: true, Paired: true, Chosen: true}
	}
	if st := d.status.Load(); st.Role != takeover.Primary {
		t.Fatalf("no pair: %+v", st)
	}
	d.step(takeover.Event{Now: 40 * time.Millisecond, Kind: takeover.LinkDown, From: 0})
	if st := d.status.Load(); !closed || !st.LinkDead {
		t.Errorf("closed %v, %+v", closed, st)
	}
	d.step(takeover.Event{Now: 41 * time.Millisecond, Kind: takeover.Tick, From: 0})
	if !d.status.Load().LinkDead {
		t.Error("taken back")
	}
}
