package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"github.com/ftgw/ftgw/config"
	"github.com/ftgw/ftgw/membership"
	"github.com/ftgw/ftgw/nfq"
	"github.com/ftgw/ftgw/proxy"
	"github.com/ftgw/ftgw/replication"
	"github.com/ftgw/ftgw/replication/link"
	"github.com/ftgw/ftgw/rewrite"
	"github.com/ftgw/ftgw/rules"
	"github.com/ftgw/ftgw/sockdiag"
	"github.com/ftgw/ftgw/takeover"
	"github.com/ftgw/ftgw/takeover/address"
)

// The parts of a node, made in the order that build gives.

// place finds out where this node is.
func (n *node) place() error {
	pair := n.cfg.Services[0].Nodes
	for _, s := range n.cfg.Services {
		if s.Has(n.self.Name) {
			pair = s.Nodes
		}
	}
	for _, s := range n.cfg.Services {
		if s.Has(n.self.Name) && (s.Nodes[0] != pair[0] || s.Nodes[1] != pair[1]) {
			return fmt.Errorf("service %s: nodes %v, but another service of this node has %v: name the same nodes in the same order (other layouts are not available in this version)", s.Name, s.Nodes, pair)
		}
		if p := n.cfg.Peers(s); len(p) > 0 {
			n.peer, n.pair = p[0], pairName(s)
		}
	}
	if n.peer.Name == "" {
		return fmt.Errorf("no service names node %s: add it to a service's nodes, or write witness = true in its [[node]]", n.self.Name)
	}
	iface, _, err := address.InterfaceOf(n.self.Address)
	if err != nil {
		return err
	}
	if n.iface = n.cfg.Interface; n.iface == "" {
		n.iface = iface
	}
	if err := ethernet(n.iface); err != nil {
		return err
	}
	if n.gateway = n.cfg.Probe; !n.gateway.IsValid() {
		if n.gateway, err = address.Gateway(n.iface); err != nil {
			return err
		}
	}
	n.kernel, err = kernelFacts(n.iface)
	return err
}

// buildPackets opens queues and raw sockets and installs the rules.
func (n *node) buildPackets(undo *undoList) error {
	spec := n.rulesSpec()
	if err := rules.InstallFence(spec); err != nil {
		return err
	}
	for i := range 2 * spec.Workers {
		in := i < spec.Workers
		q, err := nfq.Open(nfq.Config{Number: queueBase + uint16(i), GSO: !in,
			MaxLen: uint32(n.cfg.Limits.QueueLength), Log: n.log})
		if err != nil {
			return err
		}
		undo.add(q.Close)
		n.workers = append(n.workers, worker{q, in})
	}
	for _, s := range []struct {
		to   *sender
		mark uint32
	}{{&n.data.toPeer, 0}, {&n.data.toLocal, markLocal}, {&n.data.toClient, markSend}} {
		raw, err := nfq.OpenSender(s.mark)
		if err != nil {
			return err
		}
		undo.add(raw.Close)
		*s.to = raw
	}
	b, err := rules.Install(spec)
	if err != nil {
		return err
	}
	undo.add(b.Close)
	if !b.Egress() {
		n.log.Warn("the kernel has no egress hook (Linux 5.16): segments that it already holds when a lease ends can still leave")
	}
	n.rules = b
	_, err = address.Setup(n.iface, n.addresses())
	return err
}

func (n *node) rulesSpec() rules.Spec {
	spec := rules.Spec{QueueBase: queueBase, Workers: n.cfg.Limits.WorkerCount(), MarkSend: markSend,
		MarkLocal: markLocal, Lease: n.cfg.Timing.Lease, Interface: n.iface}
	for _, s := range n.cfg.Services {
		if s.Has(n.self.Name) {
			spec.Services = append(spec.Services, rules.Service{Advertised: s.Advertised,
				Own: n.self.Address, Peers: []netip.Addr{n.peer.Address}, Forward: s.Forward})
		}
	}
	return spec
}

func (n *node) buildDirector() error {
	names := n.cfg.Services[0].Nodes
	for _, s := range n.cfg.Services {
		if s.Has(n.self.Name) {
			names = s.Nodes
		}
	}
	index := 0
	if names[0] != n.self.Name {
		index = 1
	}
	t := n.cfg.Timing
	_, witnessed := n.cfg.Witness()
	c := takeover.Config{Index: index, Nodes: 2, Witness: witnessed,
		Fences: []bool{n.peer.Fence != "", n.peer.Fence != ""}, SuspectAfter: t.SuspectAfter,
		ProbeEvery: t.ProbeEvery, Probes: t.Probes, HangTimeout: t.HangTimeout, Lease: t.Lease, StartWait: t.StartWait}
	if err := c.Check(); err != nil {
		return err
	}
	m := takeover.New(c, takeover.State{Boot: n.boot, Epoch: n.epochs.last})
	n.dir = newDirector(m, n.started, t.ProbeEvery, min(t.Lease, t.HangTimeout/2), n.log)
	n.dir.stage = n
	n.data.awake, n.data.life = n.dir.awake, n.dir
	return nil
}

func (n *node) buildSession(keys replication.Keys) {
	s := &session{n: n, ctx: context.Background(), offset: time.Since(n.started)}
	n.link = link.New(link.Config{
		Self:      netip.AddrPortFrom(n.self.Address, n.cfg.SessionPort),
		Peer:      netip.AddrPortFrom(n.peer.Address, n.cfg.SessionPort),
		Group:     n.pair,
		PeerName:  n.peer.Name,
		Keys:      keys,
		Hello:     n.hello,
		Beat:      n.beat,
		Heartbeat: n.cfg.Timing.Heartbeat,
		Silence:   n.cfg.Timing.HangTimeout,
		Log:       n.log,
		Handler:   s,
	})
	n.port = link.NewPort(link.PortConfig{Self: netip.AddrPortFrom(n.self.Address, n.cfg.SessionPort), Keys: keys, Log: n.log})
	n.port.Add(n.link)
}

func (n *node) hello() replication.Hello {
	st := n.dir.status.Load()
	return replication.Hello{Node: n.self.Name, Boot: n.boot, Epoch: uint64(st.Epoch),
		Role: wireRole(st.Role), InSync: st.Paired, ConfigDigest: n.cfg.Digest(), Kernel: n.kernel}
}

func (n *node) beat() replication.Heartbeat {
	st := n.dir.status.Load()
	h := replication.Heartbeat{Epoch: uint64(st.Epoch), Role: wireRole(st.Role), Flags: replication.FlagServing,
		VoiceTurn: st.VoiceTurn, AddressTurn: st.AddressTurn}
	if st.Owner {
		h.Flags |= replication.FlagOwner
	}
	if st.Paired {
		h.Flags |= replication.FlagPaired
	}
	return h
}

// buildServices opens the listeners. What an earlier run left on the address is destroyed
// first, so that no old socket answers a client.
func (n *node) buildServices(ctx context.Context, undo *undoList) error {
	for _, c := range n.cfg.Services {
		if !c.Has(n.self.Name) {
			continue
		}
		if k, err := sockdiag.Destroy(c.Advertised); err != nil {
			return err
		} else if k > 0 {
			n.log.Info("destroyed sockets of an earlier run", "address", c.Advertised, "sockets", k)
		}
		closePort, err := holdPort(netip.AddrPortFrom(n.self.Address, c.Forward))
		if err != nil {
			return err
		}
		undo.add(closePort)
		l, err := proxy.Listen(ctx, c.Advertised)
		if err != nil {
			return err
		}
		undo.add(func() error { l.Close(); return nil })
		v := &service{cfg: c, listener: l}
		v.proxy = proxy.New(proxy.Config{Upstream: c.Upstream, Memory: int64(n.cfg.Limits.BodyMemory),
			Ledger: n.cfg.Limits.Ledger, Epoch: func() uint64 { return uint64(n.dir.epoch()) },
			SpillDir: n.cfg.StateDir, Permit: n.permit, TurnOver: n.turnOver, TurnOverIdle: n.cfg.Timing.TurnOver,
			ResponseTimeout: c.UpstreamTimeout, IdleTimeout: c.IdleTimeout,
			Node: n.self.Name, Log: n.log}, flows{n.data}, exchanges{n.data, n.link, n.dir})
		n.services = append(n.services, v)
		n.data.addService(rewrite.Service{Advertised: c.Advertised,
			Forward: netip.AddrPortFrom(n.self.Address, c.Forward),
			Peer:    netip.AddrPortFrom(n.peer.Address, c.Forward),
			MSS:     uint16(n.kernel.MTU - 40), Scale: windowScale}, peerLink{n.link})
	}
	return nil
}

func (n *node) newGossip(ctx context.Context, keys replication.Keys) (*membership.Cluster, error) {
	return membership.New(gossipConfig(n.cfg, keys, n.log, gossip{n: n, ctx: ctx}, func() membership.Meta {
		return membership.Meta{Boot: membership.BootID(n.boot)}
	}))
}

// gossipConfig is the gossip of every node, witness or not.
func gossipConfig(cfg *config.Config, keys replication.Keys, log *slog.Logger, h membership.Handler, meta func() membership.Meta) membership.Config {
	var peers []netip.AddrPort
	for _, p := range cfg.Nodes {
		if p.Name != cfg.Name {
			peers = append(peers, netip.AddrPortFrom(p.Address, cfg.GossipPort))
		}
	}
	t := cfg.Timing
	return membership.Config{Name: cfg.Name,
		Bind: netip.AddrPortFrom(cfg.Self().Address, cfg.GossipPort), Peers: peers, Key: keys.Gossip[:],
		ProbeInterval: t.GossipProbe, ProbeTimeout: t.GossipTimeout, RejoinEvery: t.RejoinEvery,
		Meta: meta, Handler: h, Log: log}
}
