package proxy

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"time"
)

// UpstreamConn is a connection to the web server that is lent to one exchange at a time, which ends
// with Put or Discard, once. Reading and writing may be done by two goroutines, and Abort by any;
// the rest is for one at a time.
type UpstreamConn interface {
	// Write sends. Like each read it fails, by a timeout, after the longest silence allowed.
	io.Writer
	// Reader buffers what the web server sends, and stays the connection's.
	Reader() *bufio.Reader
	// Live lifts the bound of silence until the exchange ends, and returns the socket, which is not
	// read. Its deadlines are the caller's from then on.
	Live() (net.Conn, error)
	// Abort closes the connection under a Read or Write that waits.
	Abort()
	// MayRetry reports whether a request of that method, which failed with err, may be sent once
	// more on another connection, a fresh one.
	MayRetry(method string, err error) bool
	// Again begins another exchange on a connection with a preface that its owner kept. If it
	// reports false the connection cannot be used any more; Discard is due.
	Again() bool
	// Put keeps the connection for another exchange: the reply was read whole.
	Put()
	// Discard closes it.
	Discard()
}

var errNoUpstream = errors.New("no way to the upstream is configured")

// ownIdle is how long a connection that is one client's alone is kept. Most clients idle.
const ownIdle = 3 * time.Second

// own is such a connection, while it is idle.
type own struct {
	UpstreamConn
	expiry *time.Timer // discards it
}

// connect returns a connection to the upstream. With the PROXY protocol it is this client
// connection's alone.
func (x *executor) connect(fresh bool) (UpstreamConn, error) {
	cfg := x.cfg
	if !cfg.ProxyProtocol {
		return cfg.Connect(x.ctx, fresh, nil)
	}
	if c := x.takeOwn(); c != nil {
		if !fresh && c.Again() {
			return c, nil
		}
		c.Discard()
	}
	return cfg.Connect(x.ctx, true, proxyHeader(x.flow.id.Key))
}

// release keeps a connection for the next exchange.
func (x *executor) release(c UpstreamConn) {
	if x.cfg.ProxyProtocol {
		x.own = &own{c, time.AfterFunc(ownIdle, c.Discard)}
	} else {
		c.Put()
	}
}

// takeOwn returns the connection that was kept, or nil if there is none any more.
func (x *executor) takeOwn() UpstreamConn {
	o := x.own
	x.own = nil
	if o == nil || !o.expiry.Stop() {
		return nil
	}
	return o.UpstreamConn
}

// noConnect stands for Config.Connect where there is none.
func noConnect(context.Context, bool, []byte) (UpstreamConn, error) { return nil, errNoUpstream }
