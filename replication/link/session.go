package link

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/ftgw/ftgw/replication"
	"github.com/ftgw/ftgw/rewrite"
)

const (
	batch      = 256 << 10              // bytes gathered for one write
	drainTime  = 20 * time.Millisecond  // for what a dead peer had already sent on the other connection
	flushTime  = 100 * time.Millisecond // for the last words at the end of Run
	rttWeight  = 8                      // RTT is smoothed by 1/rttWeight
	watchParts = 4                      // looks per Silence
)

var (
	errSilent   = errors.New("link: nothing came from the peer")
	errReplaced = errors.New("link: the peer connected anew")
)

// session runs p from Up to Down and returns the pair that replaced it, if one did.
func (l *Link) session(ctx context.Context, p *pair) (next *pair) {
	l.begin(p)
	sctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var readers, writers sync.WaitGroup
	ended := make(chan error, 4)
	readers.Go(func() { ended <- l.readControl(p.control) })
	readers.Go(func() { ended <- l.readBulk(p.bulk) })
	flushed := make(chan struct{})
	writers.Go(func() { defer close(flushed); ended <- l.writeControl(sctx, p.control) })
	writers.Go(func() { ended <- l.writeBulk(sctx, p.bulk) })

	next, err := l.watch(ctx, ended)
	reset := wasReset(err)
	cancel()
	switch {
	case ctx.Err() != nil:
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
	l.setUp(false, p.hello)
	l.log.Info("peer session down", "peer", p.hello.Node, "err", err, "reset", reset)
	l.cfg.Handler.Down(err, reset)
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
	l.counts.sessions.Add(1)
	l.setUp(true, h)
	l.log.Info("peer session up", "peer", h.Node, "epoch", h.Epoch, "new_boot", old != h.Boot)
	l.cfg.Handler.Up(h)
}

// watch waits for whatever ends the session.
func (l *Link) watch(ctx context.Context, ended <-chan error) (next *pair, err error) {
	tick := time.NewTicker(l.cfg.Silence / watchParts)
	defer tick.Stop()
	last := l.now()
	for {
		select {
		case err := <-ended:
			return nil, err
		case next := <-l.est:
			return next, errReplaced
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-tick.C:
		}
		now := l.now()
		if time.Duration(now-last) > l.cfg.Silence/2 {
			l.lastSign.Store(now) // this process itself was stopped: first read what waits
		}
		last = now
		if d := time.Duration(now - l.lastSign.Load()); d > l.cfg.Silence {
			return nil, fmt.Errorf("%w for %v", errSilent, d.Round(time.Millisecond))
		}
	}
}

// next reads one authentic frame.
func (l *Link) next(c *conn) (replication.Frame, error) {
	f, err := c.rd.Next()
	if err == nil {
		l.lastSign.Store(l.now())
		l.cfg.Handler.Sign()
	}
	return f, err
}

func (l *Link) readBulk(c *conn) error {
	in := replication.BulkInbox{Open: l.cfg.Handler.OpenRecord}
	defer in.Close()
	for {
		f, err := l.next(c)
		if err != nil {
			return err
		}
		answer, answered, cause, err := in.Frame(f)
		if err != nil {
			return err
		}
		if !answered {
			continue
		}
		switch answer.Result {
		case replication.ResultRefused:
			l.counts.refused.Add(1)
			l.log.Debug("record refused", "flow", answer.Flow.String(), "index", answer.Index, "err", cause)
		case replication.ResultFailed:
			l.counts.failed.Add(1)
			l.log.Warn("record not stored", "flow", answer.Flow.String(), "index", answer.Index, "err", cause)
		}
		l.say(func(o *replication.Outbox) { o.Stored(answer) })
	}
}

func (l *Link) readControl(c *conn) error {
	var d dispatch
	for {
		f, err := l.next(c)
		if err != nil {
			return err
		}
		if f.Type == replication.TypeHeartbeat {
			err = l.heard(f.Body)
		} else {
			err = l.numbered(f, &d)
		}
		if err != nil {
			return err
		}
	}
}

// heard takes a heartbeat: round trip, and what of ours arrived.
func (l *Link) heard(body []byte) error {
	h, err := replication.ParseHeartbeat(body)
	if err != nil {
		return err
	}
	now := l.now()
	l.in.Lock()
	l.in.echo, l.in.echoAt = h.Sent, now
	l.in.Unlock()
	if sample := now - h.Echo - h.EchoDelay; h.Echo > 0 && sample > 0 {
		if old := l.rtt.Load(); old > 0 {
			sample = old + (sample-old)/rttWeight
		}
		l.rtt.Store(sample)
	}
	l.ctl.Lock()
	l.ctl.out.Got(h.Got)
	stuck := !l.ctl.out.Empty()
	l.ctl.Unlock()
	if stuck {
		wake(l.ctl.wake)
	}
	l.cfg.Handler.Heartbeat(h)
	return nil
}

// dispatch keeps the slices that are used again from frame to frame.
type dispatch struct {
	confirms      []rewrite.Confirmation
	items, stored []replication.StoredItem
}

// numbered passes a frame on unless it came before.
func (l *Link) numbered(f replication.Frame, d *dispatch) error {
	n, rest, err := replication.Number(f.Body)
	if err != nil {
		return err
	}
	l.in.Lock()
	again := n < l.in.got
	l.in.Unlock()
	if again {
		l.counts.repeated.Add(1)
		return nil
	}
	if err := l.pass(f.Type, rest, d); err != nil {
		return err
	}
	l.in.Lock()
	l.in.got = n + 1
	l.in.Unlock()
	return nil
}

func (l *Link) pass(t replication.Type, rest []byte, d *dispatch) (err error) {
	h := l.cfg.Handler
	switch t {
	case replication.TypeConfirm:
		if d.confirms, err = replication.ParseConfirms(d.confirms[:0], rest); err == nil {
			h.Confirm(d.confirms)
		}
	case replication.TypeStored:
		if d.items, err = replication.ParseStored(d.items[:0], rest); err != nil {
			return err
		}
		d.stored = d.stored[:0]
		for _, s := range d.items {
			if s.Result == replication.ResultStored {
				d.stored = append(d.stored, s)
			}
		}
		if len(d.stored) > 0 {
			h.Stored(d.stored)
		}
		l.answers(d.items)
	case replication.TypeNote:
		notes, err := replication.ParseNotes(rest)
		if err != nil {
			return err
		}
		h.Notes(notes)
	case replication.TypeEpoch:
		e, err := replication.ParseEpoch(rest)
		if err != nil {
			return err
		}
		h.Epoch(e)
	case replication.TypeLeave:
		h.Leave()
	default:
		return fmt.Errorf("%w: type %d on the control connection", replication.ErrFrame, t)
	}
	return err
}
