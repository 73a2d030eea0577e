package link

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"

	"github.com/ftgw/ftgw/replication"
)

// What a connection ends with that is nobody's fault.
var (
	errAsked   = errors.New("link: a query, answered")
	errOurCall = errors.New("link: the peer dials, though it is this node that does")
	errLeft    = errors.New("link: this node has left")
)

// reception is the accepting side's state: a control connection that waits for its bulk.
type reception struct {
	sync.Mutex
	half    *pair
	session uint64
}

// greet takes one incoming connection as far as a pair, or closes it.
func (p *Port) greet(ctx context.Context, nc net.Conn, from *caller) {
	stop := context.AfterFunc(ctx, func() { nc.Close() })
	theirs, l, whole, err := p.welcome(ctx, nc, from)
	stop()
	switch why := refusal(err); {
	case err == nil && whole != nil:
		ctx, cancel := context.WithTimeout(ctx, helloTimeout) // a link that does not run takes nothing
		defer cancel()
		l.establish(ctx, whole)
		return
	case err == nil:
		return // control, waiting for bulk
	case theirs.Channel == replication.Query || errors.Is(err, errOurCall), errors.Is(err, errLeft):
		// Who asked has its answer.
	case wasReset(err) || ctx.Err() != nil:
		// A probe, or a peer that changed its mind.
	case why != nil && !errors.As(err, new(tls.RecordHeaderError)):
		from.refuse(theirs, why)
	default:
		p.strangers.Add(1)
		p.cfg.Log.Debug("connection turned away", "from", nc.RemoteAddr().String(), "error", err)
	}
	nc.Close()
}

// welcome reads the caller's hello and answers with that of the link it is for, also where it
// will be refused, so that both sides can name the reason. It returns a pair once it is whole.
func (p *Port) welcome(ctx context.Context, nc net.Conn, from *caller) (theirs replication.Hello, l *Link, whole *pair, err error) {
	c, err := secure(ctx, nc, p.cfg.Keys, true)
	if err != nil {
		return theirs, nil, nil, err
	}
	theirs, err = c.readHello()
	if err != nil && !errors.Is(err, replication.ErrVersion) {
		return theirs, nil, nil, err
	}
	l = from.find(theirs)
	ours := l.ownHello(theirs.Channel, theirs.Session)
	switch {
	case err != nil:
	case l.cfg.Group != theirs.Group:
		err = fmt.Errorf("%w (node %q asks for group %q, which this node does not share with it)", ErrConfig, theirs.Node, theirs.Group)
	default:
		err = l.check(ours, theirs)
	}
	switch {
	case err == nil && theirs.Channel == replication.Query:
		err = errors.Join(errAsked, c.writeHello(ours))
	case err != nil:
		ours.Channel = max(ours.Channel, replication.Control)
		err = errors.Join(err, c.writeHello(ours))
	case l.dials():
		err = errOurCall
	case l.left.ended.Load():
		err = errLeft
	default:
		whole, err = l.join(c, ours, theirs)
	}
	return theirs, l, whole, err
}

// join makes an accepted connection part of the session: a half that waits, or the bulk that
// makes it whole.
func (l *Link) join(c *conn, ours, theirs replication.Hello) (whole *pair, err error) {
	if err := c.ready(); err != nil {
		return nil, err
	}
	if theirs.Channel == replication.Control {
		// Before the answer: the caller dials bulk as soon as it has it.
		l.half.replace(&pair{control: c, hello: theirs, ours: ours, skew: skew(theirs), ended: make(chan struct{})}, theirs.Session)
		return nil, c.answer(ours)
	}
	p := l.half.take(theirs)
	if p == nil {
		return nil, fmt.Errorf("%w: bulk connection without its control", replication.ErrFrame)
	}
	p.bulk = c
	if err := c.answer(ours); err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

// answer writes the last hello, and ends the phase.
func (c *conn) answer(h replication.Hello) error {
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
