package proxy

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ftgw/ftgw/internal/defect"
)

// Routes in mode unprotected: the reply goes to the client as it comes from the upstream, and
// nothing of it is stored (DESIGN §4, "Modes per route"). Before the upstream is asked, the peer
// has let go of the connection, so that no host ever goes on with what it has not seen. The
// request's body is still read whole first.

// errCut ends the connection in good order within a reply, so that its framing shows the client
// that it is not whole.
var errCut = errors.New("the reply cannot be finished")

// How a client that has gone is found out where nothing is sent: after 30 s of silence, then six
// probes.
var streamAlive = net.KeepAliveConfig{Enable: true, Idle: 30 * time.Second, Interval: 10 * time.Second, Count: 6}

// pass makes the connection this host's alone and passes the upstream's reply through. A wire is
// returned only for a reply that this host makes.
func (x *executor) pass(r *request, attempt uint8) (*wire, error) {
	f := x.flow
	if err := f.s.flows.Unprotect(x.ctx, f.id); err != nil {
		if x.ctx.Err() != nil {
			return nil, errDropped
		}
		f.s.cfg().Log.Warn("an unprotected request is turned away: the connection is not this host's alone",
			"flow", f.id, "index", x.index, "error", err)
		r.close = true
		return nil, &fault{status: http.StatusServiceUnavailable, why: "try again", field: "Retry-After: 1\r\n"}
	}
	f.alone()
	r.upgrade = r.wantsUpgrade()
	return x.ask(r, attempt, x.stream)
}

// alone notes that the flow is unprotected for the rest of its life.
func (f *flow) alone() {
	f.mu.Lock()
	f.unprotected = true
	f.mu.Unlock()
	f.conn.SetKeepAliveConfig(streamAlive) // without it a lost client is found out at the next write
}

// wantsUpgrade returns the protocols that the client offers to switch to, or nothing. HTTP/2 in
// the clear is not among them: requests would pass that nobody here has read. Nor is anything for a
// request whose body is still being sent when the reply comes: the two would mix.
func (r *request) wantsUpgrade() string {
	var all []string
	if r.minor == 0 || !r.options.drops("Upgrade") || !r.body.small() {
		return ""
	}
	for i := range r.header {
		if f := &r.header[i]; equalFold(f.name, "Upgrade") {
			all = append(all, f.value)
		}
	}
	offer := strings.Join(all, ", ")
	for protocol := range strings.SplitSeq(offer, ",") {
		if name, _, _ := strings.Cut(trimSpace(protocol), "/"); equalFold(name, "h2c") || equalFold(name, "HTTP") {
			return ""
		}
	}
	return offer
}

// stream writes the upstream's reply to the client as it comes; see taker. It counts how many bytes
// the client was given.
func (x *executor) stream(c UpstreamConn, r *request, p *response) (*wire, error) {
	s := x.flow.s
	s.count.unprotected.Add(1)
	x.success, x.row.status = Unprotected, int16(p.status)
	framing := p.framing(r)
	r.close = r.close || framing == unframed
	head := bytes.NewBuffer(s.depot.pool.getSmall())
	defer func() { s.depot.pool.putSmall(head.Bytes()) }()
	x.streamHead(head, r, p, framing)
	if err := x.hand(head.Bytes()); err != nil {
		return nil, err
	}
	raw, err := c.Live()
	if err != nil {
		return nil, x.cut(framing, err)
	}
	if p.status == http.StatusSwitchingProtocols {
		r.close, p.options.close = true, true
		return nil, x.tunnel(c, raw)
	}
	stop := x.watch(c)
	err = x.streamBody(p.body(c.Reader()), p, framing)
	gone := stop()
	switch {
	case err == nil:
		return nil, nil
	case gone || errors.Is(err, errDropped):
		return nil, errDropped
	}
	return nil, x.cut(framing, err)
}

// framing says how a body is framed for the client of r that is written before its end is
// known: by its length, by chunks, or by the end of the connection.
func (p *response) framing(r *request) int64 {
	switch {
	case p.length >= 0:
		return p.length
	case r.minor == 1:
		return chunked
	}
	return unframed
}

// streamHead writes the head of a reply whose body follows as it comes.
func (x *executor) streamHead(head *bytes.Buffer, r *request, p *response, framing int64) {
	length := x.writeHead(head, p)
	switch {
	case p.status == http.StatusSwitchingProtocols:
		for _, f := range p.header {
			if equalFold(f.name, "Upgrade") {
				writeField(head, f.name, f.value)
			}
		}
		head.WriteString("Connection: Upgrade\r\n\r\n")
		return
	case p.status == http.StatusNoContent:
	case p.bodiless(r.method):
		if length != "" {
			writeField(head, "Content-Length", length)
		}
	case framing >= 0:
		writeField(head, "Content-Length", strconv.FormatInt(framing, 10))
	case framing == chunked:
		head.WriteString("Transfer-Encoding: chunked\r\n")
	}
	connectionField(head, r.minor, r.close)
	head.WriteString("\r\n")
}

// streamBody copies a body, each piece at once. A slow client makes the upstream wait. An error is
// errDropped or of the body.
func (x *executor) streamBody(body io.Reader, p *response, framing int64) error {
	const before, after = 16, 2 // room for a chunk's frame
	pool := &x.flow.s.depot.pool
	small := pool.getSmall()
	defer pool.putSmall(small)
	buf := small[:cap(small)]
	for {
		n, err := body.Read(buf[before : len(buf)-after])
		if n > 0 {
			piece := buf[before : before+n]
			if framing == chunked {
				var size [before]byte
				line := append(strconv.AppendInt(size[:0], int64(n), 16), "\r\n"...)
				copy(buf[before-len(line):], line)
				piece = append(buf[before-len(line):before+n], "\r\n"...)
			}
			x.payload += int64(n)
			if err := x.hand(piece); err != nil {
				return err
			}
		}
		switch {
		case err == io.EOF && framing == chunked:
			_, end := chunkEnds(0, p.trailer)
			return x.hand(end)
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		}
	}
}

// hand writes to the client what is not stored.
func (x *executor) hand(b []byte) error {
	n, err := x.flow.client.Write(b)
	x.row.bytes += int64(n)
	if err != nil {
		return errDropped
	}
	return nil
}

// cut ends a reply that has begun and cannot be finished, because of why. One that lasts until the
// connection ends would look whole if that ended in good order; and of a deferred one the client may have
// more than this host's kernel.
func (x *executor) cut(framing int64, why error) error {
	if x.ctx.Err() != nil {
		return errDropped
	}
	x.row.outcome = Truncated
	x.flow.s.count.failed.Add(1)
	x.cfg.Log.Warn("a reply is cut short", "upstream", x.cfg.Upstream, "flow", x.flow.id, "index", x.index, "error", why)
	switch p := x.prefix; {
	case p.deferred() && x.flow.client.written < p.end():
		x.flow.s.flows.Reset(x.flow.id)
		return errDropped
	case framing == unframed:
		return errDropped
	}
	return errCut
}

// watch closes c when the client closes, while its reply is under way: nobody waits for the rest. A
// client that only ends its own side is taken for one that has gone, as nginx does. What it
// sends is not read, but left for the next exchange. stop ends the watch and reports whether the
// client had gone; it must be called before anything else is read.
func (x *executor) watch(c UpstreamConn) (stop func() (gone bool)) {
	conn := x.flow.conn
	raw, err := conn.SyscallConn()
	if err != nil || conn.SetReadDeadline(time.Time{}) != nil {
		return func() bool { return false }
	}
	gone := false
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer defect.Guard()
		// Whatever comes makes it look again, but only an end makes it stop.
		err := raw.Read(func(fd uintptr) bool { return happened(int(fd), unix.POLLRDHUP) })
		if gone = !isTimeout(err); gone {
			c.Abort()
		}
	}()
	return func() bool {
		conn.SetReadDeadline(time.Unix(1, 0)) // fails on a closed connection only
		<-done
		return gone
	}
}

// happened reports whether a socket's connection has been reset or closed, or one of these events has come:
// POLLRDHUP says that the other side has ended its half.
func happened(fd int, events int16) bool {
	look := [1]unix.PollFd{{Fd: int32(fd), Events: events}}
	_, err := unix.Poll(look[:], 0)
	return err == nil && look[0].Revents != 0
}
