package drill

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ftgw/ftgw/internal/crashpoint"
	"github.com/ftgw/ftgw/internal/lab"
	"github.com/ftgw/ftgw/internal/lab/client"
)

// takeoverSteps are the points at which a survivor may die in the middle of its claim.
var takeoverSteps = [...]crashpoint.Point{crashpoint.EpochWritten, crashpoint.Promoted, crashpoint.GateOpen,
	crashpoint.Announced, crashpoint.Released}

// crashes returns the scenarios in which more than one process dies.
func crashes() []Scenario {
	return []Scenario{{
		Name: "process/pause-during-takeover", Rounds: len(takeoverSteps),
		About: "one host dies, the survivor stands still for 150 ms in the middle of its claim, each round at another step, and goes on",
		Run:   func(ctx context.Context, r *Round) error { return r.midClaim(ctx, false) },
	}, {
		Name: "process/crash-during-takeover", Rounds: len(takeoverSteps),
		About: "one host dies, and the survivor in the middle of its claim, each round at another step; no client gets a wrong byte, and both serve again when they are started",
		Run:   func(ctx context.Context, r *Round) error { return r.midClaim(ctx, true) },
	}, {
		Name:  "process/survivor-crashes",
		About: "one host dies, and the survivor right after its claim; no client gets a wrong byte, and both serve again when they are started",
		Run:   survivorCrashes,
	}, {
		Name: "process/rejoined-crashes", Rounds: 4,
		About: "the host that came back dies again as soon as there is a pair, or (rounds 3 and 4) the one that had survived; no connection of the pair suffers",
		Run:   rejoinedCrashes,
	}, {
		Name:  "process/lost-connections",
		About: "connections that only the survivor holds, which dies when its peer is back; the newcomer resets them, those that only listen too",
		Run:   lostConnections,
	}}
}

// midClaim has the survivor stop at a step of its claim, then go on or die there.
func (r *Round) midClaim(ctx context.Context, die bool) error {
	step, victim := takeoverSteps[r.Number%len(takeoverSteps)], r.turn()
	survivor := r.Other(victim)
	if die {
		r.nobodyLeft()
	}
	finish := r.Mixed(ctx)
	defer finish()
	if err := Sleep(ctx, 150*time.Millisecond); err != nil {
		return err
	}
	if err := r.Arm(survivor, step, 1); err != nil {
		return err
	}
	if err := r.Crash(victim, Process); err != nil {
		return err
	}
	if err := r.AwaitStopped(ctx, survivor); err != nil {
		return err
	}
	if die {
		return r.dieToo(ctx, survivor, finish)
	}
	if err := Sleep(ctx, 150*time.Millisecond); err != nil {
		return err
	}
	if err := r.Inject("it goes on", survivor.Node().Cont); err != nil {
		return err
	}
	if err := r.AwaitSole(ctx, survivor); err != nil {
		return err
	}
	finish()
	return nil
}

func survivorCrashes(ctx context.Context, r *Round) error {
	r.nobodyLeft()
	finish := r.Mixed(ctx)
	defer finish()
	if err := Sleep(ctx, 150*time.Millisecond); err != nil {
		return err
	}
	victim := r.turn()
	if err := r.Crash(victim, Process); err != nil {
		return err
	}
	survivor := r.Other(victim)
	if err := r.AwaitSole(ctx, survivor); err != nil {
		return err
	}
	return r.dieToo(ctx, survivor, finish)
}

// dieToo ends the last node, starts both again and shows that they serve.
func (r *Round) dieToo(ctx context.Context, survivor *lab.Host, finish func()) error {
	if err := r.Crash(survivor, Process); err != nil {
		return err
	}
	if err := errors.Join(r.restart(r.A), r.restart(r.B)); err != nil {
		return err
	}
	r.Remark("both are started again")
	finish()
	return r.whole(ctx)
}

// nobodyLeft holds the round to what can be kept when both hosts die: a connection ends (nobody
// remembers it, so a client that only listens has to ask, which it does by its keep-alive), no
// reply is wrong, and who comes later is served.
func (r *Round) nobodyLeft() {
	r.Client.KeepAlive = time.Second
	r.Rules = Rules{Input: true, Switches: 2}
	r.Check(func(s *Seen) error {
		var errs []error
		for _, x := range s.Results {
			ended := slices.Contains([]client.Failure{client.Reset, client.EOF, client.Connect}, x.Failure)
			if !x.OK() && (!ended || x.ID == "new" || x.End.Before(r.struck)) {
				errs = append(errs, errors.New(x.String()))
			}
		}
		return errors.Join(errs...)
	})
}

// restart starts ftgw again on a host where its process has been killed.
func (r *Round) restart(h *lab.Host) error {
	if err := h.Node().Kill(); err != nil {
		return err
	}
	<-h.Node().Done()
	if _, err := disarm(h); err != nil {
		return err
	}
	return startNode(h, r.program)
}

func rejoinedCrashes(ctx context.Context, r *Round) error {
	first := r.turn()
	second := first
	if r.Number%4 > 1 {
		second = r.Other(first)
	}
	if err := r.rejoin(ctx, first); err != nil {
		return err
	}
	finish := r.Mixed(ctx)
	defer finish()
	if err := Sleep(ctx, 100*time.Millisecond); err != nil {
		return err
	}
	if err := r.Crash(second, Process); err != nil {
		return err
	}
	if err := r.AwaitSole(ctx, r.Other(second)); err != nil {
		return err
	}
	if err := Sleep(ctx, 100*time.Millisecond); err != nil {
		return err
	}
	finish()
	return nil
}

// rejoin kills ftgw on a host and brings it back, so that the other becomes the primary and it
// the backup of a new pair.
func (r *Round) rejoin(ctx context.Context, h *lab.Host) error {
	r.Remark("ftgw on " + r.title(h) + " is killed and comes back")
	if err := h.Node().Kill(); err != nil {
		return err
	}
	if err := r.AwaitSole(ctx, r.Other(h)); err != nil {
		return err
	}
	if err := r.restart(h); err != nil {
		return err
	}
	if err := r.whole(ctx); err != nil {
		return err
	}
	for _, s := range r.Services {
		s.Primary, s.Backup = r.Other(h), h
	}
	r.Primary, r.Backup = r.Other(h), h
	r.Rules.Switches = 2  // for what was open all the time
	r.Rules.Input = false // the tap stands where the backup was
	return nil
}

func lostConnections(ctx context.Context, r *Round) error {
	conns, err := r.open(ctx, 6)
	if err != nil {
		return err
	}
	defer closeAll(conns)
	if err := r.rejoin(ctx, r.Primary); err != nil {
		return err
	}
	r.Rules = Rules{Once: true, Switches: 2}
	waiting, sending := conns[:3], conns[3:]
	lost, wait := r.ask(ctx, waiting, func(id string) client.Request { return client.Slow(id, 2*time.Second) })
	defer wait()
	if err := Sleep(ctx, 100*time.Millisecond); err != nil {
		return err
	}
	if err := r.Crash(r.Primary, Process); err != nil {
		return err
	}
	if err := r.AwaitSole(ctx, r.Backup); err != nil {
		return err
	}
	for i, c := range sending {
		id := fmt.Sprintf("sent%d", i)
		lost = append(lost, id)
		r.Report.Add(c.Do(ctx, client.Bytes(id, 5000)))
	}
	wait()
	r.Check(func(s *Seen) error {
		var errs []error
		for _, x := range s.Results {
			switch {
			case !slices.Contains(lost, x.ID):
				if !x.OK() {
					errs = append(errs, errors.New(x.String()))
				}
			case x.Failure != client.Reset || x.End.Sub(x.Start) > 5*time.Second:
				errs = append(errs, fmt.Errorf("want a reset soon: %v", x))
			}
		}
		return errors.Join(errs...)
	})
	r.Report.Add(r.Client.Once(ctx, client.Bytes("newest", 5000)))
	return nil
}
