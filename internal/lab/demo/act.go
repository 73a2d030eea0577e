package demo

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ftgw/ftgw/internal/lab"
	"github.com/ftgw/ftgw/internal/lab/client"
)

// The load of an act. The crash comes while the download has most of its way to go.
const (
	downloadSize = 24 << 20               // bytes
	downloadRate = 6 << 20                // bytes a second
	slowDelay    = 700 * time.Millisecond // of each slow request
	slowClients  = 4
	crashAfter   = 1200 * time.Millisecond
	startLimit   = 15 * time.Second // until the pair is in duplex
)

// Kinds of requests; the id of a request begins with its kind.
const (
	kindDownload = "download"
	kindSlow     = "slow"
	kindSeries   = "series"
)

// act is one crash of one host of a fresh pair.
type act struct {
	number            int
	crashed, survivor string        // host names
	role              string        // of the one that crashes
	patience          time.Duration // for one request; longer is a hang
}

// play runs the act. The error says how the promise was broken, or why there was no act.
func (a act) play(ctx context.Context, o Options, say *teller) (outcome Outcome, err error) {
	outcome = Outcome{Crashed: a.crashed, Survivor: a.survivor, Role: a.role}
	say.line("\nAct %d: host %s, the %s, crashes", a.number, a.crashed, a.role)
	say.begin = time.Now()
	l, err := lab.New(lab.Options{CongestionControl: "cubic"})
	if err != nil {
		return outcome, err
	}
	defer func() {
		if err != nil && ctx.Err() == nil {
			l.Logs(say.out)
		}
		err = errors.Join(err, l.Close())
	}()
	started, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	if err := l.StartPair(started, o.FtgwPath, lab.Config{}); err != nil {
		return outcome, err
	}
	say.event("a is primary, b is backup, in sync; %s is served in duplex", lab.Advertised)
	dead, survivor := l.A, l.B
	if a.crashed == lab.NameB {
		dead, survivor = l.B, l.A
	}
	crash, report, err := a.loadAndCrash(ctx, l, dead, say)
	if err != nil {
		return outcome, err
	}
	outcome.Client = report.Summary()
	outcome.PausesMS = make(map[string]float64)
	for _, r := range report.Results() {
		if r.OK() && r.End.After(crash) {
			outcome.AfterCrash++
		}
		kind, _, _ := strings.Cut(r.ID, "-")
		outcome.PausesMS[kind] = max(outcome.PausesMS[kind], float64(r.Pause.Microseconds())/1000)
	}
	outcome.Takeover, outcome.ClaimMS, err = takeover(ctx, survivor, crash)
	say.outcome(outcome)
	return outcome, errors.Join(err, a.verdict(report, outcome))
}

// verdict says whether the promise was kept.
func (a act) verdict(report *client.Report, o Outcome) error {
	if err := report.Err(); err != nil {
		return fmt.Errorf("the promise was broken: %w", err)
	}
	if o.AfterCrash == 0 {
		return errors.New("the promise was broken: nothing was answered after the crash")
	}
	return nil
}

// loadAndCrash makes the requests, crashes the host in the middle, and waits for the end of
// what was going on.
func (a act) loadAndCrash(ctx context.Context, l *lab.Lab, dead *lab.Host, say *teller) (time.Time, *client.Report, error) {
	report := &client.Report{}
	c := &client.Client{Namespace: l.Client, Target: lab.Advertised, Timeout: a.patience}
	var over atomic.Bool // the download has ended: nobody begins another request
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { download(ctx, c, report); over.Store(true) })
	for k := range slowClients {
		wg.Go(func() {
			c.Repeat(ctx, 0, func(i int) (client.Request, bool) {
				return client.Slow(fmt.Sprintf("%s-%d-%d", kindSlow, k, i), slowDelay), !over.Load()
			}, report)
		})
	}
	wg.Go(func() {
		c.Repeat(ctx, time.Millisecond, func(i int) (client.Request, bool) {
			return client.Bytes(fmt.Sprintf("%s-%d", kindSeries, i), 4096), !over.Load()
		}, report)
	})
	say.event("client: a download of %d MB, %d connections with slow requests, a keep-alive series", downloadSize>>20, slowClients)
	select {
	case <-time.After(crashAfter):
	case <-ctx.Done():
		return time.Time{}, report, ctx.Err()
	}
	crash := time.Now()
	err := dead.Crash()
	say.event("host %s has crashed: its cable is dead and every process on it killed", dead.Name)
	wg.Wait()
	say.event("client: done")
	return crash, report, errors.Join(err, ctx.Err())
}

// download reads slower than the server could send, with a small buffer, so that it is in
// the middle of its reply when the host crashes and feels every pause.
func download(ctx context.Context, c *client.Client, report *client.Report) {
	r := client.Bytes(kindDownload, downloadSize)
	r.Rate = downloadRate
	conn, err := c.Dial(ctx)
	if err != nil {
		report.Add(client.Result{ID: r.ID, Failure: client.Connect, Err: err.Error()})
		return
	}
	defer conn.Close()
	conn.TCP().SetReadBuffer(256 << 10) // refused only on a closed socket, which Do reports
	report.Add(conn.Do(ctx, r))
}

// takeover asks the survivor what it did. A node that tells nothing is no broken promise.
func takeover(ctx context.Context, survivor *lab.Host, crash time.Time) (*lab.Takeover, float64, error) {
	s, err := survivor.Status(ctx)
	if err != nil {
		return nil, 0, err
	}
	if len(s.Services) == 0 || s.Services[0].LastTakeover == nil {
		return nil, 0, nil
	}
	t := s.Services[0].LastTakeover
	if t.At.IsZero() {
		return t, 0, nil
	}
	return t, float64(t.At.Sub(crash).Microseconds()) / 1000, nil
}
