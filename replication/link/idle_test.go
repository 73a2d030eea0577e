package link

import (
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ftgw/ftgw/replication"
)

// words is a log as text.
type words struct {
	sync.Mutex
	strings.Builder
}

func (w *words) Write(p []byte) (int, error) {
	w.Lock()
	defer w.Unlock()
	return w.Builder.Write(p)
}

func (w *words) count(what string) int {
	w.Lock()
	defer w.Unlock()
	return strings.Count(w.String(), what)
}

// A clock that is an hour off is shown and warned of, once in each session.
func TestSkew(t *testing.T) {
	for _, tt := range []struct {
		off   time.Duration
		warns int
	}{{0, 0}, {-8 * time.Second, 0}, {time.Hour, 1}, {-time.Hour, 1}} {
		t.Run(tt.off.String(), func(t *testing.T) {
			low, high := addrs(t)
			var said words
			a := newHost(t, "a", low, high)
			b := newHost(t, "b", high, low, func(cfg *Config) { cfg.Log = slog.New(slog.NewTextHandler(&said, nil)) })
			b.start(t)
			stranger(t, low, high).Close() // it listens
			for _, ch := range []replication.Channel{replication.Control, replication.Bulk} {
				nc := stranger(t, low, high)
				defer nc.Close()
				_, _, _, err := exchange(t.Context(), nc, keys(t, 1), func() replication.Hello {
					h := a.ownHello(ch, 1)
					h.Wall += tt.off.Milliseconds()
					return h
				})
				if err != nil {
					t.Fatal(err)
				}
			}
			b.untilUp(t, 1)
			if got := b.Status().Skew; (got - tt.off).Abs() > time.Second {
				t.Errorf("skew %v, want %v", got, tt.off)
			}
			if n := said.count("chrony"); n != tt.warns {
				t.Errorf("%d warnings, want %d", n, tt.warns)
			}
		})
	}
}

// An idle link beats seldom, and at once when it has to work again.
func TestIdle(t *testing.T) {
	for _, tt := range []struct{ beat, silence, idle time.Duration }{
		{10 * time.Millisecond, time.Second, 100 * time.Millisecond},
		{50 * time.Millisecond, time.Second, 250 * time.Millisecond}, // four within Silence
		{time.Second, time.Second, time.Second},                      // never more often than else
	} {
		l := New(Config{Heartbeat: tt.beat, Silence: tt.silence})
		l.Idle(true)
		if got := l.period(); got != tt.idle {
			t.Errorf("heartbeat %v, silence %v: idle %v, want %v", tt.beat, tt.silence, got, tt.idle)
		}
		l.Idle(false)
		if got := l.period(); got != tt.beat {
			t.Errorf("heartbeat %v: %v after idling", tt.beat, got)
		}
	}
	low, high := addrs(t)
	slow := func(cfg *Config) { cfg.Heartbeat, cfg.Silence = time.Minute, time.Hour }
	a, b := newHost(t, "a", low, high, slow), newHost(t, "b", high, low, slow)
	a.Idle(true)
	b.start(t)
	a.start(t)
	b.until(t, "the session's first heartbeat", func() bool { return b.beats == 1 })
	a.Idle(false)
	b.until(t, "a heartbeat at once", func() bool { return b.beats == 2 })
}

// With default times an idle session stays up, and slows down while it is up.
func TestIdleSession(t *testing.T) {
	a, b := connected(t, func(cfg *Config) { cfg.Silence = 2 * time.Second })
	a.Idle(true)
	b.Idle(true)
	b.mu.Lock()
	before := b.beats
	b.mu.Unlock()
	began := time.Now()
	b.until(t, "heartbeats", func() bool { return b.beats >= before+12 })
	if took := time.Since(began); took < 600*time.Millisecond {
		t.Errorf("12 heartbeats within %v, want one in 100 ms", took)
	}
	if s := a.Status(); !s.Up || s.Sessions != 1 {
		t.Errorf("the session suffered: %+v", s)
	}
	if err := a.Store(t.Context(), reply(1, 0, 3), strings.NewReader("abc")); err != nil {
		t.Error(err)
	}
}
