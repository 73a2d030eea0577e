package load

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// Spec says what to do.
type Spec struct {
	Targets []string      `json:"targets"` // addresses and ports; connections take turns over them
	Path    string        `json:"path"`
	Bytes   int64         `json:"bytes"`    // of the body that each reply must have
	Conns   int           `json:"conns"`    // connections at once
	Fresh   bool          `json:"fresh"`    // one for each request, whose latency then begins with the connect
	Rate    float64       `json:"rate"`     // requests a second at fixed times; 0: a closed loop
	Warm    time.Duration `json:"warm_ns"`  // before the measurement
	For     time.Duration `json:"for_ns"`   // how long to measure
	Keep    int           `json:"keep"`     // so many latencies are returned one by one
	Watch   Watch         `json:"watch"`    // processes by host, whose processor time is told
	Timeout time.Duration `json:"limit_ns"` // of a request
}

// Outcome is what was measured. Requests that ended in the warm-up are not in it.
type Outcome struct {
	From      time.Time          `json:"from"` // when the measurement began
	Requests  int                `json:"requests"`
	Seconds   float64            `json:"seconds"`   // that the measurement took
	Mean      float64            `json:"mean_ms"`   // latency
	Quantiles []Point            `json:"quantiles"` // of the latency
	Series    []float64          `json:"series_ms"` // the first latencies, in order
	CPU       map[string]float64 `json:"cpu_s"`     // by host, the client and "all"; see Watch
	LateMS    float64            `json:"late_ms"`   // at a fixed rate: median oversleep of the client, part of each latency
}

// Point is one point of a distribution: the share of the replies that took no longer.
type Point struct {
	Share float64 `json:"share"`
	MS    float64 `json:"ms"`
}

// Run measures. A request that fails ends the run with an error: a measurement with failures is none.
func Run(ctx context.Context, s Spec) (Outcome, error) {
	if len(s.Targets) == 0 || s.Conns < 1 || s.For <= 0 {
		return Outcome{}, errors.New("load: targets, conns and for_ns are needed")
	}
	if s.Timeout == 0 {
		s.Timeout = 20 * time.Second
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	m := &meter{begin: time.Now(), spec: s}
	m.from = m.begin.Add(s.Warm)
	m.to = m.from.Add(s.For)
	var wg sync.WaitGroup
	for k := range s.Conns {
		wg.Go(func() {
			w := worker{meter: m, target: s.Targets[k%len(s.Targets)]}
			defer w.hangUp()
			if err := w.run(ctx); err != nil {
				cancel(fmt.Errorf("load: request to %s: %w", w.target, err))
			}
		})
	}
	usage, err := m.usage(ctx)
	wg.Wait()
	if cause := context.Cause(ctx); cause != nil {
		return Outcome{}, cause
	}
	if err != nil {
		return Outcome{}, err
	}
	return m.outcome(usage), nil
}

// meter is what the connections share.
type meter struct {
	spec            Spec
	begin, from, to time.Time
	next            atomic.Int64 // request of the schedule

	mu     sync.Mutex
	took   []float64 // ms
	late   []float64 // ms
	series []float64
}

// usage waits for the measured time and returns the processor time used in it.
func (m *meter) usage(ctx context.Context) (map[string]float64, error) {
	if !sleepUntil(ctx, m.from) {
		return nil, nil
	}
	before, err := m.spec.Watch.read()
	if err != nil || !sleepUntil(ctx, m.to) {
		return nil, err
	}
	after, err := m.spec.Watch.read()
	for name := range after {
		after[name] -= before[name]
	}
	return after, err
}

// add takes in a reply to a request that began, or was to begin, at a time.
func (m *meter) add(at, end time.Time) {
	if at.Before(m.from) || !at.Before(m.to) {
		return
	}
	ms := Milliseconds(end.Sub(at))
	m.mu.Lock()
	defer m.mu.Unlock()
	m.took = append(m.took, ms)
	if len(m.series) < m.spec.Keep {
		m.series = append(m.series, ms)
	}
}

// turn returns when the next request is due: in a closed loop now. It is false when all are made.
func (m *meter) turn(ctx context.Context) (at time.Time, ok bool) {
	now := time.Now()
	if m.spec.Rate == 0 {
		return now, now.Before(m.to) && ctx.Err() == nil
	}
	k := m.next.Add(1) - 1
	at = m.begin.Add(time.Duration(float64(k) / m.spec.Rate * float64(time.Second)))
	if !at.Before(m.to) || ctx.Err() != nil {
		return at, false
	}
	if at.After(now) {
		if !sleepUntil(ctx, at) {
			return at, false
		}
		m.mu.Lock()
		m.late = append(m.late, Milliseconds(time.Since(at)))
		m.mu.Unlock()
	}
	return at, true
}

func sleepUntil(ctx context.Context, at time.Time) bool {
	t := time.NewTimer(time.Until(at))
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// Main runs the spec that text holds and writes the outcome to out, both as JSON.
func Main(ctx context.Context, text string, out io.Writer) error {
	var s Spec
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		return fmt.Errorf("load: read the spec: %w", err)
	}
	o, err := Run(ctx, s)
	if err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(o)
}

// Milliseconds returns the time in milliseconds, with fractions.
func Milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
