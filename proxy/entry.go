package proxy

import (
	"cmp"
	"errors"
	"time"

	"github.com/ftgw/ftgw/config"
	"github.com/ftgw/ftgw/replication"
)

// What the executor and the standby write into the ledger.

// enter begins the row of an exchange. r is nil where the request was malformed.
func (x *executor) enter(r *request, attempt uint8, site Site, success Outcome) {
	x.row = row{flow: x.flow.id, index: x.index, began: time.Now(), attempt: attempt, site: site,
		mode: config.Logged, outcome: Unfinished, touched: attempt > 1 && x.first, ticket: x.row.ticket}
	x.success, x.payload, x.asked, x.route = success, 0, 0, nil
	if r != nil {
		x.row.request(r.method, r.target)
		x.row.mode, x.route = x.mode(r)
		x.row.key.n = uint8(copy(x.row.key.text[:], r.clientKey()))
	}
	x.flow.s.ledger.put(&x.row)
}

// conclude ends the row of an exchange, if one was begun, and tells the access log; q is its request
// as far as it is known, and err how it ended.
func (x *executor) conclude(q *request, err error) {
	r := &x.row
	if r.began.IsZero() {
		return
	}
	switch {
	case err == nil:
		r.outcome = x.success
	case errors.Is(err, errMoved):
		r.outcome = Moved
	case r.outcome == Truncated:
	case r.outcome == Silenced || x.ctx.Err() != nil || !errors.Is(err, errDropped):
		r.outcome = Silenced
	default:
		r.outcome = Dropped
	}
	r.took = time.Since(r.began)
	x.flow.s.ledger.put(r)
	x.route.counted(r.mode, r.outcome)
	x.tell(q)
	if r.outcome == Moved {
		x.moving.row = *r
	}
	r.began, r.ticket = time.Time{}, 0
}

// keep enters a stored reply, into the row of its exchange if that has moved from here. The caller
// holds f.mu, and the request is still held if it was read.
func (l *ledger) keep(f *flow, rec stored) {
	r := row{flow: f.id, index: rec.Index, began: time.Now(), outcome: Stored}
	if moved := f.answered(rec); moved != nil {
		r = *moved
	} else { // nothing is held where the reply overtook the request
		r.line.n = uint8(copy(r.line.text[:], requestLine(f.held.first(maxMethod+1+maxPath))))
	}
	r.bytes, r.site, r.mode = rec.Size+f.released.bytes, Peer, cmp.Or(rec.mode, f.released.mode, config.Logged)
	if r.status = f.released.status; r.status == 0 {
		r.status = statusOf(rec.body.first(len("HTTP/1.1 200")))
	}
	if f.s.cfg().Access != nil {
		r.payload = rec.payload(f.released.bytes)
	}
	f.released = released{}
	l.put(&r)
	rec.body.row = r.ticket
}

// released is what the ledger is told of a reply's parts when its last piece is stored.
type released struct {
	bytes  int64
	passed int64 // of them: for which this host has a digest alone
	status int16
	mode   config.Mode // empty: logged
}

// parted notes a part, or the digest of one. The caller holds f.mu.
func (f *flow) parted(rec stored) {
	r := &f.released
	if rec.Interim == 0 {
		*r = released{status: statusOf(rec.body.first(len("HTTP/1.1 200")))}
	}
	if rec.Kind == replication.KindPart {
		r.bytes += rec.Size
	} else if note, err := parsePassed(rec.body.first(passedSize)); err == nil {
		more := int64(note.length) - r.passed
		r.bytes, r.passed, r.mode = r.bytes+more, r.passed+more, config.Deferred
	}
}

// requestLine returns the method and the path that a request begins with, as a row keeps them,
// or nothing. It does not judge the request: that was the executor's part.
func requestLine(b []byte) []byte {
	for len(b) > 0 && (b[0] == '\r' || b[0] == '\n') {
		b = b[1:]
	}
	space, end := -1, 0
	for ; end < len(b) && b[end] > ' ' && b[end] < 0x7f && b[end] != '?' || space < 0 && end < len(b) && b[end] == ' '; end++ {
		if b[end] == ' ' {
			space = end
		}
	}
	if space < 1 || space > maxMethod || end == space+1 {
		return nil
	}
	return b[:min(end, space+1+maxPath)]
}

// first returns the first held bytes, at most n, until h changes.
func (h *held) first(n int) []byte {
	if h.disk == nil {
		return h.mem[:min(n, len(h.mem))]
	}
	b := make([]byte, n)
	n, _ = h.readAt(b, h.start)
	return b[:n]
}

// first returns the first bytes, at most n, until s is released.
func (s *spill) first(n int) []byte {
	if s.disk == nil {
		return s.mem[:min(n, len(s.mem))]
	}
	b := make([]byte, n)
	n, _ = s.ReadAt(b, 0)
	return b[:n]
}
