package link

import (
	"context"
	"time"

	"github.com/ftgw/ftgw/internal/crashpoint"
	"github.com/ftgw/ftgw/replication"
)

// write sends one batch.
func (c *conn) write(buf []byte) error {
	if len(buf) == 0 {
		return nil
	}
	if _, err := c.tls.Write(buf); err != nil {
		return err
	}
	return c.raw.flush()
}

// An idle link beats so much slower, but still this often within Silence.
const (
	idleFactor = 10
	idleBeats  = 4
)

// period is the time between heartbeats.
func (l *Link) period() time.Duration {
	if !l.idle.Load() {
		return l.cfg.Heartbeat
	}
	return max(l.cfg.Heartbeat, min(idleFactor*l.cfg.Heartbeat, l.cfg.Silence/idleBeats))
}

// Idle says whether the session only has to stay up: while so, heartbeats come at a tenth of
// their rate, though at least four within Config.Silence. When that ends one goes at once. It
// lasts from session to session and never blocks.
func (l *Link) Idle(idle bool) {
	if l.idle.Swap(idle) != idle {
		wake(l.ctl.wake)
	}
}

// writeControl sends heartbeats on time and all else at once. When ctx ends it sends what
// still waits, for at most flushTime.
func (l *Link) writeControl(ctx context.Context, c *conn) error {
	period := l.period()
	tick := time.NewTicker(period)
	defer tick.Stop()
	w := controlWriter{l: l, c: c}
	beat, more := true, true
	for {
		if !more {
			select {
			case <-ctx.Done():
			case <-l.ctl.wake:
			case <-tick.C:
				beat = true
			}
		}
		if ctx.Err() != nil {
			return w.last()
		}
		if p := l.period(); p != period {
			tick.Reset(p)
			beat = beat || p < period
			period = p
		}
		select {
		case <-tick.C:
			beat = true
		default:
		}
		var err error
		if more, err = w.send(beat); err != nil {
			return err
		}
		beat = false
	}
}

type controlWriter struct {
	l   *Link
	c   *conn
	buf []byte
	seq uint64
}

// send writes one batch, with a heartbeat in front if beat.
func (w *controlWriter) send(beat bool) (more bool, err error) {
	var h replication.Heartbeat
	if beat {
		w.seq++
		h = w.l.beat(w.seq)
	}
	ctl := &w.l.ctl
	ctl.Lock()
	if beat {
		ctl.out.Beat(h)
	}
	w.buf = ctl.out.Append(w.buf[:0], batch)
	more = !ctl.out.Empty()
	ctl.Unlock()
	return more, w.c.write(w.buf)
}

// last sends what still waits.
func (w *controlWriter) last() error {
	if err := w.c.raw.SetWriteDeadline(time.Now().Add(flushTime)); err != nil {
		return err
	}
	for more := true; more; {
		var err error
		if more, err = w.send(false); err != nil {
			return err
		}
	}
	return context.Canceled
}

// beat composes a heartbeat. What it says of this node is no older than its stamps: who gets one
// of his own back must be able to rely on that.
func (l *Link) beat(seq uint64) (h replication.Heartbeat) {
	l.in.Lock()
	sent, got := l.now(), l.in.got
	echo, since := l.in.echo, sent-l.in.echoAt
	l.in.Unlock()
	if l.cfg.Beat != nil {
		h = l.cfg.Beat()
	} else {
		own := l.cfg.Hello()
		h.Epoch, h.Role = own.Epoch, own.Role
	}
	h.Seq, h.Sent, h.Got = seq, sent, got
	if echo > 0 {
		h.Echo, h.EchoDelay = echo, since
	}
	return h
}

// writeBulk sends records as they come.
func (l *Link) writeBulk(ctx context.Context, c *conn) error {
	var buf []byte
	b := &l.bulk
	for {
		b.Lock()
		var failed []replication.StreamError
		buf, failed = b.out.Append(buf[:0], batch)
		b.failBodies(failed)
		b.Unlock()
		if len(buf) > 0 {
			if err := c.write(buf); err != nil {
				return err
			}
			crashpoint.Here(crashpoint.RecordSent)
			continue
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-b.wake:
		}
	}
}
