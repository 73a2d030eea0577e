// The parts of a node that all its groups share, made in the order that build gives.
package main

import (
	"log/slog"
	"net/netip"

	"github.com/ftgw/ftgw/config"
	"github.com/ftgw/ftgw/membership"
	"github.com/ftgw/ftgw/nfq"
	"github.com/ftgw/ftgw/replication"
	"github.com/ftgw/ftgw/rules"
	"github.com/ftgw/ftgw/takeover/address"
)

// place finds out where this node is, and in which groups.
func (n *node) place() error {
	var err error
	if n.groups, err = placeGroups(n); err != nil {
		return err
	}
	n.neighbours = newNeighbours(n.groups)
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
			MaxLen: uint32(n.cfg.Limits.QueueLength), Log: n.quiet})
		if err != nil {
			return err
		}
		undo.add(q.Close)
		n.workers = append(n.workers, &worker{queue: q, in: in})
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
		n.senders = append(n.senders, raw)
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
	if n.watch, err = rules.OpenWatch(spec); err != nil {
		return err
	}
	undo.add(n.watch.Close)
	_, err = address.Setup(n.iface, n.addresses())
	return err
}

func (n *node) rulesSpec() rules.Spec {
	spec, _ := specOf(n.cfg)
	spec.Interface = n.iface
	return spec
}

func (n *node) newGossip(keys replication.Keys) (*membership.Cluster, error) {
	return membership.New(gossipConfig(n.cfg, keys, n.quiet, gossip{n}, func() membership.Meta {
		return membership.Meta{Boot: membership.BootID(n.boot), Extra: appendViews(nil, n.views())}
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
