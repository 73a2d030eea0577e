package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/ftgw/ftgw/config"
	"github.com/ftgw/ftgw/inspect"
	"github.com/ftgw/ftgw/rules"
	"github.com/ftgw/ftgw/rules/firewall"
	"github.com/ftgw/ftgw/takeover/address"
)

// stationsOf asks who has the advertised addresses, and to tell whose the answers are, the nodes'
// own and the gateway's.
func stationsOf(ctx context.Context, cfg *config.Config, place inspect.Place, advertised []netip.Addr) *inspect.Stations {
	targets := append([]netip.Addr{}, advertised...)
	for _, n := range cfg.Nodes {
		if n.Address.Is4() {
			targets = append(targets, n.Address)
		}
	}
	if place.Gateway.IsValid() {
		targets = append(targets, place.Gateway)
	}
	found, err := address.Survey(ctx, place.Interface, targets)
	if err != nil {
		return &inspect.Stations{Problem: err.Error()}
	}
	s := &inspect.Stations{Answers: map[netip.Addr][]string{}}
	for a, macs := range found {
		for _, mac := range macs {
			s.Answers[a] = append(s.Answers[a], mac.String())
		}
	}
	return s
}

// trafficFacts follows what ftgw sends and receives through the nftables rules of others.
func trafficFacts(cfg *config.Config, spec rules.Spec, place inspect.Place) ([]inspect.Traffic, inspect.Firewall) {
	ruleset, err := firewall.Read(rules.DefaultTable)
	if err != nil {
		return []inspect.Traffic{}, inspect.Firewall{Unread: []string{err.Error()}}
	}
	index := 0
	if i, err := net.InterfaceByName(place.Interface); err == nil {
		index = i.Index
	}
	var all []inspect.Traffic
	for _, t := range traffic(cfg, spec) {
		t.packet.Interface, t.packet.Index = place.Interface, index
		for _, b := range ruleset.Blocks(t.packet) {
			t.Blocks = append(t.Blocks, inspect.Block{Chain: b.Chain, Policy: b.Policy, Some: b.Some})
		}
		all = append(all, t.Traffic)
	}
	return all, inspect.Firewall{Unread: ruleset.Unread, Legacy: ruleset.Legacy}
}

// kind is a kind of packet in the words of both packages.
type kind struct {
	inspect.Traffic
	packet firewall.Packet
}

// traffic lists what must pass: on a host segments and replies; on every node sessions and gossip
// with each of the others, whoever begins. A clone is a client's segment when it comes from ftgw's
// queue.
func traffic(cfg *config.Config, spec rules.Spec) []kind {
	var all []kind
	add := func(what, match string, p firewall.Packet) {
		all = append(all, kind{inspect.Traffic{What: what, Match: match, Untracked: p.Untracked}, p})
	}
	for _, s := range spec.Services {
		a, port := s.Advertised.Addr(), s.Advertised.Port()
		add(fmt.Sprintf("clients' segments to %v", s.Advertised), fmt.Sprintf("ip daddr %v tcp dport %d", a, port),
			firewall.Packet{In: true, Destination: a, Protocol: unix.IPPROTO_TCP, DestinationPort: port, Untracked: true})
		add(fmt.Sprintf("replies from %v", s.Advertised), fmt.Sprintf("ip saddr %v tcp sport %d", a, port),
			firewall.Packet{Source: a, Protocol: unix.IPPROTO_TCP, SourcePort: port, Untracked: true})
	}
	own := cfg.Self().Address
	for _, n := range cfg.Nodes {
		if n.Name == cfg.Name || sharedGroup(cfg, n) == "" {
			continue
		}
		for _, c := range []struct {
			what, name string
			protocol   uint8
			port       uint16
		}{{"sessions", "tcp", unix.IPPROTO_TCP, cfg.SessionPort}, {"gossip", "tcp", unix.IPPROTO_TCP, cfg.GossipPort}, {"gossip", "udp", unix.IPPROTO_UDP, cfg.GossipPort}} {
			add(fmt.Sprintf("%s (%s port %d) from node %s", c.what, c.name, c.port, n.Name), fmt.Sprintf("ip saddr %v %s dport %d", n.Address, c.name, c.port),
				firewall.Packet{In: true, Source: n.Address, Destination: own, Protocol: c.protocol, DestinationPort: c.port})
			add(fmt.Sprintf("%s (%s port %d) to node %s", c.what, c.name, c.port, n.Name), fmt.Sprintf("ip daddr %v %s dport %d", n.Address, c.name, c.port),
				firewall.Packet{Source: own, Destination: n.Address, Protocol: c.protocol, DestinationPort: c.port})
		}
	}
	return all
}
