package witness

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/ftgw/ftgw/replication"
)

const (
	connectTimeout = 300 * time.Millisecond
	helloTimeout   = time.Second            // for TLS and both hellos
	writeTimeout   = 200 * time.Millisecond // frames are small: a buffer that is full belongs to a dead peer
)

// errAsked ends a connection that only wanted to see our hello.
var errAsked = errors.New("witness: a query, answered")

// ErrConfig is a node that runs another config.
var ErrConfig = errors.New("witness: the other side has another config: install the same ftgw.toml on every node")

// conn is one authenticated connection. One goroutine reads; send is safe for concurrent use.
type conn struct {
	raw   net.Conn
	tls   *tls.Conn
	rd    *replication.Reader
	hello replication.Hello // the other side's

	mu sync.Mutex // guards writing
}

// greet makes a connection of nc: TLS, then hellos, the dialer's first. ours bears the group if
// this is the dialer; else known says of what groups and nodes a hello is welcome. It closes nc
// where it fails.
func greet(ctx context.Context, nc net.Conn, keys replication.Keys, ours replication.Hello, known func(group, node string) bool) (*conn, error) {
	defer context.AfterFunc(ctx, func() { nc.Close() })()
	c := &conn{raw: nc}
	if t, ok := nc.(*net.TCPConn); ok {
		t.SetLinger(0) // what is not delivered when this side gives up must not come later
	}
	if cfg := replication.TLSConfig(keys, known != nil); known != nil {
		c.tls = tls.Server(nc, cfg)
	} else {
		c.tls = tls.Client(nc, cfg)
	}
	c.rd = replication.NewReader(c.tls)
	err := c.exchange(ctx, ours, known)
	if err != nil {
		nc.Close()
		return nil, err
	}
	return c, nil
}

func (c *conn) exchange(ctx context.Context, ours replication.Hello, known func(group, node string) bool) error {
	if err := c.raw.SetDeadline(time.Now().Add(helloTimeout)); err != nil {
		return err
	}
	if err := c.tls.HandshakeContext(ctx); err != nil {
		return err
	}
	ours.Channel, ours.Wall = replication.Control, time.Now().UnixMilli()
	if known == nil {
		if err := c.send(ours.Append(nil)); err != nil {
			return err
		}
	}
	f, err := c.rd.Next()
	if err != nil {
		return err
	}
	if f.Type != replication.TypeHello {
		return fmt.Errorf("%w: type %d where a hello belongs", replication.ErrFrame, f.Type)
	}
	if c.hello, err = replication.ParseHello(f.Body); err != nil {
		return err
	}
	if known != nil { // also where it will be refused, so that both sides can name the reason
		ours.Channel, ours.Session = c.hello.Channel, c.hello.Session
		if known(c.hello.Group, c.hello.Node) {
			ours.Group = c.hello.Group
		}
		if err := c.send(ours.Append(nil)); err != nil {
			return err
		}
	}
	switch theirs := c.hello; {
	case theirs.ConfigDigest != ours.ConfigDigest:
		return fmt.Errorf("%w (node %q, digest %x, here %x)", ErrConfig, theirs.Node, theirs.ConfigDigest[:4], ours.ConfigDigest[:4])
	case theirs.Group != ours.Group && known == nil:
		return fmt.Errorf("%w (the witness knows no group %q with this node)", ErrConfig, ours.Group)
	case theirs.Group != ours.Group:
		return fmt.Errorf("%w (node %q, of no group %q here)", ErrConfig, theirs.Node, theirs.Group)
	case theirs.Channel == replication.Query:
		return errAsked
	}
	return c.raw.SetDeadline(time.Time{})
}

// read hands each frame to take until the connection ends or take fails.
func (c *conn) read(take func(replication.Frame) error) error {
	for {
		f, err := c.rd.Next()
		if err == nil {
			err = take(f)
		}
		if err != nil {
			return err
		}
	}
}

// with parses a frame's body and hands what it says to do.
func with[T any](f replication.Frame, parse func([]byte) (T, error), do func(T)) error {
	v, err := parse(f.Body)
	if err == nil {
		do(v)
	}
	return err
}

// send writes one frame.
func (c *conn) send(frame []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.raw.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return err
	}
	_, err := c.tls.Write(frame)
	return err
}
