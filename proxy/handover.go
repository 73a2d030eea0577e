package proxy

import (
	"errors"
	"time"

	"github.com/ftgw/ftgw/replication"
	"github.com/ftgw/ftgw/rewrite"
)

// The executor's part of a flow moves to the peer between two exchanges: a record says where the
// next request begins, and its writer goes on as standby. So no request is executed twice and
// a running exchange stays where it is (DESIGN §5, "Switchover").

// Yield hands over the flows that this host executes and that ids names, each at its next
// exchange boundary, and returns their identities. ids is called with a lock held and must not
// call back into the Server. It may be called again for those that are still here.
func (s *Server) Yield(ids func(rewrite.FlowID) bool) []rewrite.FlowID {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.moved++
	var all []rewrite.FlowID
	for id, f := range s.table {
		if ids(id) && f.askToYield() {
			all = append(all, id)
			f.nudge()
		} else if ids(id) {
			f.speaks(false)
		}
	}
	return all
}

// askToYield reports whether this host executes the flow.
func (f *flow) askToYield() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	executes := f.executes()
	f.yielding = f.yielding || executes
	return executes
}

// executes reports whether the flow's exchanges are this host's part, even if it has not begun
// with them. The caller holds f.mu.
func (f *flow) executes() bool {
	return !f.lost && (f.duty == Executor || f.promoted || f.taken || f.offered || f.out.handedOver())
}

// Take makes this host the executor of the standby flows that ids names, because the peer has
// not begun with them. Others wait for the peer's handover. Flows that this host was to hand
// over and still executes stay here.
func (s *Server) Take(ids func(rewrite.FlowID) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.moved++
	for id, f := range s.table {
		begun := !ids(id)
		f.mu.Lock()
		f.yielding = false
		f.taken = f.taken || f.duty == Standby && !f.promoted && !f.given && !begun
		f.mu.Unlock()
		f.speaks(true)
		f.signal()
	}
}

// speaks says whether this host speaks for a flow from now on, if it is accepted already. Who
// executes a flow mostly speaks for it, but not after a move.
func (f *flow) speaks(speaks bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.conn == nil:
	case speaks:
		setRTO(f.conn, rtoMinSpeaking)
	default:
		setRTO(f.conn, rtoMinStandby)
	}
}

// Adopt makes this host the executor of one flow that it holds alone from now on, though the peer
// executed it. Like after a takeover, a request without a stored reply is executed here.
func (s *Server) Adopt(id rewrite.FlowID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.moved++
	if f := s.table[id]; f != nil {
		f.promote(time.Now())
		f.rouse()
	}
}

// Executing returns how many connections this host executes.
func (s *Server) Executing() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, f := range s.table {
		f.mu.Lock()
		if f.conn != nil && f.executes() {
			n++
		}
		f.mu.Unlock()
	}
	return n
}

var errYield = errors.New("asked to hand over")

func (x *executor) yields() bool {
	x.flow.mu.Lock()
	defer x.flow.mu.Unlock()
	return x.flow.yielding && !x.was.moved // that one ends here
}

// handOver ends the executor between two exchanges.
func (x *executor) handOver() ending { return x.give(replication.KindHandOver, nil) }

// give makes the peer the executor, from the next request on or, of a pending exchange, from the
// one under way. The flow becomes standby before the record goes, since the peer may store its
// first reply here right after it. If the peer does not take the flow, this host goes on with it.
func (x *executor) give(kind replication.RecordKind, p *pending) ending {
	f := x.flow
	if x.caughtUp() != nil {
		return reset
	}
	f.mu.Lock()
	f.yielding, f.promoted, f.heir, f.taken, f.given, f.offered = false, false, false, false, true, true
	rest, err := x.unread()
	f.held.free()
	f.held, f.eof = rest, x.src.eof
	f.duty, f.pending = Standby, p
	f.out.index, f.out.interims, f.out.parts = x.index, 0, 0
	f.out.turn++
	f.next = place{x.index, rest.start}
	rec := Record{RecordKey: x.key(kind), RequestEnd: rest.start}
	rec.Interim = f.out.turn
	if p != nil {
		f.next.index++
		rec.RequestEnd, rec.Attempt = p.start, p.tried
		f.out.interims = max(x.interim.next, x.interim.stored)
	}
	f.mu.Unlock()
	if err == nil {
		err = f.conn.SetReadDeadline(time.Time{})
	}
	if err != nil {
		f.lose()
		return reset
	}
	err = f.s.log.Store(x.ctx, rec, &wire{})
	if err != nil && x.ctx.Err() != nil {
		return reset
	}
	f.gave(kind, p, err)
	return proceed
}

// gave ends an offer: the peer has the flow now, or it stays here.
func (f *flow) gave(kind replication.RecordKind, p *pending, err error) {
	taken := err == nil
	f.mu.Lock()
	defer f.mu.Unlock()
	f.offered = false
	if taken {
		f.yielding = false
		if kind == replication.KindHandOver && !f.promoted {
			setRTO(f.conn, rtoMinStandby)
		}
	} else {
		f.taken, f.given = true, false
	}
	if p == nil {
		return
	}
	if taken {
		f.s.count.moved.Add(1)
	}
	if taken || f.promoted || errors.Is(err, ErrPeerLost) { // the peer may have asked its upstream, or was about to
		p.tried, p.why = p.tried+1, nil
	}
}

// unread returns what was read of the client's stream and not consumed, as the standby holds it.
func (x *executor) unread() (held, error) {
	at := x.offset()
	h := held{depot: &x.flow.s.depot, start: at, end: at}
	buffered, _ := x.br.Peek(x.br.Buffered()) // no more than there is: no error
	if err := h.append(buffered); err != nil {
		return h, err
	}
	if old := x.src.held; old != nil {
		buf := x.flow.s.depot.pool.getLarge()
		defer x.flow.s.depot.pool.putLarge(buf)
		for pos := x.src.pos; pos < old.end; {
			n, err := old.readAt(buf, pos)
			if err == nil {
				err = h.append(buf[:n])
			}
			if err != nil {
				return h, err
			}
			pos += uint64(n)
		}
	}
	if h.end > x.src.total { // the peer's record ran ahead of what was read here
		h.end = x.src.total
	}
	return h, nil
}
