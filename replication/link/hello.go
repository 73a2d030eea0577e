package link

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/ftgw/ftgw/replication"
)

const (
	connectTimeout = 300 * time.Millisecond // a fresh SYN finds a healed path sooner than a backed-off one
	helloTimeout   = time.Second            // for TLS and both hellos
	readAhead      = 64 << 10
)

var (
	// ErrConfig is a peer that runs another config.
	ErrConfig = errors.New("link: the peer has another config: install the same ftgw.toml on both nodes, then restart ftgw where it changed")
	// ErrSelf is a peer that bears this node's own name or boot ID.
	ErrSelf = errors.New("link: the peer answers as this very node: check the addresses and names of the [[node]] tables, and --name")
	// ErrName is a peer that bears another node's name.
	ErrName = errors.New("link: another node answers at the peer's address: check the addresses of the [[node]] tables, and name and --name on that host")
)

// conn is one authenticated connection.
type conn struct {
	raw *corked
	tls *tls.Conn
	rd  *replication.Reader
}

// pair is one session's two connections, hellos exchanged.
type pair struct {
	control, bulk *conn
	hello         replication.Hello // the peer's, of control
	ours          replication.Hello
	skew          time.Duration
	ended         chan struct{} // closed when the session is over
	why           error         // it is, set before ended is closed
}

func (p *pair) close() {
	p.control.raw.Close()
	p.bulk.raw.Close()
}

// secure runs the TLS handshake on nc and prepares for hellos, all within helloTimeout.
func secure(ctx context.Context, nc net.Conn, keys replication.Keys, server bool) (*conn, error) {
	if err := nc.SetDeadline(time.Now().Add(helloTimeout)); err != nil {
		return nil, err
	}
	raw := &corked{Conn: nc, in: make([]byte, readAhead)}
	c := &conn{raw: raw}
	if cfg := replication.TLSConfig(keys, server); server {
		c.tls = tls.Server(raw, cfg)
	} else {
		c.tls = tls.Client(raw, cfg)
	}
	c.rd = replication.NewReader(c.tls)
	return c, c.tls.HandshakeContext(ctx)
}

// ready ends the phase of hellos.
func (c *conn) ready() error {
	c.raw.mu.Lock()
	c.raw.held = true
	c.raw.mu.Unlock()
	return c.raw.SetDeadline(time.Time{})
}

// ownHello is what this node says on one connection.
func (l *Link) ownHello(ch replication.Channel, session uint64) replication.Hello {
	h := l.cfg.Hello()
	h.Group, h.Wall = l.cfg.Group, time.Now().UnixMilli()
	h.Channel, h.Session = ch, session
	l.in.Lock()
	h.Got, h.GotBoot = l.in.got, l.in.boot
	l.in.Unlock()
	return h
}

func (c *conn) writeHello(h replication.Hello) error {
	_, err := c.tls.Write(h.Append(nil))
	return err
}

func (c *conn) readHello() (replication.Hello, error) {
	f, err := c.rd.Next()
	if err != nil {
		return replication.Hello{}, err
	}
	if f.Type != replication.TypeHello {
		return replication.Hello{}, fmt.Errorf("%w: type %d where a hello belongs", replication.ErrFrame, f.Type)
	}
	return replication.ParseHello(f.Body)
}

// skew is how far the clock of the hello's sender is ahead of ours, but for the time under way.
func skew(h replication.Hello) time.Duration {
	return time.Until(time.UnixMilli(h.Wall)).Round(time.Millisecond)
}

// check says why the peer's hello is not acceptable.
func (l *Link) check(ours, theirs replication.Hello) error {
	if err := check(ours, theirs); err != nil {
		return err
	}
	if theirs.Node != l.cfg.PeerName {
		return fmt.Errorf("%w (it is %q, expected %q)", ErrName, theirs.Node, l.cfg.PeerName)
	}
	return nil
}

func check(ours, theirs replication.Hello) error {
	switch {
	case ours.Boot == theirs.Boot || ours.Node == theirs.Node:
		return fmt.Errorf("%w (name %q)", ErrSelf, theirs.Node)
	case ours.Group != theirs.Group:
		return fmt.Errorf("%w (node %q does not share group %q with this node)", ErrConfig, theirs.Node, ours.Group)
	case ours.ConfigDigest != theirs.ConfigDigest:
		return fmt.Errorf("%w (node %q, digest %x, here %x)", ErrConfig, theirs.Node, theirs.ConfigDigest[:4], ours.ConfigDigest[:4])
	}
	return nil
}

// refusal returns err in words for the operator if trying again soon is of no use: either
// side refuses the other as it is configured or installed. Else nil.
func refusal(err error) error {
	var remote *net.OpError
	var garbage tls.RecordHeaderError
	switch {
	case errors.Is(err, replication.ErrSecret), errors.Is(err, replication.ErrVersion),
		errors.Is(err, ErrConfig), errors.Is(err, ErrSelf), errors.Is(err, ErrName):
		return err
	case errors.As(err, &garbage):
		return fmt.Errorf("link: what listens on the peer's session port does not speak TLS: check its address and what else uses the port: %w", err)
	case errors.As(err, &remote) && remote.Op == "remote error":
		// crypto/tls reports the other side's alert so. Who knows the secret sends none.
		return fmt.Errorf("%w, or another ftgw release (its answer: %w)", replication.ErrSecret, remote.Err)
	}
	return nil
}
