// A node: what a host has once, whatever it serves, and how it starts and stops. What it has for
// each set of nodes that services share is a group, see group.go.
package main

import (
	"context"
	"crypto/rand"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ftgw/ftgw/config"
	"github.com/ftgw/ftgw/internal/defect"
	"github.com/ftgw/ftgw/membership"
	"github.com/ftgw/ftgw/nfq"
	"github.com/ftgw/ftgw/replication"
	"github.com/ftgw/ftgw/replication/link"
	"github.com/ftgw/ftgw/rewrite"
	"github.com/ftgw/ftgw/rules"
	"github.com/ftgw/ftgw/takeover"
	"github.com/ftgw/ftgw/takeover/address"
)

const (
	markSend    = 0x66740001 // may leave this host, see rules.Spec
	markLocal   = 0x66740002 // injected to the local kernel
	queueBase   = 26200
	windowScale = 7 // of every SYN-ACK: 8 MB of window in steps of 128 bytes
)

// node is one running node: all parts, joined.
type node struct {
	reloader
	word    atomic.Uint64 // what the others are told of the settings
	quiet   *slog.Logger  // of what clients, web servers and strangers can cause as often as they like
	self    config.Node
	iface   string
	gateway netip.Addr
	kernel  replication.Kernel
	boot    takeover.Boot
	started time.Time

	groups     []*group
	neighbours neighbours
	data       *datapath
	port       *link.Port // where the others' sessions come in
	gossip     *membership.Cluster
	arp        *address.Node
	rules      *rules.Bundle
	watch      *rules.Watch // over the rules
	repairs    repairs
	socket     net.Listener // operators'
	page       *shown       // the web page and the metrics; nil: off
	epochs     epochFile
	writes     chan epochWrite // to be put on disk, in order
	workers    []*worker
	senders    []*nfq.Sender
	upstreams  int // connections to web servers, at most
	access     accessLogs

	ctx      context.Context // of the run; cancels what the stages have begun
	wg       sync.WaitGroup  // what the stages have begun
	leaving  atomic.Bool
	quit     chan struct{} // asks run to end in good order, as the end of its context does
	quitting sync.Once
	leased   atomic.Int64             // when the leases' keeper last went round, ns since started
	defended map[netip.Addr]time.Time // advertised addresses, the last time; the ARP reader's goroutine only
}

// worker is one queue with its handler.
type worker struct {
	queue nfq.Queue
	in    bool
	since atomic.Int64 // when the batch in hand was begun, ns since the node's start; 0: none is
}

// runNode serves until ctx ends.
func runNode(ctx context.Context, cfg *config.Config, file source, log *slog.Logger) error {
	n := &node{reloader: reloader{cfg: cfg, file: file, log: log}, self: cfg.Self(), started: time.Now(), writes: make(chan epochWrite, 64),
		quit: make(chan struct{}), defended: map[netip.Addr]time.Time{}, access: accessLogs{log: log}}
	n.present.Store(cfg)
	n.word.Store(cfg.Settings())
	n.quiet = quietly(log)
	n.try, n.warn = n.tryConfig, n.settingsWarnings
	var undo undoList
	defer undo.run(log)
	if err := n.build(ctx, &undo); err != nil {
		return err
	}
	return n.run(ctx)
}

// build acquires everything in the order that keeps the advertised addresses silent: fences
// first, then the queues, the rules that point at them, and only then the addresses themselves.
func (n *node) build(ctx context.Context, undo *undoList) error {
	rand.Read(n.boot[:])
	if err := privileged(); err != nil { // first, for who lacks them mostly lacks the socket's directory as well
		return err
	}
	var err error
	if n.socket, err = listenSocket(n.cfg.Socket); err != nil { // before all else: another ftgw may be there
		return err
	}
	undo.add(n.socket.Close)
	var flows int
	if flows, n.upstreams, err = connectionLimits(n.cfg.Limits.MaxFlows, n.log); err != nil {
		return err
	}
	if err := n.place(); err != nil {
		return err
	}
	if n.keys, err = readKeys(n.cfg); err != nil {
		return err
	}
	if n.epochs, err = openEpochs(filepath.Join(n.cfg.StateDir, "epochs")); err != nil {
		return err
	}
	if err := n.preflight(); err != nil {
		return err
	}
	if err := keepReports(n.cfg.StateDir, n.log); err != nil {
		return err
	}
	if n.page, err = listenPage(n.cfg.Metrics, undo); err != nil {
		return err
	}
	logs, err := n.access.prepare(n.cfg, n.services(n.cfg))
	if err != nil {
		return err
	}
	n.access.adopt(logs)
	n.data = newDatapath(n.keys.ISS[:], flowLimits(n.cfg, flows), n.quiet)
	if err := n.buildPackets(undo); err != nil {
		return err
	}
	n.port = link.NewPort(link.PortConfig{Self: netip.AddrPortFrom(n.self.Address, n.cfg.SessionPort),
		Own: replicationPort(n.self, n.cfg.SessionPort), Keys: n.keys, Log: n.quiet})
	for _, g := range n.groups {
		if err := g.build(ctx, n.keys, undo); err != nil {
			return err
		}
	}
	n.arp, err = address.Open(address.Config{Interface: n.iface, Own: n.self.Address,
		Alive: n.mayAnswer, Handler: wire{n}, Log: n.quiet})
	if err != nil {
		return err
	}
	undo.add(n.arp.Close)
	n.gossip, err = n.newGossip(n.keys)
	return err
}

// run starts every part and waits for all of them. At the end the peers are told first, the
// gate closed before.
func (n *node) run(ctx context.Context) error {
	all, run := errgroup.WithContext(context.WithoutCancel(ctx))
	stopped, stop := context.WithCancel(run)
	n.ctx = stopped
	defer n.access.write(ctx)()
	defer n.wg.Wait()
	defer stop()
	all.Go(func() error { // ends the run: in good order when that is asked for, at once when a part fails
		defer defect.Guard()
		select {
		case <-ctx.Done():
			n.farewell(false)
		case <-n.quit: // drain --force has done what it could in its time
			n.farewell(true)
		case <-run.Done():
		}
		n.silence()
		stop()
		return nil
	})
	part := func(f func(context.Context) error) {
		all.Go(func() error { defer defect.Guard(); return f(stopped) })
	}
	for _, w := range n.workers {
		part(func(ctx context.Context) error { return w.queue.Run(ctx, n.watched(w)) })
	}
	part(n.port.Run)
	part(n.gossip.Run)
	part(n.arp.Run)
	part(n.keepEpochs)
	part(n.keepLease)
	part(n.keepRules)
	part(n.keepFlows)
	part(n.keepReloading)
	for _, p := range n.neighbours.list {
		part(func(ctx context.Context) error { return n.resolve(ctx, p) })
	}
	for _, g := range n.groups {
		g.parts(part)
	}
	part(func(ctx context.Context) error {
		return n.page.serve(ctx, n.status, n.log)
	})
	part(func(ctx context.Context) error {
		return serveSocket(ctx, n.socket, answers{n.status, n.ledger, n.routes, n.resetRoutes, n.flows, n.switchover, n.drain, n.reload})
	})
	part(n.keepSupervisor)
	n.log.Info("node runs", "node", n.self.Name, "groups", groupNames(n.groups), "interface", n.iface, "gateway", n.gateway)
	return all.Wait()
}

// begin runs f in a goroutine that run waits for.
func (n *node) begin(f func(context.Context)) {
	n.wg.Go(func() { defer defect.Guard(); f(n.ctx) })
}

// services returns what a config says of the services of this node.
func (n *node) services(cfg *config.Config) []config.Service {
	return slices.DeleteFunc(slices.Clone(cfg.Services), func(s config.Service) bool { return !s.Has(n.self.Name) })
}

func flowLimits(cfg *config.Config, flows int) rewrite.Limits {
	return rewrite.Limits{Flows: flows, HalfOpen: cfg.Limits.MaxHalfOpen, Hold: cfg.Timing.ConfirmTimeout, Early: rewrite.DefaultLimits.Early}
}

// groupOf returns the group that has an advertised IP address, or nil.
func (n *node) groupOf(a netip.Addr) *group {
	for _, g := range n.groups {
		for _, v := range g.services {
			if v.cfg.Advertised.Addr() == a {
				return g
			}
		}
	}
	return nil
}

// mayAnswer reports whether who-has for an advertised address may be answered now.
func (n *node) mayAnswer(a netip.Addr) bool {
	g := n.groupOf(a)
	return g != nil && g.dir.mayAnswer()
}

// addresses returns the advertised IP addresses of this node, each once.
func (n *node) addresses() []netip.Addr {
	var all []netip.Addr
	for _, g := range n.groups {
		all = append(all, g.addresses()...)
	}
	return all
}
