package link

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ftgw/ftgw/replication"
)

const (
	leastGreeting   = 32 // of each peer address
	greetingPerLink = 4  // a peer that comes back dials all its sessions at once
)

// PortConfig is what NewPort needs.
type PortConfig struct {
	Self netip.AddrPort // the session port
	Own  netip.AddrPort // the same on a network of the nodes' own, see Config.Own; zero: none
	Keys replication.Keys
	// MaxGreeting bounds the connections of one peer address that are in their handshake at
	// once; 0: 32, or four for each link where that is more. Who is no peer never gets so far.
	MaxGreeting int
	Log         *slog.Logger // nil discards
}

// Port listens on this node's session port for all its links: it greets who connects, and gives
// each connection to the link of its group and node. Its methods are safe for concurrent use,
// but Add.
type Port struct {
	cfg       PortConfig
	callers   map[netip.Addr]*caller // by the peer's address; fixed once Run is called
	strangers atomic.Uint64
}

// caller is what may connect from one address.
type caller struct {
	links []*Link       // at least one
	slots chan struct{} // a token for each connection in its handshake
}

// NewPort returns a Port that does nothing until Run.
func NewPort(cfg PortConfig) *Port {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Port{cfg: cfg, callers: map[netip.Addr]*caller{}}
}

// Add lets l's peer connect. It is called before Run.
func (p *Port) Add(l *Link) {
	for _, by := range l.Paths() {
		at := bare(by.Peer.Addr())
		if p.callers[at] == nil {
			p.callers[at] = &caller{}
		}
		p.callers[at].links = append(p.callers[at].links, l)
	}
}

// bare is an address as it is compared: an IPv4 one in its own form, and without zone.
func bare(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }

// Strangers counts the connections that were turned away: from another source, garbage, no hello.
func (p *Port) Strangers() uint64 { return p.strangers.Load() }

// Run listens until ctx ends, and returns nil then; an error where it cannot listen. All its
// goroutines have ended when it returns. The sessions are the links' own and go on; to end both
// in good order end the links first, for a port that refuses means to the peer that this
// process died.
func (p *Port) Run(ctx context.Context) error {
	lc := net.ListenConfig{Control: socketOptions}
	lc.SetMultipathTCP(false)
	var listeners []net.Listener
	for _, at := range []netip.AddrPort{p.cfg.Own, p.cfg.Self} { // as a peer tries them
		if !at.IsValid() {
			continue
		}
		ln, err := lc.Listen(ctx, "tcp", at.String())
		if err != nil {
			for _, ln := range listeners {
				ln.Close()
			}
			return fmt.Errorf("listen for the peers' sessions on %v: %w: is the address this node's, and the port free?", at, err)
		}
		listeners = append(listeners, ln)
	}
	for _, c := range p.callers {
		n := p.cfg.MaxGreeting
		if n <= 0 {
			n = max(leastGreeting, greetingPerLink*len(c.links))
		}
		c.slots = make(chan struct{}, n)
	}
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	for _, ln := range listeners {
		wg.Go(func() { <-ctx.Done(); ln.Close() })
		wg.Go(func() { p.accept(ctx, ln) })
	}
	wg.Wait()
	p.dropHalves()
	return nil
}

// accept greets connections until ctx ends and ln is closed.
func (p *Port) accept(ctx context.Context, ln net.Listener) {
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		nc, err := ln.Accept()
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return
			}
			p.cfg.Log.Error("accept the peers' sessions", "error", err)
			select { // out of descriptors: not a reason to spin
			case <-time.After(lastBackoff):
			case <-ctx.Done():
			}
			continue
		}
		c := p.callers[bare(nc.RemoteAddr().(*net.TCPAddr).AddrPort().Addr())]
		if !c.enter() {
			nc.Close()
			p.strangers.Add(1)
			continue
		}
		wg.Go(func() {
			defer c.leave()
			p.greet(ctx, nc, c)
		})
	}
}

// enter takes a slot; false: this is nobody's address, or all slots are taken.
func (c *caller) enter() bool {
	if c == nil {
		return false
	}
	select {
	case c.slots <- struct{}{}:
		return true
	default:
		return false
	}
}

func (c *caller) leave() { <-c.slots }

// find returns the link that a hello is for; else one that can say why none is, of that group if
// there is one.
func (c *caller) find(h replication.Hello) *Link {
	l := c.links[0]
	for _, k := range c.links {
		switch {
		case k.cfg.Group == h.Group && k.cfg.PeerName == h.Node:
			return k
		case k.cfg.Group == h.Group:
			l = k
		}
	}
	return l
}

// refuse notes why no session comes about with whom the hello says, or with anybody at the
// address where it says nothing that is known here.
func (c *caller) refuse(h replication.Hello, why error) {
	if l := c.find(h); l.cfg.Group == h.Group {
		l.refuse(why)
		return
	}
	for _, l := range c.links {
		l.refuse(why)
	}
}

func (p *Port) dropHalves() {
	for _, c := range p.callers {
		for _, l := range c.links {
			l.half.replace(nil, 0)
		}
	}
}
