package main

import (
	"sync"
	"time"
)

// gate is the lease of a group's voice: the director opens and closes it, keepLease renews it.
// When close has returned no renewal that was begun before opens it again, so the peer may be told.
type gate struct {
	mu     sync.Mutex
	change func(open bool) // in the kernel
}

// set opens or closes it.
func (t *gate) set(open bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.change(open)
}

// renew opens it for one more lease, if it may.
func (t *gate) renew(may func() bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !may() {
		return
	}
	t.change(true)
	if !may() { // its time passed meanwhile, perhaps while this process stood still
		t.change(false)
	}
}

func (g *group) Gate(open bool) { g.gate.set(open) }

// changeLease is Gate in the kernel.
func (g *group) changeLease(open bool) {
	if open && g.n.leaving.Load() {
		return
	}
	for _, a := range g.addresses() {
		change := g.n.rules.Revoke
		if open {
			change = g.n.rules.Renew
		}
		err := change(a)
		g.leases.note(open, err, time.Since(g.n.started))
		if err != nil {
			g.log.Error("cannot change the lease", "address", a, "open", open, "error", err)
		}
	}
}

func (l *leases) note(open bool, err error, now time.Duration) {
	switch {
	case err != nil:
		l.failed.Add(1)
	case open:
		l.renewed.Add(1)
		l.last.Store(int64(now))
	default:
		l.last.Store(0)
	}
}
