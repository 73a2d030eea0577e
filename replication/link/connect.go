package link

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/ftgw/ftgw/replication"
)

const (
	firstBackoff = 5 * time.Millisecond
	lastBackoff  = 200 * time.Millisecond
)

// dial keeps one session up from this side until ctx ends or this node has left.
func (l *Link) dial(ctx context.Context) {
	backoff := firstBackoff
	c := newCourse(l.Paths(), l.cfg.RefusedRetry)
	for ctx.Err() == nil && !l.left.ended.Load() {
		wait := backoff
		began := time.Now()
		p, err := l.connect(ctx, c.path())
		if err == nil {
			c.ended(l.keep(ctx, p, c))
		} else if why := refusal(err); why != nil {
			l.refuse(why)
			wait = l.cfg.RefusedRetry
		} else {
			l.log.Debug("peer session not connected", "at", c.path().Peer, "error", err)
			c.failed(err)
		}
		if backoff = min(2*backoff, lastBackoff); err == nil && time.Since(began) > lastBackoff {
			wait, backoff = firstBackoff, firstBackoff
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
		}
	}
}

// keep waits until the session of p has ended, and says why. A session by a path that only stands
// in gives way to one by the better path as soon as that works.
func (l *Link) keep(ctx context.Context, p *pair, c *course) error {
	l.establish(ctx, p)
	for {
		again := c.again()
		select {
		case <-p.ended:
			return p.why
		case <-ctx.Done():
			return ctx.Err()
		case <-again:
		}
		if next, err := l.connect(ctx, c.paths[0]); err == nil {
			c.by = 0
			l.establish(ctx, next)
			p = next
		}
	}
}

// establish hands a pair to the session loop.
func (l *Link) establish(ctx context.Context, p *pair) {
	select {
	case l.est <- p:
	case <-ctx.Done():
		p.close()
	}
}

// connect dials control and bulk.
func (l *Link) connect(ctx context.Context, by Path) (*pair, error) {
	var id [8]byte
	rand.Read(id[:])
	session := binary.BigEndian.Uint64(id[:])
	p := &pair{ended: make(chan struct{})}
	var err error
	if p.control, p.ours, p.hello, err = l.call(ctx, by, replication.Control, session); err != nil {
		return nil, err
	}
	p.skew = skew(p.hello)
	var h replication.Hello
	if p.bulk, _, h, err = l.call(ctx, by, replication.Bulk, session); err == nil && h.Boot != p.hello.Boot {
		p.bulk.raw.Close()
		err = errors.New("link: the peer restarted between control and bulk")
	}
	if err != nil {
		p.control.raw.Close()
		return nil, err
	}
	return p, nil
}

// call dials one connection and exchanges hellos, this side first.
func (l *Link) call(ctx context.Context, by Path, ch replication.Channel, session uint64) (c *conn, ours, theirs replication.Hello, err error) {
	d := dialer(by.Self.Addr())
	d.Timeout = connectTimeout
	if by.Own {
		d.Timeout = ownTimeout
	}
	nc, err := d.DialContext(ctx, "tcp", by.Peer.String())
	if err != nil {
		return nil, ours, theirs, err
	}
	c, ours, theirs, err = exchange(ctx, nc, l.cfg.Keys, func() replication.Hello { return l.ownHello(ch, session) })
	if err == nil {
		err = l.check(ours, theirs)
	}
	if err == nil && (theirs.Channel != ch || theirs.Session != session) {
		err = fmt.Errorf("%w: hello of another session", replication.ErrFrame)
	}
	if err == nil {
		err = c.ready()
	}
	if err != nil {
		nc.Close()
		return nil, ours, theirs, fmt.Errorf("%v connection: %w", ch, err)
	}
	return c, ours, theirs, nil
}

// exchange runs TLS on a dialed connection and exchanges hellos, this side first. It leaves nc
// open.
func exchange(ctx context.Context, nc net.Conn, keys replication.Keys, hello func() replication.Hello) (c *conn, ours, theirs replication.Hello, err error) {
	defer context.AfterFunc(ctx, func() { nc.Close() })()
	if c, err = secure(ctx, nc, keys, false); err != nil {
		return nil, ours, theirs, err
	}
	ours = hello()
	if err = c.writeHello(ours); err != nil {
		return nil, ours, theirs, err
	}
	theirs, err = c.readHello()
	return c, ours, theirs, err
}
