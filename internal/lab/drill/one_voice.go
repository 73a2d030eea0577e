package drill

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ftgw/ftgw/internal/lab"
	"github.com/ftgw/ftgw/internal/lab/client"
)

// oneVoices returns the scenarios that mix faults at random and ask who speaks.
func oneVoices() []Scenario {
	const about = "%s, one to four faults at random that overlap, in random order and for random times (a cable pulled, the hosts apart%s, " +
		"ftgw standing still or killed, the nftables rules flushed), under traffic of every kind: never do two hosts speak for a connection%s; after the heals the pair is back and serves"
	return []Scenario{{
		Name: "one-voice", Rounds: 4, Untapped: true, Config: lab.Config{Witness: true},
		About: fmt.Sprintf(about, "with a witness", ", a host cut from the witness", ""),
		Run:   func(ctx context.Context, r *Round) error { return (&fray{Round: r, witness: true}).run(ctx) },
	}, {
		Name: "one-voice-alone", Rounds: 4, Untapped: true,
		About: fmt.Sprintf(about, "without a witness", "", ", but while both serve because they were apart, and then the lower epoch gives way"),
		Run:   func(ctx context.Context, r *Round) error { return (&fray{Round: r}).run(ctx) },
	}, {
		Name: "one-voice-own-network", Rounds: 2, Untapped: true, Options: lab.Options{Apart: true},
		About: fmt.Sprintf(about, "with a network of the hosts' own and without a witness", " on the clients' network", ""),
		Run:   func(ctx context.Context, r *Round) error { return (&fray{Round: r, own: true}).run(ctx) },
	}}
}

// fray is one round of faults that overlap.
type fray struct {
	*Round
	witness bool
	own     bool     // there is a network of the hosts' own
	deaths  []death  // of ftgw, by SIGKILL
	apart   []period // when the hosts did not reach each other and nothing else was the matter
}

// decidable reports whether hosts that do not reach each other can be told from dead ones.
func (f *fray) decidable() bool { return f.witness || f.own }

// run plays the round: everything may end but the one voice.
func (f *fray) run(ctx context.Context) error {
	f.Rules = Rules{Switches: -1}
	if f.witness {
		if err := f.witnessed(ctx); err != nil {
			return err
		}
	}
	conns, err := f.open(ctx, 4)
	if err != nil {
		return err
	}
	defer closeAll(conns)
	traffic, stop := context.WithCancel(ctx)
	l := f.load(traffic)
	l.name = fmt.Sprintf("round%d-", f.Number) // what is canceled may be executed in the next one
	l.mixed()
	defer func() { stop(); l.finish() }()
	if err := Sleep(ctx, 150*time.Millisecond); err != nil {
		return err
	}
	strokes := f.plan()
	// Both may execute what they both hold; and a process may stand still between its last look
	// around and its request to the web server, which then comes when the other host has answered.
	f.Rules.Once = !slices.ContainsFunc(strokes, func(s stroke) bool { return s.kind == still || s.kind == apart && !f.decidable() })
	if err := f.strike(ctx, strokes); err != nil {
		return err
	}
	if err := f.reunited(ctx); err != nil {
		return err
	}
	f.remark("in duplex")
	f.use(ctx, conns)
	f.Report.Add(f.Client.Once(ctx, client.Bytes(newDownload, 5000)), f.Client.Once(ctx, client.Upload(newUpload, 5000)))
	f.Check(f.judge)
	return nil
}

// use makes a request on connections that were idle all the time. One that has died unseen says
// nothing for a while, which is not waited for; its kernel says it again in the next round perhaps.
func (f *fray) use(ctx context.Context, conns []*client.Conn) {
	ctx, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
	defer cancel()
	_, wait := f.ask(ctx, conns, func(id string) client.Request {
		return client.Bytes(fmt.Sprintf("round%d-%s", f.Number, id), 5000)
	})
	wait()
}

// strike carries out the strokes and their ends by time.
func (f *fray) strike(ctx context.Context, strokes []stroke) error {
	var all []moment
	for _, s := range strokes {
		all = append(all, f.moments(s)...)
	}
	slices.SortStableFunc(all, func(a, b moment) int { return int(a.at - b.at) })
	begin := time.Now()
	for _, m := range all {
		if err := Sleep(ctx, time.Until(begin.Add(m.at))); err != nil {
			return err
		}
		if err := f.Inject(m.what, m.act); err != nil {
			return err
		}
	}
	return nil
}

// reunited waits until the hosts are a pair that both see alike.
func (f *fray) reunited(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, healedWait)
	defer cancel()
	for {
		if err := f.AwaitDuplex(ctx); err != nil {
			return fmt.Errorf("after the heals: %w", err)
		}
		ofA, errA := states(ctx, f.A)
		ofB, errB := states(ctx, f.B)
		if errA == nil && errB == nil && !slices.ContainsFunc(f.Services, func(s *Service) bool { return !agree(ofA[s.Name], ofB[s.Name]) }) {
			return nil
		}
		if err := Sleep(ctx, 5*time.Millisecond); err != nil {
			return fmt.Errorf("after the heals the hosts do not agree: %+v, %+v", ofA, ofB)
		}
	}
}

func agree(a, b lab.ServiceStatus) bool {
	return a.InSync && b.InSync && a.Owner == b.Owner && a.Owner != "" && a.Epoch == b.Epoch && a.Role != b.Role
}

// witnessed is startWitness where the witness may run from the round before.
func (f *fray) witnessed(ctx context.Context) error {
	if n := f.Witness.Node(); n != nil && !n.Exited() {
		warned := false
		for _, h := range []*lab.Host{f.A, f.B, f.Witness} {
			s, err := h.Status(ctx)
			warned = warned || err != nil || len(s.Warnings) > 0
		}
		if !warned {
			return nil
		}
	}
	return startWitness(ctx, f.Round)
}

// sound allows a connection to end, and no reply to be wrong. Who comes when the pair is back is
// served. While both hosts serve they may both make a reply, and a client that is sent from one to
// the other has parts of each.
func (f *fray) sound(s *Seen, both bool) error {
	allowed := []client.Failure{client.Reset, client.EOF, client.Timeout, client.Connect}
	if both {
		allowed = append(allowed, client.Digest, client.Protocol)
	}
	var bad []error
	for _, x := range s.Results {
		isNew := x.ID == newDownload || x.ID == newUpload
		if !x.OK() && (isNew || !slices.Contains(allowed, x.Failure)) {
			bad = append(bad, errors.New(x.String()))
		}
	}
	return errors.Join(bad...)
}

// judge holds the hosts' own frames to I3, each service's to the turns of its group; see voice.go.
func (f *fray) judge(s *Seen) error {
	if s.Missed != nil {
		return fmt.Errorf("%w: %w", ErrMissed, s.Missed)
	}
	if f.decidable() {
		f.apart = nil
	}
	var errs []error
	unjudged := 0
	for _, v := range f.Services {
		n, err := f.judgeService(v, s)
		unjudged += n
		errs = append(errs, err)
	}
	return errors.Join(append(errs, f.sound(s, unjudged > 0))...)
}

// judgeService returns how many frames were not judged.
func (f *fray) judgeService(of *Service, s *Seen) (unjudged int, err error) {
	h, err := f.readHistory(of, f.deaths)
	if err != nil {
		return 0, err
	}
	undecided, err := h.undecided(f.apart)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", of.Name, err)
	}
	v := judgeVoices(s.Ports, of.At, h.turns, undecided)
	for _, t := range h.turns {
		f.remark(of.Name + ": " + t.String())
	}
	f.remark(fmt.Sprintf("%s: %d connections, %d frames from the advertised address, the voice changed %d times in %d turns; %d frames while nobody could tell who should speak",
		of.Name, v.Connections, v.Frames, v.Changes, len(h.turns), v.Unjudged))
	if v.Frames == 0 {
		return 0, fmt.Errorf("%w: nothing was heard of %s", ErrMissed, of.Name)
	}
	if n := len(v.Faults); n > 0 {
		err = fmt.Errorf("one voice (I3) of %s: %d violations:\n%s", of.Name, n, strings.Join(v.Faults[:min(n, 5)], "\n"))
	}
	return v.Unjudged, err
}
