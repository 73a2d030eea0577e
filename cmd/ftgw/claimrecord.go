// The record of the latest claim, step by step, for ftgw status.
package main

import (
	"sync"
	"time"

	"github.com/ftgw/ftgw/internal/crashpoint"
	"github.com/ftgw/ftgw/takeover"
)

// claimRecord is written by the director's goroutine and read by any. The zero value is empty.
type claimRecord struct {
	mu        sync.Mutex
	takeover  *Takeover // the latest claim
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
	r.takeover = &Takeover{Epoch: uint64(a.Epoch), Reason: a.Why, At: r.decided}
	if r.permitted > 0 {
		r.takeover.Steps = append(r.takeover.Steps, TakeoverStep{Name: "permitted", AtMS: float64(r.permitted.Microseconds()) / 1000})
	}
	r.mu.Unlock()
	r.done("epoch-written")
}

// done notes a step of the claim that is carried out now.
func (r *claimRecord) done(step string) {
	crashpoint.Here(crashpoint.Point(step))
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.takeover == nil || (len(r.takeover.Steps) > 0 && r.takeover.Steps[len(r.takeover.Steps)-1].Name == "released") {
		return
	}
	at := float64(time.Since(r.decided).Microseconds()) / 1000
	r.takeover.Steps = append(r.takeover.Steps, TakeoverStep{Name: step, AtMS: at})
}

// lastTakeover returns a copy of the record of the latest claim, or nil.
func (r *claimRecord) lastTakeover() *Takeover {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.takeover == nil {
		return nil
	}
	t := *r.takeover
	t.Steps = append([]TakeoverStep(nil), t.Steps...)
	return &t
}
