package upstream

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// waiter waits for a connection, or for a slot to dial one.
type waiter struct {
	fresh  bool
	served chan *Conn // a connection, or nil for a slot; closed with the pool
}

// take returns an idle connection, or nil for a slot in which one may be dialled. It waits for
// either until ctx ends or Patience has passed. With fresh it returns no connection.
func (p *Pool) take(ctx context.Context, fresh bool) (*Conn, error) {
	p.mu.Lock()
	n := len(p.idle)
	switch {
	case p.closed:
		p.mu.Unlock()
		return nil, ErrClosed
	case n > 0 && !fresh:
		c := p.idle[n-1]
		p.idle[n-1], p.idle = nil, p.idle[:n-1]
		p.mu.Unlock()
		return c, nil
	case p.cfg.Total <= 0 || p.slots < p.cfg.Total:
		p.slots++
		p.mu.Unlock()
		return nil, nil
	case n > 0: // its slot is the fresh one's
		c := p.idle[0]
		p.idle = slices.Delete(p.idle, 0, 1)
		delete(p.open, c)
		p.expired.Add(1)
		p.mu.Unlock()
		c.raw.Close()
		return nil, nil
	}
	w := &waiter{fresh: fresh, served: make(chan *Conn, 1)}
	p.waiting = append(p.waiting, w)
	p.mu.Unlock()
	return p.wait(ctx, w)
}

func (p *Pool) wait(ctx context.Context, w *waiter) (*Conn, error) {
	if p.cfg.Patience > 0 { // streams may keep all of them for ever
		bounded, cancel := context.WithTimeout(ctx, p.cfg.Patience)
		defer cancel()
		ctx = bounded
	}
	select {
	case c, ok := <-w.served:
		if !ok {
			return nil, ErrClosed
		}
		return c, nil
	case <-ctx.Done():
	}
	p.mu.Lock()
	if i := slices.Index(p.waiting, w); i >= 0 {
		p.waiting = slices.Delete(p.waiting, i, i+1)
		p.mu.Unlock()
		return nil, fmt.Errorf("%w, %d at most: %w", ErrFull, p.cfg.Total, context.Cause(ctx))
	}
	p.mu.Unlock()
	c, ok := <-w.served // it was served just then
	switch {
	case !ok:
		return nil, ErrClosed
	case c != nil:
		p.put(c)
	default:
		p.mu.Lock()
		p.free()
		p.mu.Unlock()
	}
	return nil, fmt.Errorf("%w, %d at most: %w", ErrFull, p.cfg.Total, context.Cause(ctx))
}

// free passes a slot to the first that waits, or gives it up. The caller has the lock.
func (p *Pool) free() {
	if w := p.first(); w != nil {
		w.served <- nil
	} else {
		p.slots--
	}
}

// first takes the first that waits out of the queue; nil if none does. The caller has the lock.
func (p *Pool) first() *waiter {
	if len(p.waiting) == 0 {
		return nil
	}
	w := p.waiting[0]
	p.waiting = slices.Delete(p.waiting, 0, 1)
	return w
}

// put keeps a connection or hands it to the first that waits.
func (p *Pool) put(c *Conn) {
	p.mu.Lock()
	waited := len(p.waiting) > 0
	switch {
	case p.closed, waited && p.waiting[0].fresh, !waited && len(p.idle) >= p.cfg.Idle:
		p.mu.Unlock()
		c.Discard()
		return
	}
	defer p.mu.Unlock()
	c.since = time.Now()
	if waited {
		p.first().served <- c
	} else {
		p.idle = append(p.idle, c)
	}
}

// gone frees the slot of a connection that was closed.
func (p *Pool) gone(c *Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, ok := p.open[c]; ok {
		delete(p.open, c)
		p.free()
	}
}

// expire closes what is idle since before then.
func (p *Pool) expire(then time.Time) {
	p.mu.Lock()
	n := 0
	for n < len(p.idle) && p.idle[n].since.Before(then) {
		n++
	}
	old := slices.Clone(p.idle[:n])
	p.idle = slices.Delete(p.idle, 0, n)
	p.slots -= n // none waits while one is idle
	for _, c := range old {
		delete(p.open, c)
	}
	p.mu.Unlock()
	p.expired.Add(uint64(n))
	for _, c := range old {
		c.raw.Close()
	}
}
