package link

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Two hosts with a network of their own use it, the other one while it is down, and it again when
// it is back, without losing what was said in between.
func TestOwnPath(t *testing.T) {
	low, high := addrs(t)
	ownLow, ownHigh := addrs(t)
	soon := func(c *Config) { c.RefusedRetry = 50 * time.Millisecond }
	a := newHost(t, "a", low, high, soon, func(c *Config) { c.Own = Path{Self: ownLow, Peer: ownHigh} })
	b := newHost(t, "b", high, low, func(c *Config) { c.Own = Path{Self: ownHigh, Peer: ownLow} })
	at := func(what string, h *host, peer netip.AddrPort, own bool) {
		t.Helper()
		if s := h.Status(); s.At != peer.Addr() || s.Own != own {
			t.Errorf("%s: the session's peer is %v, own %v, want %v, %v", what, s.At, s.Own, peer, own)
		}
	}
	stop := b.start(t)
	a.start(t)
	a.until(t, "a up", func() bool { return a.ups == 1 })
	b.until(t, "b up", func() bool { return b.ups == 1 })
	at("a", a, ownHigh, true)
	at("b", b, ownLow, true)
	stop()
	a.until(t, "a down", func() bool { return len(a.downs) == 1 })

	c := newHost(t, "b", high, low, func(c *Config) { c.Own = Path{Peer: ownLow} }) // it is not on that network now
	c.start(t)
	a.until(t, "a up by the other path", func() bool { return a.ups == 2 })
	at("a", a, high, false)

	late := NewPort(PortConfig{Self: ownHigh, Keys: c.cfg.Keys})
	late.Add(c.Link)
	background(t, late.Run)
	a.until(t, "a up by the better path", func() bool { return a.ups == 3 })
	at("a", a, ownHigh, true)
}

// A course leaves a path that fell silent, comes back to it after pauses that grow, and takes a
// refusal for a process that starts.
func TestCourse(t *testing.T) {
	silent := fmt.Errorf("%w for 1s", errSilent)
	c := newCourse(make([]Path, 2), time.Second)
	step := func(what string, f func(), by int, pause time.Duration) {
		t.Helper()
		if f(); c.by != by || c.pause != pause {
			t.Errorf("%s: path %d, pause %v; want %d, %v", what, c.by, c.pause, by, pause)
		}
	}
	step("reset", func() { c.ended(errors.New("reset")) }, 0, time.Second)
	step("silent", func() { c.ended(silent) }, 1, 2*time.Second)
	step("the other one too", func() { c.ended(silent) }, 0, 2*time.Second)
	step("silent again", func() { c.ended(silent) }, 1, 4*time.Second)
	step("reset there", func() { c.ended(errors.New("reset")) }, 0, 4*time.Second)
	for range refusals {
		step("refused", func() { c.failed(unix.ECONNREFUSED) }, 0, 4*time.Second)
	}
	step("refused for long", func() { c.failed(unix.ECONNREFUSED) }, 1, 4*time.Second)
	step("unreachable", func() { c.failed(unix.EHOSTUNREACH) }, 0, 4*time.Second)
	step("a sound session", func() { c.ended(errors.New("reset")) }, 0, time.Second)
	for range 10 {
		c.by = 0
		c.ended(silent)
	}
	if c.pause != lastReturn {
		t.Errorf("the pause grew to %v", c.pause)
	}
	if c = newCourse(make([]Path, 1), time.Second); c.again() != nil {
		t.Error("a single path is to be returned to")
	}
}
