package upstream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// PoolConfig is what NewPool needs. Zero values stand for the defaults.
type PoolConfig struct {
	Address  Address
	Connect  time.Duration // to reach the server; default 2 s
	Patience time.Duration // longest silence in one Read or Write, and wait for one of Total; 0: any
	Idle     int           // connections kept idle; default 1024, negative for none
	// IdleTime is how long one is kept; default 3 s. It should be shorter than the server's own,
	// so that few requests meet a closing connection.
	IdleTime time.Duration
	Total    int // connections in all, lent and idle; 0: any number
}

// The errors of Get and Fresh, to be told with errors.Is. A failed connect is neither.
var (
	ErrClosed = errors.New("the pool is closed")
	ErrFull   = errors.New("all connections to the upstream are in use") // ctx or Patience ended while waiting
)

// PoolStats is a Pool's present state, then what it counted since the start.
type PoolStats struct {
	Lent, Idle, Waiting int // Lent: in use or being made
	Dialled, Failed     uint64
	Reused              uint64 // times that an idle connection was lent
	Stale               uint64 // idle ones that the server had closed, or sent bytes on
	Expired             uint64 // idle ones closed for age, or to make room
}

// Pool makes and keeps connections to one upstream. It is safe for concurrent use, and works
// without Run, which only closes what is idle for too long.
type Pool struct {
	cfg  PoolConfig
	ctx  context.Context // ends at Close, and with it what is being dialled
	stop context.CancelFunc

	mu      sync.Mutex
	closed  bool               // nothing is lent any more
	idle    []*Conn            // longest idle first
	open    map[*Conn]struct{} // lent and idle
	slots   int                // open and being dialled; Invariant: at most cfg.Total if that is > 0
	waiting []*waiter          // first come first; Invariant: none while a slot is free or a connection idle

	dialled, failed, reused, stale, expired atomic.Uint64
}

// NewPool returns a Pool without connections.
func NewPool(cfg PoolConfig) *Pool {
	cfg.Connect = cmp.Or(cfg.Connect, 2*time.Second)
	cfg.Idle = cmp.Or(cfg.Idle, 1024)
	cfg.IdleTime = cmp.Or(cfg.IdleTime, 3*time.Second)
	p := &Pool{cfg: cfg, open: make(map[*Conn]struct{})}
	p.ctx, p.stop = context.WithCancel(context.Background())
	return p
}

// Get lends an idle connection, the one used last, or a new one. While Total are in use it waits
// for its turn, until ctx ends or Patience has passed. ctx has no hold on the connection afterwards.
func (p *Pool) Get(ctx context.Context) (*Conn, error) {
	for {
		c, err := p.take(ctx, false)
		if err != nil {
			return nil, err
		}
		switch {
		case c == nil:
			return p.dial(ctx, nil)
		case time.Since(c.since) >= p.cfg.IdleTime:
			p.expired.Add(1)
		case !c.alive():
			p.stale.Add(1)
		default:
			p.reused.Add(1)
			c.renew()
			return c, nil
		}
		c.Discard()
	}
}

// Fresh lends a new connection, and closes an idle one if there is no room otherwise. If there is
// a preface (a header of the PROXY protocol) it is sent first, and the connection is its client's
// alone: it is never pooled, but see Conn.Again.
func (p *Pool) Fresh(ctx context.Context, preface []byte) (*Conn, error) {
	if _, err := p.take(ctx, true); err != nil {
		return nil, err
	}
	return p.dial(ctx, preface)
}

// dial makes a connection in a slot that is the caller's, and gives the slot back if it fails.
func (p *Pool) dial(ctx context.Context, preface []byte) (*Conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(p.ctx, cancel)()
	p.dialled.Add(1)
	raw, err := p.cfg.Address.Dial(ctx, p.cfg.Connect)
	if err != nil {
		return nil, p.dialFailed(err)
	}
	c, err := newConn(p, raw, len(preface) > 0)
	if err == nil && c.own {
		raw.SetWriteDeadline(time.Now().Add(p.cfg.Connect)) // fails on a closed connection only
		if _, err = raw.Write(preface); err != nil {
			err = fmt.Errorf("send the preface to the upstream %s: %w", p.cfg.Address, err)
		}
		c.before = int64(len(preface))
		raw.SetWriteDeadline(time.Time{})
	}
	if err != nil {
		raw.Close()
		return nil, p.dialFailed(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		raw.Close()
		p.slots--
		return nil, ErrClosed
	}
	p.open[c] = struct{}{}
	return c, nil
}

func (p *Pool) dialFailed(err error) error {
	p.failed.Add(1)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.free()
	if p.closed {
		return ErrClosed
	}
	return err
}

// Run closes connections that are idle for too long, until ctx ends; then it closes the pool and
// returns nil. After Retire it does so when the last connection is back.
func (p *Pool) Run(ctx context.Context) error {
	defer p.Close()
	tick := time.NewTicker(max(p.cfg.IdleTime/4, time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-tick.C:
			p.expire(now.Add(-p.cfg.IdleTime))
		}
		if p.retired() && p.Stats().Lent == 0 {
			return nil
		}
	}
}

// Retire lends nothing any more: Get and Fresh fail with ErrClosed, so that the caller turns to the
// pool's successor. What is lent ends its exchange and is closed then.
func (p *Pool) Retire() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.shut()
}

func (p *Pool) retired() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.closed
}

// Close closes all connections, lent ones too, and ends what waits or dials. Later calls of Get
// fail with ErrClosed.
func (p *Pool) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.open {
		c.raw.Close()
	}
	p.shut()
}

// shut closes what is idle, and ends what waits or dials. The caller has the lock.
func (p *Pool) shut() {
	p.closed = true
	p.stop()
	for _, c := range p.idle { // nobody will Discard these
		c.raw.Close()
		delete(p.open, c)
		p.slots--
	}
	for _, w := range p.waiting {
		close(w.served)
	}
	p.idle, p.waiting = nil, nil
}

// Stats returns the present numbers.
func (p *Pool) Stats() PoolStats {
	p.mu.Lock()
	defer p.mu.Unlock()
	return PoolStats{
		Lent: p.slots - len(p.idle), Idle: len(p.idle), Waiting: len(p.waiting),
		Dialled: p.dialled.Load(), Failed: p.failed.Load(),
		Reused: p.reused.Load(), Stale: p.stale.Load(), Expired: p.expired.Load(),
	}
}
