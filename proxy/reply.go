package proxy

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/ftgw/ftgw/config"
)

// wire is a reply as it goes to the client: head, body, tail. It implements io.ReaderAt.
type wire struct {
	pool    *pool
	head    []byte // from the pool; a small body is part of it
	body    *spill // may be nil
	tail    []byte
	status  int
	bare    int   // bytes of the head alone where it and the body are all that there is; else 0
	inlined int64 // bytes of the body that stand behind the head
	close   bool  // the connection ends after it
	own     bool  // made here for want of the upstream's
}

const inlineBody = 32 << 10 // bodies up to here are copied behind the head, for one write

// Len returns the bytes of the whole.
func (w *wire) Len() int64 {
	n := int64(len(w.head) + len(w.tail))
	if w.body != nil {
		n += w.body.Len()
	}
	return n
}

// ReadAt implements io.ReaderAt.
func (w *wire) ReadAt(p []byte, off int64) (n int, err error) {
	parts := [...]io.ReaderAt{bytes.NewReader(w.head), w.body, bytes.NewReader(w.tail)}
	sizes := [...]int64{int64(len(w.head)), 0, int64(len(w.tail))}
	if w.body != nil {
		sizes[1] = w.body.Len()
	}
	for i, part := range parts {
		if off >= sizes[i] {
			off -= sizes[i]
			continue
		}
		if n == len(p) {
			return n, nil
		}
		want := min(int64(len(p)-n), sizes[i]-off)
		k, err := part.ReadAt(p[n:n+int(want)], off)
		n += k
		if int64(k) < want {
			return n, err
		}
		off = 0
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// writeTo writes the whole to the client.
func (w *wire) writeTo(o *outlet) error {
	if w.body != nil && w.body.disk == nil {
		return o.buffers(net.Buffers{w.head, w.body.mem, w.tail})
	}
	if _, err := o.Write(w.head); err != nil || w.body == nil {
		return err
	}
	if err := o.spill(w.body); err != nil {
		return err
	}
	_, err := o.Write(w.tail)
	return err
}

func (w *wire) free() {
	if w.pool != nil {
		w.pool.putSmall(w.head)
	}
	w.body.release()
	w.head, w.body = nil, nil
}

// makeWire serialises the upstream's reply to r; body is taken over. Whatever framed it there, the
// whole is known: a length frames it here, or one chunk if there are trailers.
func (x *executor) makeWire(r *request, p *response, body *spill) *wire {
	pool := &x.flow.s.depot.pool
	w := &wire{pool: pool, body: body, status: p.status, close: r.close}
	head := bytes.NewBuffer(pool.getSmall())
	length := x.writeHead(head, p)
	var before []byte
	switch {
	case p.status == http.StatusNoContent:
	case p.bodiless(r.method): // the upstream says what the length would be, or does not
		if length != "" {
			writeField(head, "Content-Length", length)
		}
	case len(p.trailer) > 0 && r.minor == 1:
		head.WriteString("Transfer-Encoding: chunked\r\n")
		writeField(head, "Trailer", p.trailer.names())
		before, w.tail = chunkEnds(body.Len(), p.trailer)
	default:
		writeField(head, "Content-Length", strconv.FormatInt(body.Len(), 10))
	}
	connectionField(head, r.minor, r.close)
	head.WriteString("\r\n")
	if before == nil && w.tail == nil {
		w.bare = head.Len()
	}
	head.Write(before)
	w.head = head.Bytes()
	w.inline()
	return w
}

// writeHead writes the head of the upstream's reply but for what frames it, and returns what the
// upstream says of its length.
func (x *executor) writeHead(head *bytes.Buffer, p *response) (length string) {
	p.writeStatus(head)
	dated := false
	for i := range p.header {
		f := &p.header[i]
		switch {
		case f.kind == kindLength:
			length, _, _ = strings.Cut(f.value, ",")
		case f.kind == kindDate && x.row.mode == config.Static: // it cannot be the same on both hosts
		case f.passes(p):
			dated = dated || f.kind == kindDate
			writeField(head, f.name, f.value)
		}
	}
	if !dated && p.status >= 200 && x.row.mode != config.Static { // RFC 9110 §6.6.1
		writeField(head, "Date", x.flow.s.clock.date(time.Now()))
	}
	writeVia(head, x.cfg.Via, p.minor)
	return length
}

// inline moves a small body behind the head.
func (w *wire) inline() {
	if w.body == nil || w.body.disk != nil || w.body.Len() > inlineBody {
		return
	}
	w.head, w.inlined = append(append(w.head, w.body.mem...), w.tail...), w.body.Len()
	w.body.release()
	w.body, w.tail = nil, nil
}

// connectionField says whether the connection lasts, where the version does not.
func connectionField(head *bytes.Buffer, minor int, closing bool) {
	switch {
	case closing:
		head.WriteString("Connection: close\r\n")
	case minor == 0:
		head.WriteString("Connection: keep-alive\r\n")
	}
}

// ownReply makes a reply of this host's own. The body is left out in answer to HEAD.
func (x *executor) ownReply(r *request, f *fault, closing bool) *wire {
	title := strconv.Itoa(f.status) + " " + http.StatusText(f.status)
	text := title + ": " + f.why + "\n"
	head := bytes.NewBuffer(x.flow.s.depot.pool.getSmall())
	writeLine(head, "HTTP/1.1 ", title, "\r\nContent-Type: text/plain; charset=utf-8")
	writeField(head, "Content-Length", strconv.Itoa(len(text)))
	writeField(head, "Date", x.flow.s.clock.date(time.Now()))
	head.WriteString(f.field)
	minor := 1
	if r != nil {
		minor = r.minor
	}
	connectionField(head, minor, closing)
	head.WriteString("\r\n")
	if r != nil && r.method == http.MethodHead {
		text = ""
	}
	head.WriteString(text)
	return &wire{pool: &x.flow.s.depot.pool, head: head.Bytes(), inlined: int64(len(text)), status: f.status, close: closing, own: true}
}

// clock is the present second as Date says it. It is safe for concurrent use.
type clock struct{ last atomic.Pointer[second] }

type second struct {
	at   int64 // Unix
	text string
}

func (c *clock) date(now time.Time) string {
	s := c.last.Load()
	if s == nil || s.at != now.Unix() {
		s = &second{now.Unix(), now.UTC().Format(http.TimeFormat)}
		c.last.Store(s)
	}
	return s.text
}
