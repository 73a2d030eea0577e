package link

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ftgw/ftgw/replication"
)

const (
	firstBackoff = 5 * time.Millisecond
	lastBackoff  = 200 * time.Millisecond
	refusals     = 3 // in a row, before another path is tried
)

// dial keeps one session up from this side until ctx ends.
func (l *Link) dial(ctx context.Context) {
	backoff := firstBackoff
	paths := l.paths()
	by, refused := 0, 0
	for ctx.Err() == nil {
		wait := backoff
		began := time.Now()
		p, err := l.connect(ctx, paths[by])
		if err == nil {
			l.establish(ctx, p)
			select {
			case <-p.ended:
			case <-ctx.Done():
			}
			by, refused = 0, 0
		} else if why := refusal(err); why != nil {
			l.refuse(why)
			wait = l.cfg.RefusedRetry
		} else {
			l.log.Debug("peer session not connected", "err", err)
			// A process that has only not started yet listens on no path.
			if refused++; !errors.Is(err, unix.ECONNREFUSED) || refused > refusals {
				by, refused = (by+1)%len(paths), 0
			}
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

// paths are the ways to the peer, the best first.
func (l *Link) paths() []Path {
	all := []Path{{l.cfg.Self, l.cfg.Peer}}
	if l.cfg.Own.Peer.IsValid() {
		all = append([]Path{l.cfg.Own}, all...)
	}
	return all
}

// Probe is the function Probe on all paths to the peer at once: refused on any of them, the
// process is gone; else it takes one connection for all.
func (l *Link) Probe(ctx context.Context) (refused bool, err error) {
	type answer struct {
		refused bool
		err     error
	}
	paths := l.paths()
	answers := make(chan answer, len(paths))
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	for _, p := range paths {
		wg.Go(func() {
			r, err := Probe(ctx, p.Peer)
			answers <- answer{r, err}
		})
	}
	for range paths {
		a := <-answers
		switch {
		case a.refused:
			return true, nil
		case a.err == nil:
			return false, nil
		}
		err = a.err
	}
	return false, err
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
