package proxy

import (
	"bytes"
	"fmt"
	"net/http"
	"net/textproto"

	"github.com/ftgw/ftgw/replication"
)

const maxInterims = 64 // of one exchange; more are not passed on

// got1xx passes on an interim reply of the upstream. It runs on the transport's goroutine, while
// the executor waits for the reply or after it gave up.
func (x *executor) got1xx(code int, h textproto.MIMEHeader) error {
	x.interim.Lock()
	defer x.interim.Unlock()
	if !x.interim.waiting || x.interim.next >= maxInterims || code == http.StatusContinue {
		return nil // a 100 of the upstream's answers an Expect that it was not sent
	}
	err := x.sendInterim(code, http.Header(h))
	x.interim.failed = err != nil
	return err
}

// endInterims returns when none is on its way any more, and whether the connection lives.
func (x *executor) endInterims() error {
	x.interim.Lock()
	defer x.interim.Unlock()
	x.interim.waiting = false
	if x.interim.failed {
		return errDropped
	}
	return nil
}

// sendInterim stores an interim reply, then writes it, unless it went out before a takeover:
// both executions count alike, so that its ordinal tells.
func (x *executor) sendInterim(code int, h http.Header) error {
	ordinal := x.interim.next
	x.interim.next++
	if ordinal < x.interim.stored {
		return nil
	}
	var head bytes.Buffer
	fmt.Fprintf(&head, "HTTP/1.1 %d %s\r\n", code, http.StatusText(code))
	removeHopByHop(h)
	delete(h, "Content-Length")
	h.Write(&head) // to memory: cannot fail
	head.WriteString("\r\n")
	rec := Record{RecordKey: x.key(replication.KindInterim), Size: int64(head.Len())}
	rec.Interim = ordinal
	if err := x.store(rec, bytes.NewReader(head.Bytes())); err != nil {
		return err
	}
	if _, err := x.flow.conn.Write(head.Bytes()); err != nil {
		return errDropped
	}
	return nil
}
