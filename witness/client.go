package witness

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/ftgw/ftgw/replication"
)

const redial = 100 * time.Millisecond

// ClientConfig is what NewClient needs.
type ClientConfig struct {
	Self, Witness netip.AddrPort // Self's port is not used
	Pair          string         // the group that it is about, as the Server's Config.Pairs names it
	Keys          replication.Keys
	Hello         func() replication.Hello     // asked at each connection
	Beat          func() replication.Heartbeat // asked for Epoch, Role and Flags at each beat
	Heartbeat     time.Duration
	Silence       time.Duration // without an answer for so long the witness is taken for dead; three beats at least
	Handler       Handler
	Log           *slog.Logger
}

// Handler is told what the witness says. Calls come one at a time and must not block.
type Handler interface {
	Answer(replication.GrantAnswer)
	Notice(replication.Notice)
	// Witness says whether the witness is there; calls alternate, the first is true.
	Witness(up bool)
}

// Client is one node's connection to the witness. Its methods are safe for concurrent use.
type Client struct {
	cfg   ClientConfig
	start time.Time
	conn  atomic.Pointer[conn]
	echo  atomic.Int64 // the newest stamp of the witness
	heard atomic.Int64 // when it came, ns since start
	rtt   atomic.Int64 // ns
	wrong atomic.Pointer[string]
}

// NewClient returns a Client that does nothing until Run.
func NewClient(cfg ClientConfig) *Client {
	cfg.Silence = max(cfg.Silence, 3*cfg.Heartbeat)
	return &Client{cfg: cfg, start: time.Now()}
}

// Up reports whether the witness is there.
func (c *Client) Up() bool { return c.conn.Load() != nil }

// RTT is the round trip of the latest beat, 0 while unknown.
func (c *Client) RTT() time.Duration { return time.Duration(c.rtt.Load()) }

// Wrong says why the last attempt to connect failed, or nothing.
func (c *Client) Wrong() string {
	if w := c.wrong.Load(); w != nil && !c.Up() {
		return *w
	}
	return ""
}

// Ask requests a grant. What cannot be sent at once is not sent: who asks then, asks again.
func (c *Client) Ask(epoch, base uint64, empty bool) {
	c.say(replication.GrantRequest{Pair: c.cfg.Pair, Epoch: epoch, Base: base, Empty: empty, Echo: c.echo.Load()}.Append(nil))
}

// Silent tells the witness that this node serves nothing below epoch.
func (c *Client) Silent(epoch uint64) {
	c.say(replication.Silence{Pair: c.cfg.Pair, Epoch: epoch}.Append(nil))
}

func (c *Client) say(frame []byte) {
	if conn := c.conn.Load(); conn != nil {
		if err := conn.send(frame); err != nil {
			conn.raw.Close() // the session ends
		}
	}
}

// Run keeps the connection until ctx ends, and returns nil then.
func (c *Client) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		conn, err := c.dial(ctx)
		if err == nil {
			err = c.session(ctx, conn)
		}
		if ctx.Err() == nil {
			text := err.Error()
			if old := c.wrong.Swap(&text); old == nil || *old != text {
				c.cfg.Log.Debug("no connection to the witness", "error", err)
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(redial):
		}
	}
	return nil
}

func (c *Client) dial(ctx context.Context) (*conn, error) {
	d := net.Dialer{Timeout: connectTimeout, LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(c.cfg.Self.Addr(), 0))}
	d.SetMultipathTCP(false)
	nc, err := d.DialContext(ctx, "tcp", c.cfg.Witness.String())
	if err != nil {
		return nil, err
	}
	ours := c.cfg.Hello()
	ours.Group = c.cfg.Pair
	return greet(ctx, nc, c.cfg.Keys, ours, nil)
}

// session beats on one connection until it breaks.
func (c *Client) session(ctx context.Context, conn *conn) error {
	ended := make(chan error, 1)
	c.heard.Store(int64(time.Since(c.start)))
	c.echo.Store(0)
	defer func() { <-ended }()
	defer conn.raw.Close()
	go func() { ended <- c.read(conn) }() // waited for above
	t := time.NewTicker(c.cfg.Heartbeat)
	defer t.Stop()
	for {
		if err := c.beat(conn); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-ended:
			ended <- err
			return err
		case <-t.C:
		}
		if time.Since(c.start)-time.Duration(c.heard.Load()) > c.cfg.Silence {
			return errors.New("the witness has fallen silent")
		}
	}
}

func (c *Client) beat(conn *conn) error {
	h := c.cfg.Beat()
	h.Sent, h.Echo = int64(time.Since(c.start)), c.echo.Load()
	return conn.send(h.Append(nil))
}

// read takes what the witness says until the connection ends. The witness counts as there
// from its first beat.
func (c *Client) read(conn *conn) error {
	up := false
	defer func() {
		if up {
			c.conn.Store(nil)
			c.cfg.Handler.Witness(false)
		}
		conn.raw.Close()
	}()
	there := func(h replication.Heartbeat) {
		now := int64(time.Since(c.start))
		c.heard.Store(now)
		c.echo.Store(h.Sent)
		c.rtt.Store(now - h.Echo)
		if !up {
			up = true
			c.conn.Store(conn)
			c.cfg.Handler.Witness(true)
		}
	}
	return conn.read(func(f replication.Frame) error {
		switch f.Type {
		case replication.TypeHeartbeat:
			return with(f, replication.ParseHeartbeat, there)
		case replication.TypeGrantAnswer:
			return with(f, replication.ParseGrantAnswer, c.cfg.Handler.Answer)
		case replication.TypeNotice:
			return with(f, replication.ParseNotice, c.cfg.Handler.Notice)
		}
		return replication.ErrFrame
	})
}
