package drill

import (
	"context"
	"time"
)

// randomCrashes returns the crashes at no particular moment.
func randomCrashes() []Scenario {
	return []Scenario{{
		Name:   "crash-random",
		About:  "either host, or ftgw on it, dies at a random moment under mixed traffic on 16 connections; what died joins again for the next round",
		Rounds: 10,
		Run:    crashRandom,
	}}
}

func crashRandom(ctx context.Context, r *Round) error {
	victim, how := r.A, Host
	if r.Rand.IntN(2) == 1 {
		victim = r.B
	}
	if r.Rand.IntN(2) == 1 {
		how = Process
	}
	moment := 50*time.Millisecond + time.Duration(r.Rand.Int64N(int64(400*time.Millisecond)))

	finish := r.Mixed(ctx)
	defer finish()
	if err := Sleep(ctx, moment); err != nil {
		return err
	}
	if err := r.Crash(victim, how); err != nil {
		return err
	}
	if err := r.AwaitSole(ctx, r.Other(victim)); err != nil {
		return err
	}
	return Sleep(ctx, 100*time.Millisecond)
}
