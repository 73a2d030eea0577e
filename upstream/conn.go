package upstream

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Conn is a connection to the upstream that is lent to one exchange. The one who has it ends
// that with Put or Discard, once, and does not touch it afterwards. Reading and writing may be
// done by two goroutines; the rest is for one at a time.
type Conn struct {
	raw      net.Conn
	br       *bufio.Reader // stays with the connection
	pool     *Pool
	patience time.Duration
	live     atomic.Bool // without it, see Live
	own      bool        // one client's alone, see Pool.Fresh
	reused   bool
	since    time.Time // idle since then

	began    bool      // a byte came in this exchange
	ended    bool      // the server's FIN was read
	before   int64     // bytes written before this exchange
	written  int64     // and in it
	extended time.Time // when the read deadline was set last
	pushed   time.Time // and the write deadline

	control syscall.RawConn
	look    func(fd uintptr) // fills quiet; made once, for it would be on the heap each time
	seen    [1]unix.PollFd
	quiet   bool
}

const readBuffer = 8 << 10 // bytes: most heads in one read

func newConn(p *Pool, raw net.Conn, own bool) (*Conn, error) {
	c := &Conn{raw: raw, pool: p, patience: p.cfg.Patience, own: own}
	c.br = bufio.NewReaderSize(c, readBuffer)
	sc, ok := raw.(syscall.Conn)
	if !ok {
		return nil, errors.New("not a socket of the kernel")
	}
	var err error
	c.control, err = sc.SyscallConn()
	c.look = func(fd uintptr) {
		// Bytes, FIN and RST all show. A read that peeks would allocate.
		c.seen[0] = unix.PollFd{Fd: int32(fd), Events: unix.POLLIN | unix.POLLRDHUP}
		for {
			n, err := unix.Poll(c.seen[:], 0)
			c.quiet = n == 0 && err == nil
			if !errors.Is(err, unix.EINTR) {
				return
			}
		}
	}
	return c, err
}

// Reader buffers what the server sends. It is used instead of Read, and stays the Conn's.
func (c *Conn) Reader() *bufio.Reader { return c.br }

// Reused reports whether the connection carried an exchange before this one. Only then can a
// failure mean no more than that the server closed it for being idle.
func (c *Conn) Reused() bool { return c.reused }

// Began reports whether a byte came from the server in this exchange.
func (c *Conn) Began() bool { return c.began }

// Read reads what the server sends; Reader uses it. Each call has the pool's whole Patience, or
// up to a sixteenth less.
func (c *Conn) Read(p []byte) (int, error) {
	c.extend(&c.extended, c.raw.SetReadDeadline)
	n, err := c.raw.Read(p)
	c.began = c.began || n > 0
	c.ended = c.ended || err == io.EOF
	return n, err
}

// Write sends to the server, with the same patience for each call.
func (c *Conn) Write(p []byte) (int, error) {
	c.extend(&c.pushed, c.raw.SetWriteDeadline)
	n, err := c.raw.Write(p)
	c.written += int64(n)
	return n, err
}

// extend moves a deadline, not at each call: that is a tenth of a short exchange's cost.
func (c *Conn) extend(last *time.Time, set func(time.Time) error) {
	if c.patience <= 0 || c.live.Load() {
		return
	}
	if now := time.Now(); now.Sub(*last) >= c.patience/16 {
		*last = now
		set(now.Add(c.patience)) // fails on a closed connection only
	}
}

// Live lifts the patience until the exchange ends, as for a reply that comes bit by bit, and returns
// the socket for what else such an exchange needs: its deadlines, which are the caller's from then
// on, and the end of one direction. What the server sends still comes by Reader.
func (c *Conn) Live() (net.Conn, error) {
	c.live.Store(true)
	return c.raw, c.raw.SetDeadline(time.Time{})
}

// Abort closes the connection under a Read or Write that waits, as at the end of a context. It
// may be called from any goroutine; Discard is still due.
func (c *Conn) Abort() { c.raw.Close() }

// alive reports whether the connection can carry another exchange: it is open, and nothing came
// that nobody asked for.
func (c *Conn) alive() bool {
	c.quiet = false
	return c.br.Buffered() == 0 && c.control.Control(c.look) == nil && c.quiet
}

// renew begins an exchange on a connection that had one.
func (c *Conn) renew() {
	c.reused, c.began = true, false
	if c.live.Swap(false) {
		c.extended, c.pushed = time.Time{}, time.Time{}
	}
	c.before, c.written = c.before+c.written, 0
}

// Again begins another exchange on a connection from Fresh that its owner kept, in place of Put
// and Get. If it reports false the connection cannot be used any more; Discard is due.
func (c *Conn) Again() bool {
	if c.pool.retired() || !c.alive() {
		return false
	}
	c.renew()
	return true
}

// Put ends the exchange and keeps the connection for another. The reply must have been read
// whole, and neither side have said that it closes (Connection: close). What cannot be used
// again is closed: with unread bytes, from Fresh with a preface, or beyond the pool's limits.
func (c *Conn) Put() {
	if c.own || c.br.Buffered() > 0 {
		c.Discard()
		return
	}
	c.pool.put(c)
}

// Discard closes the connection.
func (c *Conn) Discard() {
	c.raw.Close()
	c.pool.gone(c)
}

// idempotent methods are those that have the same effect sent twice (RFC 9110 §9.2.2).
var idempotent = []string{"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"}

// MayRetry reports whether a request of that method, which failed with err, may be sent once
// more on another connection (RFC 9110 §9.2.2, RFC 9112 §9.3.1): this one was Reused and ended
// before any byte of the reply, and either the method is idempotent or the server cannot have
// seen the request: no byte of it was sent, or none was taken (see untaken). A server that is silent (a timeout) may still be at work, and one whose connection
// was aborted here has not failed: no.
//
// The one who retries takes the connection from Pool.Fresh. It is not reused, so that a second
// failure is final. A request whose body cannot be read twice is not to be retried either.
func (c *Conn) MayRetry(method string, err error) bool {
	var late net.Error
	switch {
	case err == nil, !c.reused, c.began:
	case errors.As(err, &late) && late.Timeout():
	case errors.Is(err, net.ErrClosed), errors.Is(err, context.Canceled):
	default:
		return c.written == 0 || slices.Contains(idempotent, method) || c.untaken()
	}
	return false
}

// untaken reports whether the server closed a TCP connection before the first byte of the
// request came, which is the usual end of an idle one. Its FIN was read, so what its kernel had
// taken until then was acknowledged with that; and its RST says that it took nothing later. An
// RST alone proves nothing: it goes out without the acknowledgment of what a server read before
// it crashed. What is left is a server that shuts down its sending side, and then acts on
// requests that it cannot answer.
func (c *Conn) untaken() bool {
	const closed, syn = 7, 1 // TCP_CLOSE of the kernel; bytes_acked counts the SYN
	if !c.ended {
		return false
	}
	untaken := false
	err := c.control.Control(func(fd uintptr) {
		info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		untaken = err == nil && info.State == closed && info.Bytes_acked <= uint64(c.before)+syn
	})
	return err == nil && untaken
}
