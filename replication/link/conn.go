package link

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// unsentLimit keeps little in the kernel's send queue beyond what is under way, so that a
// small record overtakes a large one in our own queue rather than waiting behind it there.
const unsentLimit = 256 << 10

// socketOptions is for sockets that listen or dial. The options are inherited by accept.
func socketOptions(_, _ string, c syscall.RawConn) error {
	var err error
	e := c.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, unsentLimit)
	})
	return errors.Join(e, err)
}

// dialer returns a dialer with MPTCP off, bound to from if valid.
func dialer(from netip.Addr) *net.Dialer {
	d := &net.Dialer{Control: socketOptions}
	if from.IsValid() {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))
	}
	d.SetMultipathTCP(false)
	return d
}

// Probe makes a fresh TCP connection to a session port and drops it: evidence R of DESIGN §5.
// refused means that the peer's kernel answered with RST: it lives and nobody listens. A
// connection that stands is (false, nil); no answer before ctx ends is an error. It goes from this
// host's own address in the path: where that is gone the packet would go to a router, which may
// refuse it on its own.
func Probe(ctx context.Context, by Path) (refused bool, err error) {
	c, err := dialer(by.Self.Addr()).DialContext(ctx, "tcp", by.Peer.String())
	switch {
	case err == nil:
		return false, c.Close()
	case errors.Is(err, unix.ECONNREFUSED):
		return true, nil
	}
	return false, err
}

// wasReset reports whether err means that the peer's kernel closed or reset the connection.
func wasReset(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, unix.ECONNRESET) || errors.Is(err, unix.EPIPE)
}

// corked gathers what TLS writes, 16 KiB at a time, into one write to the socket per batch,
// and reads ahead likewise. One goroutine reads, and flushes follow one another; TLS may Write
// from all, because a reader that meets an error sends an alert.
type corked struct {
	net.Conn
	flushing sync.Mutex // the hello's flush may overlap the session's first

	mu    sync.Mutex
	held  bool // set once hellos are exchanged: from then on Write waits for flush
	out   []byte
	spare []byte
	in    []byte
	r, w  int // in[r:w] is read ahead
}

func (c *corked) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.held {
		return c.Conn.Write(p)
	}
	c.out = append(c.out, p...)
	return len(p), nil
}

// flush writes what is gathered. The buffer's lock is not held meanwhile: a peer that does not read
// must not keep our reader from noticing its end.
func (c *corked) flush() error {
	c.flushing.Lock()
	defer c.flushing.Unlock()
	c.mu.Lock()
	out := c.out
	c.out = c.spare[:0]
	c.mu.Unlock()
	_, err := c.Conn.Write(out)
	c.spare = out
	return err
}

func (c *corked) Read(p []byte) (int, error) {
	if c.r == c.w {
		if len(p) >= len(c.in) {
			return c.Conn.Read(p)
		}
		n, err := c.Conn.Read(c.in)
		if n <= 0 {
			return n, err
		}
		c.r, c.w = 0, n
	}
	n := copy(p, c.in[c.r:c.w])
	c.r += n
	return n, nil
}
