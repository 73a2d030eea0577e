// A group: the nodes that some services share, as one of them sees it. Everything that is decided
// is decided for a group, by its director; stage.go carries it out, handover.go and leave.go are
// what operators ask of it.
package main

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/ftgw/ftgw/config"
	"github.com/ftgw/ftgw/hook"
	"github.com/ftgw/ftgw/proxy"
	"github.com/ftgw/ftgw/replication"
	"github.com/ftgw/ftgw/replication/link"
	"github.com/ftgw/ftgw/rewrite"
	"github.com/ftgw/ftgw/sockdiag"
	"github.com/ftgw/ftgw/takeover"
	"github.com/ftgw/ftgw/witness"
)

// group is this node's part in one group. Its present peer is the node that it is, or would be,
// in a pair with; the others are spares.
type group struct {
	n        *node
	name     string
	ordinal  int           // place among config.Groups
	nodes    []config.Node // in order
	index    int           // of this node
	log      *slog.Logger
	quiet    *slog.Logger // see node
	services []*service

	dir     *director
	links   []*link.Link // to each other node, by index; nil at this node's own
	peer    atomic.Int32 // index of the present peer; the director's goroutine sets it
	peers   history      // who it was
	witness *witness.Client

	draining atomic.Int32       // hands over, so often at once: connections that only this host holds must end
	ending   atomic.Bool        // ends the service here: all connections must end
	serve    []atomic.Bool      // which nodes say that their web servers are well, by index
	hears    []atomic.Int64     // when this node said the latest that another one has heard, by its index; ns, director's clock
	said     []atomic.Uint64    // the Settings of each node, by index; 0: unknown. See settings.go
	settled  []atomic.Uint64    // which of this node's each was settled with last
	held     []*rewrite.Outcome // between Promote and ReleaseHeld; the director's goroutine only
	rouse    []func()           // likewise
	gate     gate
	leases   leases
	fenced   atomic.Uint64 // times
}

// leases counts renewals of the group's leases, of all its addresses.
type leases struct {
	renewed, failed atomic.Uint64
	last            atomic.Int64 // when one was renewed, ns since the node's start; 0: it was given up
}

// service is one advertised address on this node.
type service struct {
	cfg      config.Service // as of the start: for what a reload does not change
	present  atomic.Pointer[config.Service]
	proxy    *proxy.Server
	listener *net.TCPListener
	stores   stores
	web      atomic.Pointer[way]
	webs     chan *way   // those that a reload puts in its place
	sick     atomic.Bool // the web server, as far as hooks were told
	hooks    *hook.Queue
}

// now is what the config file says of the service at present.
func (v *service) now() *config.Service { return v.present.Load() }

// placeGroups makes the groups that name this node, in the order of the config file.
func placeGroups(n *node) ([]*group, error) {
	var own []*group
	for ordinal, c := range n.cfg.Groups() {
		index := c.Index(n.self.Name)
		if index < 0 {
			continue
		}
		g := &group{n: n, name: c.Name, ordinal: ordinal, nodes: c.Nodes, index: index,
			log: n.log.With("group", c.Name), quiet: n.quiet.With("group", c.Name), links: make([]*link.Link, len(c.Nodes)), serve: make([]atomic.Bool, len(c.Nodes)),
			hears: make([]atomic.Int64, len(c.Nodes)), said: make([]atomic.Uint64, len(c.Nodes)), settled: make([]atomic.Uint64, len(c.Nodes))}
		g.gate.change = g.changeLease
		for _, s := range c.Services {
			v := &service{cfg: s, webs: make(chan *way), hooks: hook.NewQueue(g.quiet.With("service", s.Name))}
			v.present.Store(&s)
			w, err := g.newWeb(v, s)
			if err != nil {
				return nil, err
			}
			v.web.Store(w)
			g.services = append(g.services, v)
		}
		if index == 0 {
			g.peer.Store(1) // as the machine begins
		}
		g.peers.add(n.started, g.target())
		own = append(own, g)
	}
	return own, nil
}

func groupNames(groups []*group) []string {
	var names []string
	for _, g := range groups {
		names = append(names, g.name)
	}
	return names
}

// build makes the group's parts; nothing runs yet.
func (g *group) build(ctx context.Context, keys replication.Keys, undo *undoList) error {
	if err := g.buildDirector(); err != nil {
		return err
	}
	for i := range g.nodes {
		if i != g.index {
			g.links[i] = g.newLink(i, keys)
			g.links[i].Idle(i != g.target())
			g.n.port.Add(g.links[i])
		}
	}
	g.buildWitness(keys)
	for _, v := range g.services {
		if err := g.buildService(ctx, v, undo); err != nil {
			return err
		}
	}
	return nil
}

func (g *group) buildDirector() error {
	t := g.n.cfg.Timing
	_, witnessed := g.n.cfg.Witness()
	c := takeover.Config{Index: g.index, Nodes: len(g.nodes), Witness: witnessed, SuspectAfter: t.SuspectAfter,
		ProbeEvery: t.ProbeEvery, Probes: t.Probes, HangTimeout: t.HangTimeout, Lease: t.Lease, StartWait: t.StartWait}
	for _, o := range g.nodes {
		c.Fences = append(c.Fences, o.Fence != "")
		c.Apart = c.Apart || o.ReplicationAddress.IsValid() // all of a group are on that network, or none
	}
	if err := c.Check(); err != nil {
		return err
	}
	m := takeover.New(c, takeover.State{Boot: g.n.boot, Epoch: g.n.epochs.last[g.name]})
	g.dir = newDirector(m, g.n.started, t.ProbeEvery, min(t.Lease, t.HangTimeout/2), g.index, len(g.nodes), g.log)
	g.dir.stage = g
	return nil
}

// buildService opens a listener. What an earlier run left on the address is destroyed first, so
// that no old socket answers a client.
func (g *group) buildService(ctx context.Context, v *service, undo *undoList) error {
	n, c := g.n, v.cfg
	if k, err := sockdiag.Destroy(c.Advertised); err != nil {
		return err
	} else if k > 0 {
		n.log.Info("destroyed sockets of an earlier run", "address", c.Advertised, "sockets", k)
	}
	forward := netip.AddrPortFrom(n.self.Address, c.Forward)
	closePort, err := holdPort(forward)
	if err != nil {
		return err
	}
	undo.add(closePort)
	l, err := proxy.Listen(ctx, c.Advertised)
	if err != nil {
		return err
	}
	undo.add(func() error { l.Close(); return nil })
	v.listener = l
	settings, err := g.proxyConfig(v, n.cfg, c, n.access.present.of(n.cfg, c))
	if err != nil {
		return err
	}
	v.proxy = proxy.New(settings, flows{n.data}, exchanges{g, v})
	n.data.addService(rewrite.Service{Advertised: c.Advertised, Forward: forward, Peer: g.clonesTo(v),
		MSS: uint16(n.kernel.MTU - 40), Scale: windowScale},
		&lane{news: peerLink{g}, life: g.dir, awake: g.dir.awake})
	return nil
}

// parts starts what the group runs.
func (g *group) parts(part func(func(context.Context) error)) {
	part(g.dir.Run)
	for _, l := range g.links {
		if l != nil {
			part(l.Run)
		}
	}
	if g.witness != nil {
		part(g.witness.Run)
	}
	for _, v := range g.services {
		part(v.serve)
		part(v.hooks.Run)
	}
	part(g.keepHealthy)
}

// post hands an event to the group's director.
func (g *group) post(ev takeover.Event) { g.dir.post(g.n.ctx, ev) }

// target is the index of the present peer.
func (g *group) target() int { return int(g.peer.Load()) }

// link is the session with the present peer.
func (g *group) link() *link.Link { return g.links[g.target()] }

// clonesTo is where the clones of a service go: to the present peer's forwarding port.
func (g *group) clonesTo(v *service) netip.AddrPort {
	return netip.AddrPortFrom(g.nodes[g.target()].Address, v.cfg.Forward)
}

// indexOf returns the place of a node in the group, or -1.
func (g *group) indexOf(name string) int {
	return slices.IndexFunc(g.nodes, func(o config.Node) bool { return o.Name == name })
}

// addresses returns the advertised IP addresses of the group, each once. No other group has any
// of them.
func (g *group) addresses() []netip.Addr {
	var all []netip.Addr
	for _, v := range g.services {
		if a := v.cfg.Advertised.Addr(); !slices.Contains(all, a) {
			all = append(all, a)
		}
	}
	return all
}

// names returns the services' names.
func (g *group) names() string {
	var all []string
	for _, v := range g.services {
		all = append(all, v.cfg.Name)
	}
	return strings.Join(all, ", ")
}

func (g *group) serviceOf(a netip.AddrPort) *service {
	for _, v := range g.services {
		if v.cfg.Advertised == a {
			return v
		}
	}
	return nil
}
