package link

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

// maxGreeting bounds the incoming connections that are in their handshake at once.
const maxGreeting = 32

// reception is the accepting side's state: a control connection that waits for its bulk.
type reception struct {
	sync.Mutex
	half    *pair
	session uint64
}

// accept greets connections until ctx ends and ln is closed. The node that dials accepts
// only to be seen listening (Probe).
func (l *Link) accept(ctx context.Context, ln net.Listener) {
	var wg sync.WaitGroup
	defer wg.Wait()
	var rec reception
	defer rec.replace(nil, 0)
	slots := make(chan struct{}, maxGreeting)
	for {
		nc, err := ln.Accept()
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return
			}
			l.log.Error("accept the peer's session", "err", err)
			select { // out of descriptors: not a reason to spin
			case <-time.After(lastBackoff):
			case <-ctx.Done():
			}
			continue
		}
		from := nc.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap()
		if l.dials() || from.WithZone("") != l.cfg.Peer.Addr().Unmap().WithZone("") {
			nc.Close()
			if !l.dials() {
				l.counts.strangers.Add(1)
			}
			continue
		}
		select {
		case slots <- struct{}{}:
		default:
			nc.Close()
			l.counts.strangers.Add(1)
			continue
		}
		wg.Go(func() {
			defer func() { <-slots }()
			l.greet(ctx, nc, &rec)
		})
	}
}

// greet takes one incoming connection as far as a pair, or closes it.
func (l *Link) greet(ctx context.Context, nc net.Conn, rec *reception) {
	stop := context.AfterFunc(ctx, func() { nc.Close() })
	p, err := l.welcome(ctx, nc, rec)
	stop()
	switch why := refusal(err); {
	case err == nil && p != nil:
		l.establish(ctx, p)
		return
	case err == nil:
		return // control, waiting for bulk
	case wasReset(err) || ctx.Err() != nil:
		// A probe, or a peer that changed its mind.
	case why != nil && !errors.As(err, new(tls.RecordHeaderError)):
		l.refuse(why)
	default:
		l.counts.strangers.Add(1)
		l.log.Debug("connection turned away", "from", nc.RemoteAddr().String(), "err", err)
	}
	nc.Close()
}

// welcome reads the caller's hello and answers with ours, also where it will be refused, so
// that both sides can name the reason. It returns a pair once it is complete.
func (l *Link) welcome(ctx context.Context, nc net.Conn, rec *reception) (*pair, error) {
	c, err := l.secure(ctx, nc, true)
	if err != nil {
		return nil, err
	}
	theirs, err := c.readHello()
	if err != nil && !errors.Is(err, replication.ErrVersion) {
		return nil, err
	}
	ours := l.ownHello(theirs.Channel, theirs.Session)
	if err == nil {
		err = check(ours, theirs)
	}
	if err != nil {
		ours.Channel = max(ours.Channel, replication.Control)
		return nil, errors.Join(err, c.writeHello(ours))
	}
	var p *pair
	if theirs.Channel == replication.Control {
		if err := c.ready(); err != nil {
			return nil, err
		}
		// Before the answer: the caller dials bulk as soon as it has it.
		rec.replace(&pair{control: c, hello: theirs, ours: ours, ended: make(chan struct{})}, theirs.Session)
	} else if p = rec.take(theirs); p == nil {
		return nil, fmt.Errorf("%w: bulk connection without its control", replication.ErrFrame)
	}
	if err := c.answer(ours); err != nil {
		if p != nil {
			p.control.raw.Close()
		}
		return nil, err
	}
	if p != nil {
		p.bulk = c
	}
	return p, nil
}

// answer writes the last hello and ends the phase.
func (c *conn) answer(h replication.Hello) error {
	if err := c.ready(); err != nil {
		return err
	}
	if err := c.writeHello(h); err != nil {
		return err
	}
	return c.raw.flush()
}

// replace puts p in the place of the half that waits, which is closed.
func (r *reception) replace(p *pair, session uint64) {
	r.Lock()
	defer r.Unlock()
	if r.half != nil {
		r.half.control.raw.Close()
	}
	r.half, r.session = p, session
}

// take returns the half that h belongs to, if it waits.
func (r *reception) take(h replication.Hello) *pair {
	r.Lock()
	defer r.Unlock()
	p := r.half
	if p == nil || r.session != h.Session || p.hello.Boot != h.Boot {
		return nil
	}
	r.half = nil
	return p
}
