package proxy

import (
	"errors"

	"github.com/ftgw/ftgw/replication"
)

// What the upstream here has failed is executed once more by the peer (DESIGN §4, "A failing
// upstream"):
//
//	         fails, may move             reply stored here
//	under way ──────────────► pending ──────────────────────► the peer's
//	    │ fails, may not         │  the peer does not take it: refused
//	    ▼                        │  the peer dies: executed here again
//	 refused                     ▼
//	                       under way, may not move
//
// The peer has the request in its held suffix, for only records trim that. This host has read
// past it, so it keeps it parsed until the peer's reply is stored.

// errMoved ends an exchange here: the peer is to execute it.
var errMoved = errors.New("the exchange moves to the peer")

// attempts says what an exchange went through before its executor here took it up.
type attempts struct {
	index uint64 // of the exchange; of another one it says nothing
	tried uint8  // how often an upstream was asked, as far as is known; 0: never
	moved bool   // it has moved between the hosts, and does so no more
}

// pending is an exchange that the peer was given.
type pending struct {
	attempts
	request *request
	start   uint64 // of the request, in the client's stream
	why     *fault // the client's reply unless the peer takes it; nil once it has
	row     row    // of the ledger
}

// free gives back the request's body; p may be nil.
func (p *pending) free() {
	if p != nil {
		p.request.free()
	}
}

// moves reports whether an exchange that ended with f goes to the peer now. The request is then
// no longer the caller's.
func (x *executor) moves(r *request, f *fault) bool {
	if !f.upstream || x.was.moved || !x.cfg.MayMove(x.flow.id) {
		return false
	}
	kept := *r
	r.body = nil
	x.moving = &pending{attempts: attempts{x.index, x.was.tried, true}, request: &kept, start: x.start, why: f}
	return true
}

// move gives the flow to the peer, from the first byte of the request under way on.
func (x *executor) move() ending {
	p := x.moving
	x.cfg.Log.Info("the peer executes what the upstream failed", "flow", x.flow.id, "index", x.index)
	return x.give(replication.KindMove, p)
}

// resume takes up what is known of the next exchange: the peer moved it here, or it was moved
// there and has come back. The caller holds f.mu.
func (x *executor) resume() {
	f := x.flow
	if f.was.index == x.index {
		x.was = f.was
	}
	p := f.pending
	f.pending = nil
	if p == nil || p.index != x.index {
		p.free()
		return
	}
	x.was, x.pending = p.attempts, p
	x.row.ticket = p.row.ticket
}

// next returns the request of the next exchange, whole.
func (x *executor) next() (*request, error) {
	if p := x.pending; p != nil {
		x.start = p.start
		x.settle()
		return p.request, nil
	}
	return x.read()
}

// attempt says which attempt this is, and what a good end of it is called; end is the
// request's, and out that its reply may have gone out already.
func (x *executor) attempt(end uint64, out bool) (attempt uint8, success Outcome) {
	if p := x.pending; p != nil && p.why != nil {
		return x.was.tried, Refused // it is not asked again
	}
	attempt, success = x.was.tried+1, Delivered
	if x.first || out {
		// It may have been executed even if it was not here whole: the lost host's kernel can
		// have had segments that this one dropped. Better one look-up too many at the back end.
		attempt, success = max(2, attempt), Executed
		if end <= x.mark || x.prefix != nil {
			x.flow.s.count.reexecuted.Add(1)
			success = Reexecuted
		}
	}
	return attempt, success
}

// settled forgets the exchange that ended.
func (x *executor) settled() {
	x.index++
	x.first = false
	x.was, x.pending = attempts{}, nil
	x.interim.next, x.interim.stored = 0, 0
	x.parts, x.prefix = 0, nil
}

// answered frees what was kept of an exchange whose reply the peer has sent. Its row tells of
// the request, which is not held here. The caller holds f.mu.
func (f *flow) answered(rec stored) (r *row) {
	p := f.pending
	if p == nil || rec.Index < p.index {
		return nil
	}
	f.pending = nil
	p.free()
	if rec.Index > p.index {
		return nil
	}
	return &p.row
}
