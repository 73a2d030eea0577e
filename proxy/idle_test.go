package proxy

import (
	"sync/atomic"
	"testing"

	"github.com/ftgw/ftgw/rewrite"
)

// A connection that is told to look again whether it should end, just after it has looked and before
// it waits, looks again all the same.
func TestNudgeBeforeTheWait(t *testing.T) {
	up := newWeb(t)
	var h *host
	var looks atomic.Int32
	ready := make(chan struct{})
	h = newHost(t, Config{Upstream: up.addr(), TurnOver: func(id rewrite.FlowID) bool {
		<-ready
		if looks.Add(1) == 1 {
			h.mu.Lock()
			f := h.table[id]
			h.mu.Unlock()
			f.nudge()
		}
		return false
	}}, Executor, &link{})
	close(ready)
	h.dial(t)
	eventually(t, "a second look", func() bool { return looks.Load() >= 2 })
}
