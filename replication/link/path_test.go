package link

import (
	"net/netip"
	"testing"
)

// Two hosts with a network of their own use it, and the other one while it is down.
func TestOwnPath(t *testing.T) {
	low, high := addrs(t)
	ownLow, ownHigh := addrs(t)
	a := newHost(t, "a", low, high, func(c *Config) { c.Own = Path{ownLow, ownHigh} })
	b := newHost(t, "b", high, low, func(c *Config) { c.Own = Path{ownHigh, ownLow} })
	at := func(what string, h *host, peer netip.AddrPort) {
		t.Helper()
		if got := h.Status().At; got != peer.Addr() {
			t.Errorf("%s: the session's peer is %v, want %v", what, got, peer.Addr())
		}
	}
	stop := b.start(t)
	a.start(t)
	a.until(t, "a up", func() bool { return a.ups == 1 })
	b.until(t, "b up", func() bool { return b.ups == 1 })
	at("a", a, ownHigh)
	at("b", b, ownLow)
	if refused, err := a.Link.Probe(t.Context()); refused || err != nil {
		t.Errorf("a peer that listens on both: refused %v, %v", refused, err)
	}
	stop()
	a.until(t, "a down", func() bool { return len(a.downs) == 1 })
	if refused, err := a.Link.Probe(t.Context()); !refused {
		t.Errorf("a peer that listens on neither: refused %v, %v", refused, err)
	}

	c := newHost(t, "b", high, low, func(c *Config) { c.Own = Path{Peer: ownLow} }) // it is not on that network any more
	c.start(t)
	a.until(t, "a up by the other path", func() bool { return a.ups == 2 })
	at("a", a, high)
}
