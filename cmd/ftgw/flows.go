// The flows: what the session, the proxy and the director do to them, beside the packets.
package main

import (
	"net/netip"
	"sync"
	"time"

	"github.com/ftgw/ftgw/internal/crashpoint"
	"github.com/ftgw/ftgw/rewrite"
)

// on runs f on the table of a client and sends what comes of it.
func (d *datapath) on(client netip.AddrPort, f func(t *rewrite.Table, o *rewrite.Outcome)) {
	o := outcomes.Get().(*rewrite.Outcome)
	s := d.shard(client)
	s.mu.Lock()
	f(s.table, o)
	s.mu.Unlock()
	d.send(o)
	outcomes.Put(o)
}

var outcomes = sync.Pool{New: func() any { return new(rewrite.Outcome) }}

// confirmed takes the peer's confirmations.
func (d *datapath) confirmed(cs []rewrite.Confirmation) {
	crashpoint.Here(crashpoint.ConfirmIn)
	for _, c := range cs {
		d.on(c.Flow.Client, func(t *rewrite.Table, o *rewrite.Outcome) { t.Confirmed(c, d.now(), o) })
	}
}

// noted takes the peer's news of a flow.
func (d *datapath) noted(n rewrite.Note) {
	d.on(n.Flow.Client, func(t *rewrite.Table, o *rewrite.Outcome) { t.Noted(n, d.now(), o) })
}

// setStance sets what becomes of new flows of a service.
func (d *datapath) setStance(advertised netip.AddrPort, s rewrite.Stance) {
	d.each(func(t *rewrite.Table) { t.SetStance(advertised, s) })
}

// setPeer sets where the clones of a service go.
func (d *datapath) setPeer(advertised, peer netip.AddrPort) {
	d.each(func(t *rewrite.Table) { t.SetPeer(advertised, peer) })
}

// shut lets no connection of a service begin any more; those that are there go on.
func (d *datapath) shut(advertised netip.AddrPort) { d.lanes[advertised].closed.Store(true) }

// alone tells the peer of the flows that this host holds alone.
func (d *datapath) alone(advertised netip.AddrPort) {
	var notes []rewrite.Note
	d.each(func(t *rewrite.Table) {
		t.Alone(advertised, func(o *rewrite.Outcome) { notes = append(notes, o.Notes...) })
	})
	for _, n := range notes {
		d.lanes[advertised].news.Note(n)
	}
}

// survive makes this host the only one of a service. What wakes the flows up is kept for
// release, since the gate is opened in between (I6).
func (d *datapath) survive(advertised netip.AddrPort) (held []*rewrite.Outcome) {
	d.each(func(t *rewrite.Table) {
		t.SetStance(advertised, rewrite.Stance{Serve: true, Speak: true})
		t.Survive(advertised, d.now(), func(o *rewrite.Outcome) { held = append(held, o.Copy()) })
	})
	return held
}

// release sends what survive returned, with pauses, so that a takeover of many flows does not
// overrun a switch or the clients' path.
func (d *datapath) release(held []*rewrite.Outcome) {
	const burst, pause = 256, time.Millisecond
	for i, o := range held {
		d.send(o)
		if i%burst == burst-1 {
			time.Sleep(pause)
		}
	}
}

// fence forgets every flow of a service and returns how many there were.
func (d *datapath) fence(advertised netip.AddrPort) int {
	n := 0
	d.each(func(t *rewrite.Table) {
		t.SetStance(advertised, rewrite.Stance{})
		n += t.Fence(advertised)
	})
	return n
}

// expire is called a few times a second.
func (d *datapath) expire() {
	d.each(func(t *rewrite.Table) { t.Expire(d.now(), d.send) })
}

// resume repeats to the peer what this host holds.
func (d *datapath) resume(advertised netip.AddrPort) {
	var cs []rewrite.Confirmation
	d.each(func(t *rewrite.Table) { cs = t.Confirmations(advertised, cs) })
	for _, c := range cs {
		d.lanes[advertised].news.Confirm(c)
	}
}

// sweep forgets the flows of a service whose sockets are gone, and tells the peer of those that
// it knows to be this host's alone.
func (d *datapath) sweep(advertised netip.AddrPort, live map[netip.AddrPort]struct{}) {
	var closed []rewrite.FlowID
	d.each(func(t *rewrite.Table) {
		closed = append(closed, t.Sweep(advertised, func(c netip.AddrPort) bool { _, ok := live[c]; return ok }, d.now())...)
	})
	for _, id := range closed {
		d.lanes[advertised].news.Note(rewrite.Note{Flow: id, Kind: rewrite.NoteClosed})
	}
}

// count counts the flows of a service.
func (d *datapath) count(advertised netip.AddrPort) rewrite.Count {
	var sum rewrite.Count
	d.each(func(t *rewrite.Table) {
		c := t.Count(advertised)
		sum.Duplex += c.Duplex
		sum.Simplex += c.Simplex
		sum.Relay += c.Relay
		sum.HalfOpen += c.HalfOpen
		sum.Closing += c.Closing
		sum.Elsewhere += c.Elsewhere
	})
	return sum
}

// verdicts returns the counters of all reasons, 0 included, of packets that went on and of those
// that did not.
func (d *datapath) verdicts() (accepted, dropped map[string]uint64) {
	accepted, dropped = map[string]uint64{}, map[string]uint64{}
	for r := range rewrite.Reasons {
		to := dropped
		if r.Accepts() {
			to = accepted
		}
		to[r.String()] = d.reasons[r].Load()
	}
	dropped["unsent"] = d.unsent.Load()
	return accepted, dropped
}

// shared reports whether both hosts hold a flow.
func (d *datapath) shared(id rewrite.FlowID) bool {
	mode, ok := d.mode(id)
	return ok && mode == rewrite.Duplex
}

func (d *datapath) executedByPeer(id rewrite.FlowID) bool {
	s := d.shard(id.Client)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.table.ExecutedByPeer(id)
}

func (d *datapath) executes(id rewrite.FlowID) {
	s := d.shard(id.Client)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.table.Executes(id)
}

func (d *datapath) mode(id rewrite.FlowID) (rewrite.Mode, bool) {
	s := d.shard(id.Client)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.table.Mode(id)
}

// speaks reports whether this host sends for a flow.
func (d *datapath) speaks(id rewrite.FlowID) bool {
	s := d.shard(id.Client)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.table.Speaks(id)
}

// own reports whether a flow is this host's alone. A flow that was only relayed to a peer which
// died is not: the peer has answered its requests.
func (d *datapath) own(id rewrite.FlowID) bool {
	mode, ok := d.mode(id)
	return ok && mode == rewrite.Simplex
}

// simplify lets a flow go on here alone. It reports false if the peer speaks for it: then this
// host cannot have it.
func (d *datapath) simplify(id rewrite.FlowID) (ours bool) {
	d.on(id.Client, func(t *rewrite.Table, o *rewrite.Outcome) {
		mode, ok := t.Mode(id)
		ours = t.Simplify(id, d.now(), o) || ok && mode == rewrite.Simplex
	})
	return ours
}
