package proxy

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"
)

// wire is a reply as it goes to the client: head, body, tail. It implements io.ReaderAt.
type wire struct {
	pool   *pool
	head   []byte // from the pool; a small body is part of it
	body   *spill // may be nil
	tail   []byte
	status int
	close  bool // the connection ends after it
	own    bool // made here for want of the upstream's
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
func (w *wire) writeTo(conn *net.TCPConn) error {
	if w.body != nil && w.body.disk == nil {
		parts := net.Buffers{w.head, w.body.mem, w.tail}
		_, err := parts.WriteTo(conn)
		return err
	}
	if _, err := conn.Write(w.head); err != nil || w.body == nil {
		return err
	}
	if err := w.body.writeTo(conn); err != nil {
		return err
	}
	_, err := conn.Write(w.tail)
	return err
}

func (w *wire) free() {
	if w.pool != nil {
		w.pool.putSmall(w.head)
	}
	w.body.release()
	w.head, w.body = nil, nil
}

// makeWire serialises the upstream's reply to r; body is taken over.
func (x *executor) makeWire(r *request, resp *http.Response, body *spill) *wire {
	p := &x.flow.s.depot.pool
	w := &wire{pool: p, body: body, status: resp.StatusCode, close: r.close}
	h := resp.Header
	removeHopByHop(h)
	bodiless := r.method == http.MethodHead || resp.StatusCode == http.StatusNoContent ||
		resp.StatusCode == http.StatusNotModified
	chunked := !bodiless && r.minor == 1 && len(resp.Trailer) > 0
	switch {
	case chunked || resp.StatusCode == http.StatusNoContent:
		delete(h, "Content-Length")
	case bodiless: // the upstream says what the body's length would be, or does not
	default:
		h["Content-Length"] = []string{strconv.FormatInt(body.Len(), 10)}
	}
	if h["Date"] == nil {
		h["Date"] = []string{time.Now().UTC().Format(http.TimeFormat)}
	}
	head := bytes.NewBuffer(p.getSmall())
	fmt.Fprintf(head, "HTTP/1.1 %03d %s\r\n", resp.StatusCode, reason(resp))
	h.Write(head) // to memory: cannot fail
	if chunked {
		head.WriteString("Transfer-Encoding: chunked\r\n")
		for name := range resp.Trailer {
			head.WriteString("Trailer: " + name + "\r\n")
		}
	}
	connectionField(head, r.minor, r.close)
	head.WriteString("\r\n")
	if chunked {
		tail := new(bytes.Buffer)
		if body.Len() > 0 {
			fmt.Fprintf(head, "%x\r\n", body.Len())
			tail.WriteString("\r\n")
		}
		tail.WriteString("0\r\n")
		resp.Trailer.Write(tail)
		tail.WriteString("\r\n")
		w.tail = tail.Bytes()
	}
	w.head = head.Bytes()
	w.inline()
	return w
}

// inline moves a small body behind the head.
func (w *wire) inline() {
	if w.body == nil || w.body.disk != nil || w.body.Len() > inlineBody {
		return
	}
	w.head = append(append(w.head, w.body.mem...), w.tail...)
	w.body.release()
	w.body, w.tail = nil, nil
}

// reason returns the reply's reason phrase where it is fit to be sent.
func reason(resp *http.Response) string {
	if s := resp.Status; len(s) > 4 && isValue(s[4:]) {
		return s[4:]
	}
	return http.StatusText(resp.StatusCode)
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
	text := fmt.Sprintf("%d %s: %s\n", f.status, http.StatusText(f.status), f.why)
	head := bytes.NewBuffer(x.flow.s.depot.pool.getSmall())
	fmt.Fprintf(head, "HTTP/1.1 %d %s\r\nContent-Type: text/plain; charset=utf-8\r\n"+
		"Content-Length: %d\r\nDate: %s\r\n", f.status, http.StatusText(f.status), len(text),
		time.Now().UTC().Format(http.TimeFormat))
	minor := 1
	if r != nil {
		minor = r.minor
	}
	connectionField(head, minor, closing)
	head.WriteString("\r\n")
	if r == nil || r.method != http.MethodHead {
		head.WriteString(text)
	}
	return &wire{pool: &x.flow.s.depot.pool, head: head.Bytes(), status: f.status, close: closing, own: true}
}
