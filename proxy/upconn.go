package proxy

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ftgw/ftgw/rewrite"
)

// upconn is a connection to the upstream. It is for one exchange at a time.
type upconn struct {
	net.Conn
	br       *bufio.Reader
	head     []byte        // reused
	patience time.Duration // longest silence; 0: any
	since    time.Time     // idle since then
	expiry   *time.Timer   // of one that is a client's own, while idle
	reused   bool          // it has carried an exchange before
	began    bool          // something of this exchange's reply came
}

// Read implements io.Reader for br; each call has the upstream's whole patience.
func (c *upconn) Read(p []byte) (int, error) {
	c.extend()
	n, err := c.Conn.Read(p)
	c.began = c.began || n > 0
	return n, err
}

// extend gives the upstream its patience anew.
func (c *upconn) extend() {
	if c.patience > 0 {
		c.SetDeadline(time.Now().Add(c.patience)) // fails on a closed connection only
	}
}

// alive reports whether an idle connection may be used again: it is open, and nothing came that
// nobody asked for.
func (c *upconn) alive() bool {
	sc, ok := c.Conn.(syscall.Conn)
	if !ok || c.br.Buffered() > 0 {
		return false
	}
	var b [1]byte
	quiet := false
	err := control(sc, func(fd int) error {
		_, _, err := unix.Recvfrom(fd, b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		quiet = errors.Is(err, unix.EAGAIN)
		return nil
	})
	return err == nil && quiet
}

const (
	maxIdleUpstream = 1024
	// Shorter than servers keep idle connections, so that few requests meet a closing one.
	idleUpstream = 3 * time.Second
)

// upstreams keeps the connections to the upstream that are idle. It is safe for concurrent use.
type upstreams struct {
	mu   sync.Mutex
	idle []*upconn // longest idle first
}

// get returns the connection that was used last, or nil if none is fit.
func (u *upstreams) get() *upconn {
	for {
		u.mu.Lock()
		last := len(u.idle) - 1
		if last < 0 {
			u.mu.Unlock()
			return nil
		}
		c := u.idle[last]
		u.idle[last], u.idle = nil, u.idle[:last]
		u.mu.Unlock()
		if time.Since(c.since) < idleUpstream && c.alive() {
			return c
		}
		c.Close()
	}
}

// put takes a connection whose exchange has ended.
func (u *upstreams) put(c *upconn) {
	c.since, c.reused, c.began = time.Now(), true, false
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.idle) < maxIdleUpstream {
		u.idle = append(u.idle, c)
		return
	}
	c.Close()
}

// expire closes the connections that are idle since before then.
func (u *upstreams) expire(then time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	n := 0
	for n < len(u.idle) && u.idle[n].since.Before(then) {
		u.idle[n].Close()
		n++
	}
	u.idle = append(u.idle[:0], u.idle[n:]...)
	clear(u.idle[len(u.idle):cap(u.idle)])
}

// dialUpstream makes a connection. With the PROXY protocol it is one client's alone.
func dialUpstream(ctx context.Context, cfg *Config, id rewrite.Key) (*upconn, error) {
	d := net.Dialer{Timeout: cfg.ConnectTimeout}
	conn, err := d.DialContext(ctx, "tcp", cfg.Upstream)
	if err != nil {
		return nil, err
	}
	c := &upconn{Conn: conn, patience: max(0, cfg.ResponseTimeout)}
	c.br = bufio.NewReaderSize(c, 8<<10)
	if cfg.ProxyProtocol {
		c.extend()
		if _, err := conn.Write(proxyHeader(id)); err != nil {
			conn.Close()
			return nil, fmt.Errorf("send the PROXY header: %w", err)
		}
	}
	return c, nil
}
