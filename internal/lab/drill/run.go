package drill

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/ftgw/ftgw/internal/lab/client"
)

const (
	roundLimit = 2 * time.Minute
	attempts   = 3 // to strike in the phase that is meant
)

// ErrBroken says that a promise was not kept; the report tells which.
var ErrBroken = errors.New("the promise was broken")

// Options of Run.
type Options struct {
	Scenarios []Scenario // played one after the other
	Rounds    int        // of each; 0: as many as each says itself
	Seed      uint64
	Setting   Setting
	FtgwPath  string    // program that is run on the hosts; empty means this one
	Progress  io.Writer // is told what happens; nil: nobody is
}

// Run plays the scenarios. The report is complete as far as the drill came; the error is
// ErrBroken if a round failed, and another if the drill could not go on. It needs a program
// that may make namespaces (lab.Reexec).
func Run(ctx context.Context, o Options) (Report, error) {
	if o.Progress == nil {
		o.Progress = io.Discard
	}
	if o.FtgwPath == "" {
		self, err := os.Executable()
		if err != nil {
			return Report{}, fmt.Errorf("drill: %w", err)
		}
		o.FtgwPath = self
	}
	if err := o.Setting.Check(); err != nil {
		return Report{}, fmt.Errorf("drill: %w", err)
	}
	begin := time.Now()
	report := Report{Passed: true, Seed: o.Seed, Mode: string(o.Setting.mode()), DualRole: o.Setting.DualRole}
	fmt.Fprintf(o.Progress, "ftgw drill: %d scenarios, %v, seed %d\n", len(o.Scenarios), o.Setting, o.Seed)
	var err error
	for i, s := range o.Scenarios {
		fmt.Fprintf(o.Progress, "\n[%d/%d] %s\n  %s\n", i+1, len(o.Scenarios), s.Name, s.About)
		if why := o.Setting.Never(s.Name); why != "" {
			fmt.Fprintf(o.Progress, "  not played: %s\n", why)
			report.Scenarios = append(report.Scenarios, Result{Scenario: s.Name, Paper: s.Paper, About: s.About, Passed: true, Never: why})
			continue
		}
		var x Result
		x, err = play(ctx, s, o)
		x.WriteText(o.Progress, o)
		report.Scenarios = append(report.Scenarios, x)
		report.Passed = report.Passed && x.Passed
		if err != nil || ctx.Err() != nil {
			break
		}
	}
	report.Passed = report.Passed && err == nil && ctx.Err() == nil
	report.TookMS = ms(time.Since(begin))
	switch {
	case ctx.Err() != nil:
		return report, fmt.Errorf("drill: %w", context.Cause(ctx))
	case err != nil:
		return report, fmt.Errorf("drill: %w", err)
	case !report.Passed:
		return report, fmt.Errorf("drill: %w", ErrBroken)
	}
	played := slices.DeleteFunc(slices.Clone(report.Scenarios), func(x Result) bool { return x.Never != "" })
	fmt.Fprintf(o.Progress, "\nall %d scenarios kept the promise, %.0f s\n", len(played), report.TookMS/1000)
	if n := len(report.Scenarios) - len(played); n > 0 {
		fmt.Fprintf(o.Progress, "%d were not played: they do not occur in %v\n", n, o.Setting)
	}
	return report, nil
}

// play plays the rounds of one scenario. The error is that of a lab that could not be taken
// down; what goes wrong in a round is the round's result.
func play(ctx context.Context, s Scenario, o Options) (x Result, err error) {
	x = Result{Scenario: s.Name, Paper: s.Paper, About: s.About}
	rounds := max(1, s.Rounds)
	if o.Rounds > 0 {
		rounds = o.Rounds
	}
	p := &pair{program: o.FtgwPath, setting: o.Setting, scenario: s}
	defer func() { err = errors.Join(err, p.discard()) }()
	for n := range rounds {
		if ctx.Err() != nil {
			break
		}
		r := p.round(ctx, n, o.Seed)
		if ctx.Err() != nil {
			break // it failed for want of time, which is no news
		}
		for again := 1; r.missed && again < attempts; again++ {
			fmt.Fprintf(o.Progress, "  round %d again: %s\n", n+1, strings.Join(r.Reasons, "; "))
			if err := os.RemoveAll(r.Evidence); err != nil {
				return x, err
			}
			r = p.round(ctx, n, o.Seed)
		}
		x.Rounds = append(x.Rounds, r)
		r.WriteText(o.Progress, rounds)
		if !r.Passed {
			if err := p.discard(); err != nil {
				return x, err
			}
		}
	}
	x.sum()
	return x, nil
}

// round plays one round and keeps the evidence if it failed.
func (p *pair) round(drill context.Context, n int, seed uint64) (out RoundResult) {
	ctx, cancel := context.WithTimeoutCause(drill, roundLimit, fmt.Errorf("the round took longer than %v", roundLimit))
	defer cancel()
	begin := time.Now()
	dir, err := os.MkdirTemp("", "ftgw-drill-"+strings.ReplaceAll(p.scenario.Name, "/", "-")+"-")
	if err != nil {
		return RoundResult{Round: n, Reasons: []string{err.Error()}}
	}
	r := &Round{Number: n, Rand: roundRand(seed, p.scenario.Name, n), Report: &client.Report{}, Rules: strict(), program: p.program, startApp: p.startApp, begin: begin}
	out = p.playRound(ctx, r, dir)
	out.TookMS = ms(time.Since(begin))
	if out.Passed || p.lab == nil || drill.Err() != nil {
		err = os.RemoveAll(dir)
	} else {
		r.Lab = p.lab
		out.Evidence = dir
		err = r.keep(dir, out)
	}
	if err != nil {
		out.Passed, out.Reasons = false, append(out.Reasons, err.Error())
	}
	return out
}

func (p *pair) playRound(ctx context.Context, r *Round, dir string) RoundResult {
	broken := func(err error) RoundResult {
		return RoundResult{Round: r.Number, Reasons: []string{err.Error()}, Injected: r.injections()}
	}
	if err := p.prepare(ctx, r); err != nil {
		return broken(err)
	}
	r.Client = r.clients()
	w, err := startWatch(r, dir, !p.scenario.Untapped)
	if err != nil {
		return broken(err)
	}
	r.begin = time.Now()
	return r.judge(ctx, w, p.scenario.Run(ctx, r))
}

// roundRand depends on nothing but its arguments, so that one round can be played again.
func roundRand(seed uint64, scenario string, n int) *rand.Rand {
	h := fnv.New64a()
	io.WriteString(h, scenario) // cannot fail
	return rand.New(rand.NewPCG(seed, h.Sum64()+uint64(n)))
}
