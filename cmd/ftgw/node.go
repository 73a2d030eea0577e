package main

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ftgw/ftgw/config"
	"github.com/ftgw/ftgw/membership"
	"github.com/ftgw/ftgw/nfq"
	"github.com/ftgw/ftgw/proxy"
	"github.com/ftgw/ftgw/replication"
	"github.com/ftgw/ftgw/replication/link"
	"github.com/ftgw/ftgw/rewrite"
	"github.com/ftgw/ftgw/rules"
	"github.com/ftgw/ftgw/takeover"
	"github.com/ftgw/ftgw/takeover/address"
	"github.com/ftgw/ftgw/witness"
)

const (
	markSend    = 0x66740001 // may leave this host, see rules.Spec
	markLocal   = 0x66740002 // injected to the local kernel
	queueBase   = 26200
	windowScale = 7 // of every SYN-ACK: 8 MB of window in steps of 128 bytes
)

// drainFor bounds how long a node that is asked to stop waits for its exchanges.
const drainFor = 15 * time.Second

var errNotBackup = errors.New("this host is not the backup of that epoch")

// node is one running node: all parts, joined.
type node struct {
	cfg      *config.Config
	log      *slog.Logger
	self     config.Node
	peer     config.Node
	pair     string // as the witness calls it
	iface    string
	gateway  netip.Addr
	kernel   replication.Kernel
	boot     takeover.Boot
	started  time.Time
	services []*service

	data    *datapath
	dir     *director
	port    *link.Port
	link    *link.Link
	gossip  *membership.Cluster
	witness *witness.Client // nil: there is none
	arp     *address.Node
	rules   *rules.Bundle
	socket  net.Listener // operators'
	epochs  epochFile
	writes  chan takeover.Epoch // to be put on disk, in order
	workers []worker

	ctx context.Context // of the run; cancels what the stage has begun
	wg  sync.WaitGroup  // what the stage has begun
	mac struct {
		sync.Mutex
		addr   string
		doubts int       // answers in a row that name another one
		since  time.Time // the first of them
		asking bool
	}
	defended time.Time // an advertised address, the last time; the ARP reader's goroutine only
	leaving  atomic.Bool
	draining atomic.Bool        // hands over: connections that only this host holds must end
	held     []*rewrite.Outcome // between Promote and ReleaseHeld; the director's goroutine only
}

// service is one advertised address on this node.
type service struct {
	cfg      config.Service
	proxy    *proxy.Server
	listener *net.TCPListener
	upstream upstreamHealth
}

// worker is one queue with its handler.
type worker struct {
	queue nfq.Queue
	in    bool
}

// runNode serves until ctx ends.
func runNode(ctx context.Context, cfg *config.Config, log *slog.Logger) error {
	n := &node{cfg: cfg, log: log, self: cfg.Self(), started: time.Now(), writes: make(chan takeover.Epoch, 64)}
	var undo undoList
	defer undo.run(log)
	if err := n.build(ctx, &undo); err != nil {
		return err
	}
	return n.run(ctx)
}

// build acquires everything in the order that keeps the advertised address silent: fences
// first, then the queues, the rules that point at them, and only then the address itself.
func (n *node) build(ctx context.Context, undo *undoList) error {
	rand.Read(n.boot[:])
	var err error
	if n.socket, err = listenSocket(n.cfg.Socket); err != nil { // first: another ftgw may be there
		return err
	}
	undo.add(n.socket.Close)
	if err := n.place(); err != nil {
		return err
	}
	secret, err := config.ReadSecret(n.cfg.SecretFile)
	if err != nil {
		return err
	}
	keys, err := replication.DeriveKeys(secret)
	if err != nil {
		return err
	}
	if n.epochs, err = openEpochs(filepath.Join(n.cfg.StateDir, "epoch")); err != nil {
		return err
	}
	if err := n.preflight(); err != nil {
		return err
	}
	n.data = newDatapath(keys.ISS[:], rewrite.Limits{Flows: n.cfg.Limits.MaxFlows,
		HalfOpen: n.cfg.Limits.MaxHalfOpen, Hold: n.cfg.Timing.ConfirmTimeout, Early: rewrite.DefaultLimits.Early}, n.log)
	if err := n.buildPackets(undo); err != nil {
		return err
	}
	if err := n.buildDirector(); err != nil {
		return err
	}
	n.buildSession(keys)
	n.buildWitness(ctx, keys)
	if err := n.buildServices(ctx, undo); err != nil {
		return err
	}
	n.arp, err = address.Open(address.Config{Interface: n.iface, Own: n.self.Address,
		Alive: n.dir.mayAnswer, Handler: wire{n: n, ctx: ctx}, Log: n.log})
	if err != nil {
		return err
	}
	undo.add(n.arp.Close)
	n.gossip, err = n.newGossip(ctx, keys)
	return err
}

// run starts every part and waits for all of them. At the end the peer is told first, the
// gate closed before.
func (n *node) run(ctx context.Context) error {
	g, run := errgroup.WithContext(context.WithoutCancel(ctx))
	stopped, stop := context.WithCancel(run)
	n.ctx = stopped
	defer n.wg.Wait()
	defer stop()
	g.Go(func() error { // ends the run: in good order when ctx ends, at once when a part fails
		select {
		case <-ctx.Done():
			n.farewell()
		case <-run.Done():
		}
		n.silence()
		stop()
		return nil
	})
	part := func(f func(context.Context) error) { g.Go(func() error { return f(stopped) }) }
	for _, w := range n.workers {
		part(func(ctx context.Context) error { return w.queue.Run(ctx, n.data.handler(w.in)) })
	}
	part(n.dir.Run)
	part(n.port.Run)
	part(n.link.Run)
	part(n.gossip.Run)
	part(n.arp.Run)
	if n.witness != nil {
		part(n.witness.Run)
	}
	part(n.keepEpochs)
	part(n.keepLease)
	part(n.keepRules)
	part(n.keepFlows)
	part(n.resolvePeer)
	part(func(ctx context.Context) error {
		return serveSocket(ctx, n.socket, answers{n.status, n.ledger, n.relinquish})
	})
	for _, v := range n.services {
		part(func(ctx context.Context) error { return v.proxy.Serve(ctx, v.listener) })
		part(v.checkUpstream)
	}
	n.log.Info("node runs", "node", n.self.Name, "peer", n.peer.Name, "interface", n.iface, "gateway", n.gateway)
	return g.Wait()
}

// farewell makes this node silent and tells the peer, which then claims at once.
func (n *node) farewell() {
	drain, cancel := context.WithTimeout(n.ctx, drainFor)
	defer cancel()
	if err := n.relinquish(drain, true); err != nil && !errors.Is(err, errAlone) {
		n.log.Warn("leaving before all is handed over", "error", err)
	}
	n.leaving.Store(true)
	for _, v := range n.addresses() {
		n.arp.Disown(v)
		if err := n.rules.Revoke(v); err != nil {
			n.log.Error("cannot close the gate", "error", err)
		}
	}
	n.link.SendLeave()
	time.Sleep(20 * time.Millisecond) // the farewell is on its way before the session closes
}

// silence makes sure that the end of this process is none of the clients' business: connections
// are about to be reset, while workers may still answer the queues and the lease may still run.
func (n *node) silence() {
	n.leaving.Store(true)
	for _, v := range n.services {
		n.data.fence(v.cfg.Advertised)
	}
}

// addresses returns the advertised IP addresses of this node, each once.
func (n *node) addresses() []netip.Addr {
	var all []netip.Addr
	seen := map[netip.Addr]bool{}
	for _, s := range n.cfg.Services {
		if a := s.Advertised.Addr(); s.Has(n.self.Name) && !seen[a] {
			seen[a] = true
			all = append(all, a)
		}
	}
	return all
}

func (n *node) advertises(a netip.Addr) bool {
	for _, v := range n.addresses() {
		if v == a {
			return true
		}
	}
	return false
}

func (n *node) serviceOf(a netip.AddrPort) *service {
	for _, v := range n.services {
		if v.cfg.Advertised == a {
			return v
		}
	}
	return nil
}
