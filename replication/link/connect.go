package link

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/ftgw/ftgw/replication"
)

const (
	firstBackoff = 5 * time.Millisecond
	lastBackoff  = 200 * time.Millisecond
)

// dial keeps one session up from this side until ctx ends.
func (l *Link) dial(ctx context.Context) {
	backoff := firstBackoff
	for ctx.Err() == nil {
		wait := backoff
		began := time.Now()
		p, err := l.connect(ctx)
		if err == nil {
			l.establish(ctx, p)
			select {
			case <-p.ended:
			case <-ctx.Done():
			}
		} else if why := refusal(err); why != nil {
			l.refuse(why)
			wait = l.cfg.RefusedRetry
		} else {
			l.log.Debug("peer session not connected", "err", err)
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

// establish hands a pair to the session loop.
func (l *Link) establish(ctx context.Context, p *pair) {
	select {
	case l.est <- p:
	case <-ctx.Done():
		p.close()
	}
}

// connect dials control and bulk.
func (l *Link) connect(ctx context.Context) (*pair, error) {
	var id [8]byte
	rand.Read(id[:])
	session := binary.BigEndian.Uint64(id[:])
	p := &pair{ended: make(chan struct{})}
	var err error
	if p.control, p.ours, p.hello, err = l.call(ctx, replication.Control, session); err != nil {
		return nil, err
	}
	var h replication.Hello
	if p.bulk, _, h, err = l.call(ctx, replication.Bulk, session); err == nil && h.Boot != p.hello.Boot {
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
func (l *Link) call(ctx context.Context, ch replication.Channel, session uint64) (c *conn, ours, theirs replication.Hello, err error) {
	d := dialer(l.cfg.Self.Addr())
	d.Timeout = connectTimeout
	nc, err := d.DialContext(ctx, "tcp", l.cfg.Peer.String())
	if err != nil {
		return nil, ours, theirs, err
	}
	defer context.AfterFunc(ctx, func() { nc.Close() })()
	defer func() {
		if err != nil {
			nc.Close()
			err = fmt.Errorf("%v connection: %w", ch, err)
		}
	}()
	if c, err = l.secure(ctx, nc, false); err != nil {
		return nil, ours, theirs, err
	}
	ours = l.ownHello(ch, session)
	if err = c.writeHello(ours); err != nil {
		return nil, ours, theirs, err
	}
	if theirs, err = c.readHello(); err != nil {
		return nil, ours, theirs, err
	}
	if err = check(ours, theirs); err != nil {
		return nil, ours, theirs, err
	}
	if theirs.Channel != ch || theirs.Session != session {
		return nil, ours, theirs, fmt.Errorf("%w: hello of another session", replication.ErrFrame)
	}
	return c, ours, theirs, c.ready()
}
