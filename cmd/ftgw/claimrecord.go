// The record of the latest claims, step by step, for ftgw status.
package main

import (
	"slices"
	"sync"
	"time"

	"github.com/ftgw/ftgw/internal/crashpoint"
	"github.com/ftgw/ftgw/state"
	"github.com/ftgw/ftgw/takeover"
)

// claimRecord is written by the director's goroutine and read by any. The zero value is empty.
type claimRecord struct {
	mu        sync.Mutex
	takeovers []state.Takeover // the latest last, at most state.MaxTakeovers
	claims    uint64
	decided   time.Time
	deciding  takeover.Epoch
	permitted time.Duration // after decided grant and fence command were there
}

// begin opens the record of a claim that was decided, with its first action.
func (r *claimRecord) begin(a takeover.Action) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if a.Epoch == r.deciding {
		r.permitted = time.Since(r.decided)
		return
	}
	r.decided, r.deciding, r.permitted = time.Now(), a.Epoch, 0
}

func (r *claimRecord) written(a takeover.Action) {
	r.mu.Lock()
	if len(r.takeovers) == state.MaxTakeovers {
		r.takeovers = slices.Delete(r.takeovers, 0, 1)
	}
	t := state.Takeover{Epoch: uint64(a.Epoch), Reason: a.Why, At: r.decided}
	if r.permitted > 0 {
		t.Steps = append(t.Steps, state.TakeoverStep{Name: "permitted", AtMS: float64(r.permitted.Microseconds()) / 1000})
	}
	r.takeovers = append(r.takeovers, t)
	r.claims++
	r.mu.Unlock()
	r.done("epoch-written")
}

// done notes a step of the claim that is carried out now.
func (r *claimRecord) done(step string) {
	crashpoint.Here(crashpoint.Point(step))
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.takeovers) == 0 {
		return
	}
	t := &r.takeovers[len(r.takeovers)-1]
	if n := len(t.Steps); n > 0 && t.Steps[n-1].Name == "released" {
		return
	}
	at := float64(time.Since(r.decided).Microseconds()) / 1000
	t.Steps = append(t.Steps, state.TakeoverStep{Name: step, AtMS: at})
}

// latest returns copies of the records of the latest claims, the newest last, and how many claims
// there were.
func (r *claimRecord) latest() ([]state.Takeover, uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := slices.Clone(r.takeovers)
	for i := range all {
		all[i].Steps = slices.Clone(all[i].Steps)
	}
	return all, r.claims
}
