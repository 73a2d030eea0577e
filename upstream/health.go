package upstream

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"time"
)

// HealthConfig is what NewHealth needs. Zero values stand for the defaults.
type HealthConfig struct {
	Address Address
	// Path is asked for by GET, with its query; 2xx and 3xx are healthy. Empty: a connection that
	// is accepted is healthy.
	Path    string
	Host    string // field Host of that request; default Address.Host()
	Preface []byte // sent first on each connection, see LocalPreface; default none

	Interval time.Duration // between checks; default 1 s
	// Fast is the time between checks while their outcome contradicts the verdict, and the
	// shortest between any two; default Interval/5.
	Fast    time.Duration
	Timeout time.Duration // of one check, connecting included; default 1 s
	Rise    int           // good checks in a row that end unhealthy; default 2
	Fall    int           // bad ones in a row that end healthy; default 3
	// Settle is how long healthy must last not to count as flapping: each flap doubles Rise, up
	// to 32-fold, and each Settle in health undoes one. Default 30 s.
	Settle time.Duration

	// Changed is told of each change of the verdict, one at a time, by Run. Default: nothing.
	Changed func(State)
	// Check is one check, for another way than Path; its error's text is the reason shown.
	Check func(context.Context) error
}

// Health asks an upstream now and then whether it is well. Its methods are safe for concurrent
// use. What users' exchanges meet never decides by itself, or one request that breaks the server
// on purpose could move the role: a Report only hastens the next check.
type Health struct {
	cfg      HealthConfig
	reported chan struct{} // holds one

	mu     sync.Mutex
	judge  judge
	checks uint64
	failed uint64
	report string // the latest
}

// NewHealth returns a Health that is Unknown until Run. It refuses a Path or Host that cannot be
// sent as they are.
func NewHealth(cfg HealthConfig) (*Health, error) {
	cfg.Host = cmp.Or(cfg.Host, cfg.Address.Host())
	cfg.Interval = cmp.Or(cfg.Interval, time.Second)
	cfg.Fast = cmp.Or(cfg.Fast, cfg.Interval/5)
	cfg.Timeout = cmp.Or(cfg.Timeout, time.Second)
	cfg.Rise = max(1, cmp.Or(cfg.Rise, 2))
	cfg.Fall = max(1, cmp.Or(cfg.Fall, 3))
	cfg.Settle = cmp.Or(cfg.Settle, 30*time.Second)
	if cfg.Check == nil {
		p, err := newProbe(cfg)
		if err != nil {
			return nil, err
		}
		cfg.Check = p.check
	}
	return &Health{
		cfg: cfg, reported: make(chan struct{}, 1),
		judge: judge{rise: cfg.Rise, fall: cfg.Fall, settle: cfg.Settle, state: State{Reason: "not checked yet"}},
	}, nil
}

// State returns what is known now.
func (h *Health) State() State {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.judge.state
}

// HealthStats counts since the start.
type HealthStats struct {
	Checks, Failed uint64
	Reported       string // what the latest Report said
}

// Stats returns the present numbers.
func (h *Health) Stats() HealthStats {
	h.mu.Lock()
	defer h.mu.Unlock()
	return HealthStats{h.checks, h.failed, h.report}
}

// Report tells of an exchange that the upstream failed. A check is made at once, or as soon as
// Fast has passed since the latest. It never blocks; reports during a check count as one.
func (h *Health) Report(err error) {
	if err == nil {
		return
	}
	h.mu.Lock()
	h.report = err.Error()
	h.mu.Unlock()
	select {
	case h.reported <- struct{}{}:
	default:
	}
}

// Run checks at once and then at intervals until ctx ends, and returns nil then.
func (h *Health) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		select {
		case <-h.reported: // what was reported before this check is answered by it
		default:
		}
		began := time.Now()
		h.once(ctx)
		h.pause(ctx, began)
	}
	return nil
}

// pause waits for the time of the next check; the latest began then.
func (h *Health) pause(ctx context.Context, began time.Time) {
	h.mu.Lock()
	wait := h.cfg.Interval
	if h.judge.doubtful() {
		wait = h.cfg.Fast
	}
	h.mu.Unlock()
	timer := time.NewTimer(time.Until(began.Add(wait)))
	defer timer.Stop()
	reported := h.reported
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			return
		case <-reported:
			reported = nil
			timer.Reset(min(time.Until(began.Add(h.cfg.Fast)), time.Until(began.Add(wait))))
		}
	}
}

// once makes one check and tells of a change.
func (h *Health) once(ctx context.Context) {
	checking, cancel := context.WithTimeout(ctx, h.cfg.Timeout)
	defer cancel()
	err := h.cfg.Check(checking)
	if ctx.Err() != nil {
		return // what ended with Run says nothing
	}
	failure := ""
	switch {
	case err == nil:
	case checking.Err() != nil:
		failure = fmt.Sprintf("no answer within %s", h.cfg.Timeout)
	default:
		failure = err.Error()
	}
	h.mu.Lock()
	h.checks++
	if failure != "" {
		h.failed++
	}
	changed, state := h.judge.step(time.Now(), failure), h.judge.state
	h.mu.Unlock()
	if changed && h.cfg.Changed != nil {
		h.cfg.Changed(state)
	}
}
