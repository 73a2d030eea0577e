package main

import (
	"slices"
	"sync/atomic"
	"testing"
	"time"
)

// A renewal that is under way when the gate closes does not open it again: what the peer is told
// next, it may act upon.
func TestGate(t *testing.T) {
	var may atomic.Bool
	may.Store(true)
	var log []bool
	under, on := make(chan struct{}), make(chan struct{})
	g := &gate{change: func(open bool) {
		log = append(log, open)
		if len(log) == 1 {
			close(under)
			<-on
		}
	}}
	renewed, closed := make(chan struct{}), make(chan struct{})
	go func() { g.renew(may.Load); close(renewed) }()
	<-under
	may.Store(false)
	go func() { g.set(false); close(closed) }()
	select {
	case <-closed:
		t.Error("closed while a renewal is under way")
	case <-time.After(20 * time.Millisecond):
	}
	close(on)
	<-renewed
	<-closed
	g.renew(may.Load)
	if want := []bool{true, false, false}; !slices.Equal(log, want) {
		t.Errorf("opened %v, want %v", log, want)
	}
}
