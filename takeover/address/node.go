package address

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// MaxAge is how old a received frame may be when it is read, the lease's length: an older one
// may have waited while this process was stopped.
const MaxAge = 300 * time.Millisecond

// Handler is told what is seen on the interface. Calls come from two goroutines of Run (Link
// from one, all others from the other), must not wait, and may use the Node.
type Handler interface {
	// Frame: another station sent some ARP frame just now. mac is its Ethernet source, sender
	// the address it named as its own, which may be unspecified. A host's kernel sends such
	// frames without its daemon; only one whose sender is an advertised address is the daemon's.
	Frame(mac net.HardwareAddr, sender netip.Addr)
	// Answered: a reply names mac as the station of addr. Frame was called for it before.
	Answered(addr netip.Addr, mac net.HardwareAddr)
	// Foreign: another station claims the address v, which this node owns. Frames older than
	// MaxAge count too.
	Foreign(v netip.Addr, mac net.HardwareAddr)
	// Link: the interface has gained or lost its carrier or was switched. Called with the
	// present state when Run starts.
	Link(up bool)
}

// Config says where and for whom a Node works.
type Config struct {
	Interface string
	Own       netip.Addr // sender of probes; zero: the interface's first IPv4 address

	// Alive reports whether this host may speak for v at this instant: the lease and the loop
	// that renews it are live. It is asked before each answer and announcement, from any
	// goroutine, and must neither wait nor use the Node.
	Alive func(v netip.Addr) bool

	Handler Handler
	Log     *slog.Logger // nil discards
}

// Node is the ARP side of this host on one interface. Its methods are safe for concurrent
// use.
type Node struct {
	cfg    Config
	socket *socket
	link   *linkSocket
	counts counters
	turns  *turns

	// voice is held for reading from the question whether this node may speak for an address
	// to the end of the sending, so that Disown, which holds it for writing, is final.
	voice sync.RWMutex

	mu      sync.Mutex // guards what follows
	mac     net.HardwareAddr
	owned   map[netip.Addr]bool
	waiting map[netip.Addr][]chan net.HardwareAddr
}

// Open opens the sockets in the network namespace of the calling thread. It starts nothing;
// Run does. The caller closes the Node after Run has returned.
func Open(cfg Config) (*Node, error) {
	if cfg.Alive == nil || cfg.Handler == nil {
		return nil, errors.New("open ARP: Alive and Handler must be given")
	}
	ifi, err := net.InterfaceByName(cfg.Interface)
	if err != nil {
		return nil, fmt.Errorf("open ARP on %s: %w (see `ip link` for the interfaces of this host)", cfg.Interface, err)
	}
	if len(ifi.HardwareAddr) != macLen {
		return nil, fmt.Errorf("open ARP on %s: it is no Ethernet interface: set `interface` to one", cfg.Interface)
	}
	if !cfg.Own.IsValid() {
		subnet, err := Subnet(cfg.Interface)
		if err != nil {
			return nil, err
		}
		cfg.Own = subnet.Addr()
	}
	if !cfg.Own.Is4() {
		return nil, fmt.Errorf("open ARP on %s: own address %v is not IPv4", cfg.Interface, cfg.Own)
	}
	s, err := openSocket(ifi)
	if err != nil {
		return nil, err
	}
	l, err := openLinkSocket(ifi.Index)
	if err != nil {
		s.close()
		return nil, err
	}
	n := newNode(cfg)
	n.socket, n.link, n.mac = s, l, slices.Clone(ifi.HardwareAddr)
	return n, nil
}

// newNode makes a Node without sockets.
func newNode(cfg Config) *Node {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Node{
		cfg:     cfg,
		turns:   newTurns(),
		owned:   make(map[netip.Addr]bool),
		waiting: make(map[netip.Addr][]chan net.HardwareAddr),
	}
}

// Close closes the sockets.
func (n *Node) Close() error { return errors.Join(n.socket.close(), n.link.close()) }

// Run answers, announces and reports until ctx ends, and returns nil then. It may be called
// once.
func (n *Node) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	stop := context.AfterFunc(ctx, func() {
		n.socket.interrupt()
		n.link.interrupt()
	})
	defer stop()
	g.Go(func() error { return n.readFrames(ctx) })
	g.Go(func() error { return n.watchLink(ctx) })
	g.Go(func() error { return n.repeat(ctx) })
	return g.Wait()
}

// Own makes this node answer for the address v (IPv4) while Alive says so. It announces
// nothing. Owning twice changes nothing.
func (n *Node) Own(v netip.Addr) error {
	if !v.Is4() {
		return fmt.Errorf("own %v: only IPv4 addresses are answered for", v)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.owned[v] = true
	return nil
}

// Disown makes the node silent about v again: after it has returned, nothing more is sent.
func (n *Node) Disown(v netip.Addr) {
	n.voice.Lock()
	defer n.voice.Unlock()
	n.turns.remove(v)
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.owned, v)
}

// Owns reports whether v is owned.
func (n *Node) Owns(v netip.Addr) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.owned[v]
}

// MAC returns the interface's present Ethernet address.
func (n *Node) MAC() net.HardwareAddr {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.mac
}

// setMAC replaces the address; the old slice may be in use and is left as it is.
func (n *Node) setMAC(mac net.HardwareAddr) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.mac = mac
}

// Addr returns the node's own address, the sender of its probes.
func (n *Node) Addr() netip.Addr { return n.cfg.Own }
