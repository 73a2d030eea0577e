// Package client is the client of the demo and the end-to-end tests: plain HTTP/1.1 on a
// plain kernel TCP socket that knows nothing of two hosts. It never retries, checks every
// byte of every reply, and measures how long it had to wait.
package client

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"
)

// Namespace is where connections are opened; *lab.NS and *lab.Host are such.
type Namespace interface{ Do(func() error) error }

// Client makes connections to one address. It is safe for concurrent use.
type Client struct {
	Namespace Namespace
	Target    string        // address and port
	Choose    func() string // the target of the next connection; nil: Target. Safe for concurrent use
	Source    netip.Addr    // the zero value leaves it to the kernel
	Port      uint16        // source port; 0 leaves it to the kernel, as does no Source
	Timeout   time.Duration // for each request as a whole; a longer one is a hang. 0 means 30 s
	KeepAlive time.Duration // a quiet connection is probed so often; 0 means 15 s
	// Control is called with each socket before it connects, to set options; nil: nothing is set.
	Control func(network, address string, c syscall.RawConn) error
}

// Conn is one TCP connection. One goroutine at a time may use it.
type Conn struct {
	client *Client
	target string // address and port
	tcp    net.Conn
	in     *bufio.Reader
	out    *bufio.Writer
	piece  []byte        // of a body on its way in or out
	broken bool          // a request failed or the server said close
	gap    time.Duration // the longest single wait for bytes since it was last reset
	rate   int64         // bytes a second to read at most, 0 is unlimited
	stall  time.Duration // how long to read nothing after the next bytes
}

// Dial opens a connection. The caller closes it.
func (c *Client) Dial(ctx context.Context) (*Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout())
	defer cancel()
	d := net.Dialer{Control: c.Control, KeepAlive: c.KeepAlive}
	if c.Source.IsValid() {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(c.Source, c.Port))
	}
	conn := &Conn{client: c, target: c.Target}
	if c.Choose != nil {
		conn.target = c.Choose()
	}
	err := c.Namespace.Do(func() (err error) {
		conn.tcp, err = d.DialContext(ctx, "tcp", conn.target)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", conn.target, err)
	}
	conn.in = bufio.NewReaderSize(reader{conn}, 128<<10)
	conn.out = bufio.NewWriterSize(conn.tcp, 64<<10)
	conn.piece = make([]byte, 64<<10)
	return conn, nil
}

// TCP returns the socket, for a test that wants to do something else with it.
func (c *Conn) TCP() *net.TCPConn { return c.tcp.(*net.TCPConn) }

// LocalAddr returns the client's end.
func (c *Conn) LocalAddr() netip.AddrPort {
	return c.tcp.LocalAddr().(*net.TCPAddr).AddrPort()
}

// Usable reports whether another request may be made.
func (c *Conn) Usable() bool { return !c.broken }

// Close closes the socket.
func (c *Conn) Close() error { return c.tcp.Close() }

// Abort closes the socket by a RST, whatever is under way.
func (c *Conn) Abort() error {
	if err := c.TCP().SetLinger(0); err != nil {
		return err
	}
	return c.tcp.Close()
}

func (c *Client) timeout() time.Duration {
	if c.Timeout == 0 {
		return 30 * time.Second
	}
	return c.Timeout
}

// reader measures how long each read is blocked, and reads no faster than the rate.
type reader struct{ *Conn }

func (r reader) Read(p []byte) (int, error) {
	if r.rate > 0 {
		p = p[:min(len(p), int(max(r.rate/50, 1)))] // steps of 20 ms
	}
	begin := time.Now()
	n, err := r.tcp.Read(p)
	took := time.Since(begin)
	r.gap = max(r.gap, took)
	if r.stall > 0 {
		time.Sleep(r.stall)
		r.stall = 0
	}
	if r.rate > 0 {
		time.Sleep(time.Duration(n)*time.Second/time.Duration(r.rate) - took)
	}
	return n, err
}

// writer writes a few bytes at a time, each by a call of its own.
type writer struct {
	to   net.Conn
	step int // bytes; 0 is unlimited
}

func (w writer) Write(p []byte) (n int, err error) {
	for step := w.step; step > 0 && len(p)-n > step; {
		k, err := w.to.Write(p[n : n+step])
		if n += k; err != nil {
			return n, err
		}
	}
	k, err := w.to.Write(p[n:])
	return n + k, err
}
