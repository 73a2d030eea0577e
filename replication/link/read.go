package link

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/ftgw/ftgw/internal/crashpoint"
	"github.com/ftgw/ftgw/replication"
	"github.com/ftgw/ftgw/rewrite"
)

// rttWeight smooths the round trip: each sample counts 1/rttWeight.
const rttWeight = 8

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
	in := replication.BulkInbox{Open: l.cfg.Handler.OpenRecord, Late: l.answer}
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
		l.answer(answer, cause)
	}
}

// answer tells the peer what became of a record, with the next session if this one has ended.
func (l *Link) answer(answer replication.StoredItem, cause error) {
	switch answer.Result {
	case replication.ResultRefused:
		l.counts.refused.Add(1)
		l.log.Debug("record refused", "flow", answer.Flow.String(), "index", answer.Index, "error", cause)
	case replication.ResultFailed:
		l.counts.failed.Add(1)
		level := slog.LevelWarn
		if errors.Is(cause, replication.ErrDiffers) { // who made the reply says so
			level = slog.LevelDebug
		}
		l.log.Log(context.Background(), level, "record not stored", "flow", answer.Flow.String(), "index", answer.Index, "error", cause)
	}
	crashpoint.Here(crashpoint.RecordStored)
	l.say(func(o *replication.Outbox) { o.Stored(answer) })
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
