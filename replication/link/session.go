package link

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/ftgw/ftgw/internal/defect"
)

const (
	batch      = 256 << 10              // bytes gathered for one write
	drainTime  = 20 * time.Millisecond  // for what a dead peer had already sent on the other connection
	flushTime  = 100 * time.Millisecond // for the last words at the end of Run
	watchParts = 4                      // looks per Silence
)

var (
	errSilent   = errors.New("link: nothing came from the peer")
	errReplaced = errors.New("link: the peer connected anew")
	errDropped  = errors.New("link: the session was given up")
)

// session runs p from Up to Down and returns the pair that replaced it, if one did.
func (l *Link) session(ctx context.Context, p *pair) (next *pair) {
	l.begin(p)
	sctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var readers, writers sync.WaitGroup
	ended := make(chan error, 4)
	readers.Go(func() { defer defect.Guard(); ended <- l.readControl(p.control) })
	readers.Go(func() { defer defect.Guard(); ended <- l.readBulk(p.bulk) })
	flushed := make(chan struct{})
	writers.Go(func() { defer defect.Guard(); defer close(flushed); ended <- l.writeControl(sctx, p.control) })
	writers.Go(func() { defer defect.Guard(); ended <- l.writeBulk(sctx, p.bulk) })

	next, err := l.watch(ctx, ended, l.silence(p))
	l.left.ended.Store(l.left.said.Load())
	reset := wasReset(err)
	cancel()
	switch {
	case ctx.Err() != nil:
		<-flushed
	case errors.Is(err, errDropped):
		// What was said before still goes out; what comes is not heard any more.
		for _, c := range []*conn{p.control, p.bulk} {
			c.raw.SetReadDeadline(time.Unix(1, 0)) // an error means it is closed
		}
		<-flushed
	case reset:
		// The other connection may hold whole records of the peer's last moment.
		for _, c := range []*conn{p.control, p.bulk} {
			c.raw.SetReadDeadline(time.Now().Add(drainTime)) // an error means it is closed, and drained
		}
		readers.Wait()
	}
	p.close()
	readers.Wait()
	writers.Wait()
	l.setDown()
	l.cfg.Handler.Down(err, reset)
	p.why = err
	close(p.ended)
	return next
}

// begin sets the queues to what the peer has, and calls Up.
func (l *Link) begin(p *pair) {
	h := p.hello
	l.in.Lock()
	old := l.in.boot
	if old != h.Boot {
		l.in.boot, l.in.got = h.Boot, 0
	}
	l.in.echo, l.in.echoAt = 0, 0
	l.in.Unlock()
	l.ctl.Lock()
	if old != h.Boot && old != [16]byte{} {
		l.ctl.out.Reset() // it was said to a process that is no more
	}
	var got uint64
	if h.GotBoot == p.ours.Boot {
		got = h.Got
	}
	l.ctl.out.Restart(got)
	l.ctl.Unlock()
	l.bulk.Lock()
	l.bulk.out.Rewind()
	l.bulk.Unlock()
	l.lastSign.Store(l.now())
	select {
	case <-l.drop: // was meant for an earlier session
	default:
	}
	l.counts.sessions.Add(1)
	l.setUp(p)
	l.warnOfSkew(p)
	l.cfg.Handler.Up(h)
}

// watch waits for whatever ends the session.
func (l *Link) watch(ctx context.Context, ended <-chan error, silence time.Duration) (next *pair, err error) {
	tick := time.NewTicker(silence / watchParts)
	defer tick.Stop()
	last := l.now()
	for {
		select {
		case err := <-ended:
			return nil, err
		case next := <-l.est:
			return next, errReplaced
		case <-l.drop:
			return nil, errDropped
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-tick.C:
		}
		now := l.now()
		if time.Duration(now-last) > silence/2 {
			l.lastSign.Store(now) // this process itself was stopped: first read what waits
		}
		last = now
		if d := time.Duration(now - l.lastSign.Load()); d > silence {
			return nil, fmt.Errorf("%w for %v", errSilent, d.Round(time.Millisecond))
		}
	}
}
