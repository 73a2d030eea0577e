package proxy

import (
	"bytes"
	"net/http"
	"strconv"

	"github.com/ftgw/ftgw/replication"
)

const maxInterims = 64 // of one exchange; more are not passed on

// sendInterim stores an interim reply, then writes it, unless it went out before a takeover:
// both executions count alike, so that its ordinal tells. passed is false for this host's own.
func (x *executor) sendInterim(p *response, passed bool) error {
	ordinal := x.interim.next
	x.interim.next++
	if ordinal < x.interim.stored {
		return nil
	}
	var head bytes.Buffer
	p.writeStatus(&head)
	for _, f := range p.header {
		if f.passes(p) {
			writeField(&head, f.name, f.value)
		}
	}
	if passed {
		writeVia(&head, x.cfg.Via, p.minor)
	}
	head.WriteString("\r\n")
	rec := Record{RecordKey: x.key(replication.KindInterim), Size: int64(head.Len())}
	rec.Interim = ordinal
	if err := x.store(rec, bytes.NewReader(head.Bytes())); err != nil {
		return err
	}
	if _, err := x.flow.client.Write(head.Bytes()); err != nil {
		return errDropped
	}
	return nil
}

// writeStatus writes the status line, in this gateway's version.
func (p *response) writeStatus(head *bytes.Buffer) {
	reason := p.reason
	if reason == "" {
		reason = http.StatusText(p.status)
	}
	writeLine(head, "HTTP/1.1 ", strconv.Itoa(p.status), " ", reason)
}

// passes reports whether a field of a reply goes on to the client.
func (f *field) passes(p *response) bool {
	switch f.kind {
	case kindHop, kindTE, kindConnection, kindLength, kindCoding:
		return false
	}
	return !p.options.drops(f.name)
}
