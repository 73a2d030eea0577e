package proxy

import (
	"bytes"
	"strconv"
	"strings"
	"time"

	"github.com/ftgw/ftgw/accesslog"
)

// What the access log is told: each exchange once, by each host that had a part in giving the
// client its reply. That is the host that executed it, also where nobody got all of it; and after
// a takeover the survivor, where it finished a stored reply, though the lost host may have
// written of the same. What the peer has been given to execute, and what this host could not let
// out, is not told here.

// tell tells of the executor's exchange, which has ended. r is nil where the request was malformed.
func (x *executor) tell(r *request) {
	s, row := x.flow.s, &x.row
	if s.cfg().Access == nil || row.outcome == Moved || row.outcome == Silenced && x.success != Unprotected {
		return
	}
	e := accesslog.Entry{Time: row.began, Client: row.flow.Client, Status: int(row.status), Bytes: x.payload,
		Duration: row.took, Upstream: x.asked, Outcome: row.outcome.String(), Mode: string(row.mode)}
	if r != nil {
		e.Method, e.Target, e.Host = r.method, r.target, r.host
		e.Proto = "HTTP/1." + strconv.Itoa(r.minor)
		e.Referer, e.UserAgent = r.header.named("Referer"), r.header.named("User-Agent")
		if x.asked > 0 {
			e.Transaction = r.clientKey()
		}
	}
	if x.asked > 0 && e.Transaction == "" {
		e.Transaction = transactionID(row.flow, row.index)
	}
	s.cfg().Access(&e)
}

// replayed counts and tells of a stored reply that is finished here, of which the ledger knows by
// its ticket. The caller holds f.mu.
func (f *flow) replayed(ticket uint64) {
	f.s.count.replayed.Add(1)
	row, ok := f.s.ledger.replayed(ticket, time.Now())
	if !ok || f.s.cfg().Access == nil {
		return
	}
	e := accesslog.Entry{Time: row.began, Client: row.flow.Client, Status: int(row.status), Bytes: row.payload,
		Duration: row.took, Outcome: row.outcome.String(), Mode: string(row.mode),
		Transaction: transactionID(row.flow, row.index)}
	e.Method, e.Target, _ = strings.Cut(string(row.line.text[:row.line.n]), " ")
	if key := string(row.key.text[:row.key.n]); key != "" {
		e.Transaction = key
	}
	f.s.cfg().Access(&e)
}

// payload returns how much of a stored reply is its body. Of one that came in parts, so many bytes
// before this record, the head is counted too.
func (rec *stored) payload(parts int64) int64 {
	if parts > 0 {
		return parts + rec.Size
	}
	head := rec.body.first(maxReplyHead + 1<<10)
	if end := bytes.Index(head, []byte("\r\n\r\n")); end >= 0 {
		return rec.Size - int64(end+4)
	}
	return 0
}

// named returns the value of the first field of that name, or nothing.
func (h header) named(name string) string {
	for i := range h {
		if equalFold(h[i].name, name) {
			return h[i].value
		}
	}
	return ""
}

// carries returns how much of a reply's body is in w.
func (w *wire) carries() int64 {
	if w.body != nil {
		return w.body.Len()
	}
	return w.inlined
}
