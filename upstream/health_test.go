package upstream

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// checker is an upstream of a test with a clock of its own: it says when it was asked.
type checker struct {
	start  time.Time
	answer func(at time.Duration) error
	took   time.Duration
	at     []string
}

func (c *checker) check(ctx context.Context) error {
	at := time.Since(c.start)
	c.at = append(c.at, at.String())
	select {
	case <-time.After(c.took):
		return c.answer(at)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// health runs a Health for so long and returns what changed when, and what was asked when.
func health(t *testing.T, c *checker, length time.Duration, meanwhile func(*Health)) (changes, asked string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c.start = time.Now()
		var said []string
		h, err := NewHealth(HealthConfig{Check: c.check, Changed: func(s State) {
			if s.Since != time.Now() {
				t.Errorf("since %v", s.Since)
			}
			said = append(said, fmt.Sprintf("%s %s: %s", time.Since(c.start), s.Verdict, s.Reason))
		}})
		if err != nil {
			t.Fatal(err)
		}
		if s := h.State(); s.Verdict != Unknown || s.Reason != "not checked yet" || !s.Since.IsZero() {
			t.Errorf("%+v", s)
		}
		ctx, cancel := context.WithTimeout(t.Context(), length)
		defer cancel()
		ran := make(chan error)
		go func() { ran <- h.Run(ctx) }()
		if meanwhile != nil {
			meanwhile(h)
		}
		if err := <-ran; err != nil {
			t.Error(err)
		}
		changes, asked = strings.Join(said, "; "), strings.Join(c.at, " ")
	})
	return changes, asked
}

func TestHealthTiming(t *testing.T) {
	bad := errors.New("it said 503 Service Unavailable")
	always := func(err error) func(time.Duration) error { return func(time.Duration) error { return err } }
	report := func(at ...time.Duration) func(*Health) {
		return func(h *Health) {
			for _, wait := range at {
				time.Sleep(wait)
				h.Report(bad)
				h.Report(bad)
			}
		}
	}
	for _, tt := range []struct {
		name           string
		check          checker
		length         time.Duration
		meanwhile      func(*Health)
		changes, asked string
	}{
		{
			name: "well", check: checker{answer: always(nil)}, length: 3500 * time.Millisecond,
			changes: "0s healthy: it answers", asked: "0s 1s 2s 3s",
		},
		{
			name: "down from the start", check: checker{answer: always(bad)}, length: 2 * time.Second,
			changes: "400ms unhealthy: " + bad.Error(), asked: "0s 200ms 400ms 1.4s",
		},
		{
			name: "down, then up: doubt makes it ask faster", length: 3900 * time.Millisecond,
			check: checker{answer: func(at time.Duration) error {
				if at >= 500*time.Millisecond && at < 2*time.Second {
					return bad
				}
				return nil
			}},
			changes: "0s healthy: it answers; 1.4s unhealthy: " + bad.Error() + "; 2.6s healthy: it answers",
			asked:   "0s 1s 1.2s 1.4s 2.4s 2.6s 3.6s",
		},
		{
			name: "hung", check: checker{answer: always(nil), took: time.Hour}, length: 3900 * time.Millisecond,
			changes: "3s unhealthy: no answer within 1s", asked: "0s 1s 2s 3s",
		},
		{
			name: "a report is checked at once", check: checker{answer: always(nil)}, length: 2 * time.Second,
			meanwhile: report(500 * time.Millisecond),
			changes:   "0s healthy: it answers", asked: "0s 500ms 1.5s",
		},
		{
			name: "many are not", check: checker{answer: always(nil)}, length: 900 * time.Millisecond,
			meanwhile: report(50*time.Millisecond, 50*time.Millisecond, 50*time.Millisecond, 100*time.Millisecond),
			changes:   "0s healthy: it answers", asked: "0s 200ms 400ms",
		},
		{
			name: "one in mid-check is not forgotten", check: checker{answer: always(nil), took: 100 * time.Millisecond},
			length: time.Second, meanwhile: report(50 * time.Millisecond),
			changes: "100ms healthy: it answers", asked: "0s 200ms",
		},
		{
			name: "killed under load", length: time.Second, meanwhile: report(310 * time.Millisecond),
			check: checker{answer: func(at time.Duration) error {
				if at > 300*time.Millisecond {
					return bad
				}
				return nil
			}},
			changes: "0s healthy: it answers; 710ms unhealthy: " + bad.Error(), asked: "0s 310ms 510ms 710ms",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			changes, asked := health(t, &tt.check, tt.length, tt.meanwhile)
			if changes != tt.changes {
				t.Errorf("changes\n%s, want\n%s", changes, tt.changes)
			}
			if asked != tt.asked {
				t.Errorf("asked at %s, want %s", asked, tt.asked)
			}
		})
	}
}

func TestHealthStats(t *testing.T) {
	var n atomic.Int64
	h, err := NewHealth(HealthConfig{Interval: time.Millisecond, Check: func(context.Context) error {
		if n.Add(1)%2 == 0 {
			return errors.New("no")
		}
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan error)
	go func() { ran <- h.Run(ctx) }()
	h.Report(nil) // is nothing
	h.Report(errors.New("cut off"))
	eventually(t, "ten checks", func() bool { return h.Stats().Checks >= 10 })
	cancel()
	<-ran
	if s := h.Stats(); s.Failed != s.Checks/2 || s.Reported != "cut off" {
		t.Errorf("%+v", s)
	}
}
