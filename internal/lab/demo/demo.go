// Package demo shows what ftgw promises: in a small network made of namespaces, real nodes
// serve real connections, a host dies in the middle of them, and the client, which knows
// nothing, gets every byte.
package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/ftgw/ftgw/internal/lab"
	"github.com/ftgw/ftgw/internal/lab/client"
)

const (
	limit    = 55 * time.Second // of the whole demo
	patience = 15 * time.Second // of the client with one request
)

// Options of Run.
type Options struct {
	Out      io.Writer
	JSON     bool   // write one JSON object at the end instead of text as it happens
	FtgwPath string // program that is run on the hosts; empty means this one
}

// Outcome is what happened in an act.
type Outcome struct {
	Crashed  string         `json:"crashed"`
	Survivor string         `json:"survivor"`
	Role     string         `json:"role"` // of the crashed host
	Client   client.Summary `json:"client"`
	// AfterCrash counts the requests that were answered after the crash.
	AfterCrash int `json:"requests_after_crash"`
	// PausesMS is the longest pause of each kind of request, in milliseconds. What a slow
	// request waits while it is executed again counts.
	PausesMS map[string]float64 `json:"longest_pause_ms"`
	Takeover *lab.Takeover      `json:"takeover,omitempty"`
	// ClaimMS is the time from the crash to the decision, in milliseconds.
	ClaimMS float64 `json:"crash_to_claim_ms,omitempty"`
	Kept    bool    `json:"promise_kept"`
	Error   string  `json:"error,omitempty"`
}

// Run plays both acts. It returns an error if the promise was broken, if an act could not be
// played, or if ctx ended; in each case nothing is left behind. It needs a program that may
// make namespaces (lab.Reexec).
func Run(ctx context.Context, o Options) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("not done within %v (is the machine very busy?)", limit))
	defer cancel()
	if o.FtgwPath == "" {
		self, err := os.Executable()
		if err != nil {
			return fmt.Errorf("demo: %w", err)
		}
		o.FtgwPath = self
	}
	say := newTeller(o)
	say.line("ftgw demo: a client, a router and two hosts, in network namespaces of this program")
	var outcomes []Outcome
	var errs []error
	for _, a := range []act{
		{number: 1, crashed: lab.NameA, survivor: lab.NameB, role: "primary", patience: patience},
		{number: 2, crashed: lab.NameB, survivor: lab.NameA, role: "backup", patience: patience},
	} {
		outcome, err := a.play(ctx, o, say)
		if ctx.Err() != nil {
			return fmt.Errorf("demo: %w", errors.Join(context.Cause(ctx), err))
		}
		outcome.Kept = err == nil
		if err != nil {
			outcome.Error = err.Error()
			errs = append(errs, fmt.Errorf("demo, act %d: %w", a.number, err))
		}
		outcomes = append(outcomes, outcome)
	}
	if o.JSON {
		enc := json.NewEncoder(o.Out)
		enc.SetIndent("", "  ")
		errs = append(errs, enc.Encode(struct {
			Kept bool      `json:"promise_kept"`
			Acts []Outcome `json:"acts"`
		}{len(errs) == 0, outcomes}))
	} else if len(errs) == 0 {
		say.line("")
		say.line("Both hosts have died, each in the middle of its work, and the client has noticed a pause.")
	}
	return errors.Join(errs...)
}

// teller prints what happens with the time since the act began, unless the output is JSON.
type teller struct {
	out   io.Writer
	begin time.Time
}

func newTeller(o Options) *teller {
	if o.JSON {
		return &teller{out: io.Discard}
	}
	return &teller{out: o.Out}
}

func (t *teller) line(format string, args ...any) { fmt.Fprintf(t.out, format+"\n", args...) }

func (t *teller) event(format string, args ...any) {
	t.line("%7.2f s  "+format, append([]any{time.Since(t.begin).Seconds()}, args...)...)
}

func (t *teller) outcome(o Outcome) {
	if o.Takeover == nil {
		t.line("  takeover by %s: it tells nothing of one", o.Survivor)
	} else {
		t.line("  takeover by %s, epoch %d: %s", o.Survivor, o.Takeover.Epoch, o.Takeover.Reason)
		if o.ClaimMS > 0 {
			t.line("    %9.1f ms  after the crash: decided; from there", o.ClaimMS)
		}
		for _, s := range o.Takeover.Steps {
			t.line("    %+9.3f ms  %s", s.AtMS, s.Name)
		}
	}
	s := o.Client
	t.line("  what the client saw")
	t.line("    %d requests, %d of them answered after the crash", s.Requests, o.AfterCrash)
	t.line("    %.1f MB verified, %d wrong digests", float64(s.Bytes)/1e6, s.Mismatches)
	t.line("    %d resets, %d error statuses, %d hangs", s.Resets, s.ErrorStatuses, s.Hangs)
	t.line("    longest pause: %.0f ms in the download, %.0f ms in the series,", o.PausesMS[kindDownload], o.PausesMS[kindSeries])
	t.line("    %.0f ms in a slow request (where it was executed again, that counts)", o.PausesMS[kindSlow])
}
