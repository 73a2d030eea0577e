package rules

import (
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

// Reasons of drops, the keys of Bundle.Drops.
const (
	DropFragment   = "fragment"        // a fragment sent to an advertised address
	DropSpoofed    = "spoofed-source"  // from the network, with an advertised address as its source
	DropNotServed  = "not-served"      // anything else to an advertised address but not to a service
	DropOwnSource  = "peer-source"     // to a forwarding port, from a peer's own address
	DropNotPeer    = "not-peer"        // to a forwarding port, not from a peer's MAC, or a fragment
	DropNotService = "not-service"     // from an advertised address, by no service
	DropNoLease    = "no-lease"        // from an advertised address, without a lease
	DropNoLeaseNow = "no-lease-egress" // the same, but the lease ended while the kernel held the packet
	DropUnhashed   = "unhashed"        // a segment too short to choose a worker for
)

// rule is a line of a chain. Dropping rules have a reason and a counter.
type rule struct {
	reason string
	parts  []part
}

// chain is a base chain if hook is not nil, and then one of the device if that is not empty.
type chain struct {
	name     string
	device   string
	hook     *nftables.ChainHook
	priority *nftables.ChainPriority
	rules    []rule
}

func (c *chain) add(parts ...part) { c.rules = append(c.rules, rule{parts: parts}) }

func (c *chain) drop(reason string, parts ...part) {
	c.rules = append(c.rules, rule{reason: reason, parts: append(parts, counter(), drop())})
}

// leaseSet returns the name of the set that holds a while this host may speak for it.
func leaseSet(a netip.Addr) string {
	if a.Is4() {
		return "lease4"
	}
	return "lease6"
}

func spreadChain(in, v4 bool) string {
	direction, family := "out", 6
	if in {
		direction = "in"
	}
	if v4 {
		family = 4
	}
	return fmt.Sprintf("%s%d", direction, family)
}

// layout is what one table is to hold.
type layout struct {
	family nftables.TableFamily
	sets   []*nftables.Set
	chains []chain
}

// layouts returns the tables of spec: that of all routed packets first, then, where the
// kernel can, that of the interface.
func layouts(s Spec, k Kernel) []layout {
	all := []layout{{nftables.TableFamilyINet, leaseSets(s), ruleset(s, k.Queue)}}
	if k.Egress && s.Interface != "" {
		all = append(all, layout{nftables.TableFamilyNetdev, leaseSets(s), []chain{egress(s)}})
	}
	return all
}

func leaseSets(s Spec) []*nftables.Set {
	var sets []*nftables.Set
	for _, a := range s.addresses() {
		name, kind := leaseSet(a), nftables.TypeIP6Addr
		if a.Is4() {
			kind = nftables.TypeIPAddr
		}
		if !slices.ContainsFunc(sets, func(have *nftables.Set) bool { return have.Name == name }) {
			sets = append(sets, &nftables.Set{Name: name, KeyType: kind, HasTimeout: true, Timeout: s.Lease})
		}
	}
	return sets
}

// ruleset returns the chains of the first table, those that are jumped to first.
func ruleset(s Spec, native bool) []chain {
	var chains []chain
	for _, v4 := range []bool{true, false} {
		for _, a := range s.addresses() {
			if a.Is4() == v4 {
				chains = append(chains, spread(s, true, v4, native), spread(s, false, v4, native))
				break
			}
		}
	}
	for i, v := range s.groups() {
		chains = append(chains, peerChains(s, i, v, native)...)
	}
	return append(chains, prerouting(s, native), output(s), postrouting(s))
}

// spread queues each flow to its worker's queue.
func spread(s Spec, in, v4, native bool) chain {
	c := chain{name: spreadChain(in, v4)}
	base := s.QueueBase
	if !in {
		base += uint16(s.Workers)
	}
	c.add(notrack())
	if s.Workers == 1 {
		c.add(queue(base, native))
		return c
	}
	for i := range s.Workers {
		c.add(worker(i, s.Workers, v4, in), queue(base+uint16(i), native))
	}
	c.drop(DropUnhashed)
	return c
}

func clonesChain(group int) string { return fmt.Sprintf("clones%d", group) }
func errorsChain(group int) string { return fmt.Sprintf("errors%d", group) }

// peerChains returns, for one of the groups, who may send to the forwarding ports and whose
// ICMP errors are clones. UpdatePeerMAC replaces their rules.
func peerChains(s Spec, group int, v Service, native bool) []chain {
	clones, errs := chain{name: clonesChain(group)}, chain{name: errorsChain(group)}
	whole, in := fragment(v.Own.Is4(), true), goTo(spreadChain(true, v.Own.Is4()))
	var known []net.HardwareAddr
	for _, peer := range v.Peers {
		clones.drop(DropOwnSource, from(peer))
		if mac := s.MACs[peer]; mac != nil {
			known = append(known, mac)
		}
	}
	if len(known) == 0 {
		clones.add(whole, in)
	} else {
		for _, peer := range v.Peers {
			errs.add(from(peer), goBack()) // its own errors are the kernel's business
		}
	}
	for _, mac := range known {
		clones.add(whole, fromMAC(mac), in)
		errs.add(fromMAC(mac), notrack(), queue(s.QueueBase, native))
	}
	clones.drop(DropNotPeer)
	return []chain{clones, errs}
}

func prerouting(s Spec, native bool) chain {
	c := chain{name: "prerouting", hook: nftables.ChainHookPrerouting, priority: nftables.ChainPriorityRaw}
	c.add(loopback(expr.MetaKeyIIFNAME, expr.CmpOpEq), marked(s.MarkLocal), notrack(), accept())
	for _, a := range s.addresses() {
		c.drop(DropSpoofed, from(a), loopback(expr.MetaKeyIIFNAME, expr.CmpOpNeq))
		c.drop(DropFragment, to(a), fragment(a.Is4(), false))
		for _, v := range s.Services {
			if v.Advertised.Addr() == a {
				c.add(to(a), tcpPort(v.Advertised.Port(), false), goTo(spreadChain(true, a.Is4())))
			}
		}
		for _, icmp := range icmpErrors(a.Is4()) {
			c.add(to(a), icmp, notrack(), queue(s.QueueBase, native))
		}
		c.drop(DropNotServed, to(a))
	}
	for i, group := range s.groups() {
		for _, v := range s.Services {
			if v.sameHosts(group) {
				c.add(to(v.Own), tcpPort(v.Forward, false), goTo(clonesChain(i)))
			}
		}
		for _, icmp := range icmpErrors(group.Own.Is4()) {
			c.add(to(group.Own), icmp, jump(errorsChain(i)))
		}
	}
	return c
}

func output(s Spec) chain {
	c := chain{name: "output", hook: nftables.ChainHookOutput, priority: nftables.ChainPriorityRaw}
	for _, a := range s.addresses() {
		c.add(from(a), marked(s.MarkSend), notrack(), accept())
		for _, v := range s.Services {
			if v.Advertised.Addr() == a {
				c.add(from(a), tcpPort(v.Advertised.Port(), true), goTo(spreadChain(false, a.Is4())))
			}
		}
		c.drop(DropNotService, from(a))
	}
	return c
}

// postrouting comes after everything else, so that nothing from V gets past the lease.
func postrouting(s Spec) chain {
	c := chain{name: "postrouting", hook: nftables.ChainHookPostrouting, priority: nftables.ChainPriorityRef(300)}
	for _, a := range s.addresses() {
		c.drop(DropNoLease, from(a), loopback(expr.MetaKeyOIFNAME, expr.CmpOpNeq), withoutLease(a))
	}
	return c
}

// egress asks for the lease once more where packets are handed to the interface. Until there
// they may have waited: for seconds, if the neighbour's MAC address was looked for in vain
// because the cable was out.
func egress(s Spec) chain {
	c := chain{name: "egress", device: s.Interface, hook: nftables.ChainHookEgress, priority: nftables.ChainPriorityRef(300)}
	for _, a := range s.addresses() {
		c.drop(DropNoLeaseNow, frameFrom(a), withoutLease(a))
	}
	return c
}
