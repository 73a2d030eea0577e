package main

import (
	"context"
	"testing"
	"time"
)

// The first notice is acted upon at once; a storm of them leaves time to renew the leases.
func TestLookAfter(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	changed, ended, done := make(chan struct{}), make(chan error), make(chan error)
	looks := make(chan time.Time, 100)
	go func() { done <- lookAfter(ctx, changed, ended, func() { looks <- time.Now() }) }()
	began := time.Now()
	for time.Since(began) < 5*calm {
		changed <- struct{}{}
	}
	stop()
	ended <- nil
	if err := <-done; err != nil {
		t.Error(err)
	}
	close(looks)
	last := <-looks
	if waited := last.Sub(began); waited > 500*time.Millisecond {
		t.Errorf("the first look came after %v", waited)
	}
	for at := range looks {
		if pause := at.Sub(last); pause < calm {
			t.Errorf("the next look came %v after the last, want %v between", pause, calm)
		}
		last = at
	}
}
