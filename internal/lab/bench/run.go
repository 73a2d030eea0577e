package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/ftgw/ftgw/internal/lab"
	"github.com/ftgw/ftgw/internal/lab/bench/load"
)

// Options of Run.
type Options struct {
	Figures  []Figure
	Rounds   int       // 0: as many as the pace has
	Quick    bool      // two minutes, for a look; the spread tells what it is worth
	Program  string    // its version, for the report
	FtgwPath string    // program that is run on the hosts; empty means this one
	Progress io.Writer // is told what happens; nil: nobody is
}

// pace is how long things take.
type pace struct {
	rounds                     int
	warm, latency, peak, paced time.Duration
}

var (
	full  = pace{5, 400 * time.Millisecond, 1200 * time.Millisecond, 2 * time.Second, 5 * time.Second}
	quick = pace{1, 150 * time.Millisecond, 350 * time.Millisecond, 600 * time.Millisecond, 1500 * time.Millisecond}
)

const (
	peakClients  = 16  // connections of a Peak load
	pacedClients = 64  // of a Paced one, so that one late reply does not keep others waiting
	pacedShare   = 0.7 // of the peak of sync-static
	keepSeries   = 100 // latencies that are kept one by one
	loadLimit    = time.Minute
)

// runner plays the rounds.
type runner struct {
	options Options
	pace    pace
	places  placement
	begin   time.Time
	data    Data
	rate    float64 // of Paced loads, a second
	remarks []string
}

// group is the cells of one system on one site, which are measured on one lab.
type group struct {
	site  Site
	sys   system
	cells []Cell
}

// Run measures what the figures need. It needs a program that may make namespaces (lab.Reexec).
func Run(ctx context.Context, o Options) (Report, error) {
	r, err := newRunner(o)
	if err != nil {
		return Report{}, err
	}
	if err := r.look(ctx); err != nil {
		return Report{}, fmt.Errorf("bench: %w", err)
	}
	groups, missing := grouped(union(o.Figures))
	for _, m := range missing {
		r.remark("%s", m)
	}
	if err := r.calibrate(ctx, groups); err != nil {
		return Report{}, fmt.Errorf("bench: %w", err)
	}
	for round := range r.pace.rounds {
		for i := range groups {
			g := groups[(i+round)%len(groups)] // another order each time
			r.say("round %d of %d, system %d of %d: %s, %s", round+1, r.pace.rounds, i+1, len(groups), g.sys.name, g.site)
			if err := r.measure(ctx, g); err != nil {
				return Report{}, fmt.Errorf("bench: %s, %s: %w", g.sys.name, g.site, err)
			}
		}
	}
	return r.report(), nil
}

func newRunner(o Options) (*runner, error) {
	if o.Progress == nil {
		o.Progress = io.Discard
	}
	if o.FtgwPath == "" {
		self, err := os.Executable()
		if err != nil {
			return nil, fmt.Errorf("bench: %w", err)
		}
		o.FtgwPath = self
	}
	if err := need(union(o.Figures)); err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	all, err := lab.Processors()
	if err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	r := &runner{options: o, pace: full, places: place(all), begin: time.Now(), data: Data{}}
	if o.Quick {
		r.pace = quick
	}
	if o.Rounds > 0 {
		r.pace.rounds = o.Rounds
	}
	r.remark("%v", r.places)
	return r, nil
}

// look remarks on a machine that has other things to do.
func (r *runner) look(ctx context.Context) error {
	const quiet = 0.05
	busy, err := load.Busy(ctx, time.Second)
	if err == nil && busy > quiet {
		r.remark("this machine is not quiet: %.0f %% of its processors were in use before the run", 100*busy)
	}
	return err
}

func (r *runner) say(format string, args ...any) {
	fmt.Fprintf(r.options.Progress, "%5.0f s  "+format+"\n", append([]any{time.Since(r.begin).Seconds()}, args...)...)
}

// remark keeps what the reader of the tables must know, once.
func (r *runner) remark(format string, args ...any) {
	if text := fmt.Sprintf(format, args...); !slices.Contains(r.remarks, text) {
		r.remarks = append(r.remarks, text)
		r.say("%s", text)
	}
}

// grouped sorts cells by system and site, and says which systems there are not.
func grouped(all []Cell) (groups []group, missing []string) {
	for _, s := range systems() {
		for _, site := range []Site{Plain, Dynamic, Shaped} {
			g := group{site: site, sys: s}
			for _, c := range all {
				if c.Site == site && c.System == s.name {
					g.cells = append(g.cells, c)
				}
			}
			if len(g.cells) == 0 {
				continue
			}
			if s.missing != nil {
				if why := s.missing(); why != "" {
					missing = append(missing, fmt.Sprintf("%s is not available: %s", s.name, why))
					continue
				}
			}
			groups = append(groups, g)
		}
	}
	return groups, missing
}

// calibrate finds the rate of the paced loads, if there are any.
func (r *runner) calibrate(ctx context.Context, groups []group) error {
	isPaced := func(c Cell) bool { return c.Load.Kind == Paced }
	i := slices.IndexFunc(groups, func(g group) bool { return g.sys.name == SyncStatic && slices.ContainsFunc(g.cells, isPaced) })
	if i < 0 {
		return nil
	}
	g := groups[i]
	l := g.cells[slices.IndexFunc(g.cells, isPaced)].Load
	l.Kind = Peak
	return r.on(ctx, group{g.site, g.sys, []Cell{{g.site, g.sys.name, l}}}, func(c Cell, s Sample) {
		r.rate = pacedShare * s.PerSecond()
		r.say("%s, %v: %.0f a second, so the fixed rate is %.0f", c.System, c.Load, s.PerSecond(), r.rate)
	})
}

// measure plays one round of a group.
func (r *runner) measure(ctx context.Context, g group) error {
	return r.on(ctx, g, func(c Cell, s Sample) {
		r.data[c] = append(r.data[c], s)
		r.say("  %v: %.0f a second, median %.3f ms", c.Load, s.PerSecond(), s.Quantile(0.5))
	})
}

// on sets a system up, plays its loads and hands on what each gave.
func (r *runner) on(ctx context.Context, g group, take func(Cell, Sample)) (err error) {
	var sizes []int
	for _, c := range g.cells {
		sizes = append(sizes, c.Load.KB)
	}
	s, unsteered, err := newStand(g.site, r.options.FtgwPath, r.places, sizes)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil && ctx.Err() == nil {
			s.Logs(r.options.Progress)
		}
		err = errors.Join(err, s.Close())
	}()
	if unsteered != nil {
		r.remark("packets are received on the sender's processor: %v", unsteered)
	}
	r.remark("congestion control: %s", s.CongestionControl())
	starting, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	targets, err := g.sys.start(starting, s)
	if err != nil {
		return err
	}
	for _, c := range g.cells {
		x, err := r.play(ctx, s, targets, c)
		if err != nil {
			return fmt.Errorf("%v: %w", c.Load, err)
		}
		take(c, x)
	}
	return nil
}

// play runs one load and returns what it gave. It fails if the system did not stay what it was.
func (r *runner) play(ctx context.Context, s *stand, targets []string, c Cell) (x Sample, err error) {
	before, err := s.count(ctx)
	if err != nil {
		return x, err
	}
	if c.Load.Kind == Parts {
		x, err = r.parts(ctx, s, targets, c.Load)
	} else {
		x.Outcome, err = r.drive(ctx, s, targets, c.Load)
	}
	if err == nil && x.Requests == 0 {
		err = errors.New("no reply came")
	}
	if err != nil {
		return x, err
	}
	after, err := s.count(ctx)
	if err != nil {
		return x, err
	}
	if after.state != before.state {
		return x, fmt.Errorf("the system changed while it was measured, from\n%sto\n%s", before.state, after.state)
	}
	x.Again = after.again - before.again
	x.Modes = after.modes
	for mode, n := range before.modes {
		x.Modes[mode] -= n
	}
	return x, nil
}

// drive runs the measuring client in the client's namespace.
func (r *runner) drive(ctx context.Context, s *stand, targets []string, l Load) (o load.Outcome, err error) {
	spec := load.Spec{Targets: targets, Path: s.path(l.KB), Bytes: int64(l.KB) << 10, Fresh: l.Fresh, Warm: r.pace.warm, Keep: keepSeries}
	switch l.Kind {
	case Latency, Parts:
		spec.Conns, spec.For = 1, r.pace.latency
	case Peak:
		spec.Conns, spec.For = peakClients, r.pace.peak
	case Paced:
		spec.Conns, spec.For, spec.Rate = pacedClients, r.pace.paced, r.rate
	}
	if spec.Watch, err = s.processes(); err != nil {
		return o, err
	}
	text, err := json.Marshal(spec)
	if err != nil {
		return o, err
	}
	s.Client.Pin(r.places.client(l.Kind)...)
	p, err := s.Client.Start("load", r.options.FtgwPath, "lab-load", string(text))
	if err != nil {
		return o, err
	}
	ctx, cancel := context.WithTimeout(ctx, loadLimit)
	defer cancel()
	if err := p.Wait(ctx); err != nil {
		return o, fmt.Errorf("%w: %s", err, p.Log())
	}
	out, err := os.ReadFile(p.LogPath())
	if err == nil {
		err = json.Unmarshal(out, &o)
	}
	if err != nil {
		return o, fmt.Errorf("read what the client measured: %w", err)
	}
	return o, nil
}
