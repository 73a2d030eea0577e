// Connections that are to be this host's alone, because their replies are not stored.
package main

import (
	"context"
	"errors"
	"time"

	"github.com/ftgw/ftgw/rewrite"
)

const (
	// The peer agrees within a round trip, or is given up, which takes a hang timeout or two.
	agreeWithin = 5 * time.Second
	askAgain    = 250 * time.Millisecond // should the other host have become another process
)

var (
	errFlowGone  = errors.New("the flow is not known any more")
	errNotAgreed = errors.New("the peer has not let go of the flow in time")
)

// Unprotect waits until the peer has let go of the flow, asking it for that.
func (f flows) Unprotect(ctx context.Context, id rewrite.FlowID) error {
	ctx, cancel := context.WithTimeoutCause(ctx, agreeWithin, errNotAgreed)
	defer cancel()
	var asked time.Time
	for wait := 50 * time.Microsecond; ; wait = min(2*wait, 10*time.Millisecond) {
		mode, ok := f.d.mode(id)
		switch {
		case !ok || mode == rewrite.Relay:
			return errFlowGone
		case mode == rewrite.Simplex:
			return nil
		case time.Since(asked) < askAgain:
		case !f.d.unshare(id):
			if f.d.own(id) {
				return nil // since just now
			}
			return errNoVoice
		default:
			asked = time.Now()
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(wait):
		}
	}
}

// unshare asks the peer to let go of a flow; false: this host does not speak for it.
func (d *datapath) unshare(id rewrite.FlowID) (ours bool) {
	d.on(id.Client, func(t *rewrite.Table, o *rewrite.Outcome) { ours = t.Unshare(id, o) })
	return ours
}
