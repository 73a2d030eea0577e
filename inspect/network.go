package inspect

import (
	"net/netip"
	"slices"
	"time"
)

// stations judges who answers for which address (RFC 5227 §2.1.1, but that an answer of a node's
// running ftgw is as it should be).
func (l *list) stations(f Facts) {
	switch {
	case f.Place.NoGateway != "":
		l.blame(Gateway, Fail, f.Place.NoGateway)
	case f.Stations == nil || f.Stations.Problem != "" || !f.Place.Gateway.IsValid():
	case len(f.Stations.Answers[f.Place.Gateway]) == 0:
		l.add(Gateway, Warning, "set probe to an address of the subnet that always answers", "%v does not answer ARP: this node could not tell a dead link of its own from a dead peer", f.Place.Gateway)
	default:
		l.add(Gateway, OK, "", "%v answers ARP", f.Place.Gateway)
	}
	switch {
	case f.Place.Interface == "":
		return
	case f.Stations == nil:
		l.add(Address, Skipped, asRoot, "whether a stranger has an address: not asked without NET_RAW")
		return
	case f.Stations.Problem != "":
		l.blame(Address, Skipped, f.Stations.Problem)
		return
	}
	for _, mac := range f.Stations.Answers[f.Own] {
		l.add(Address, Fail, "take it from that station", "%v, this node's address, is in use by %s too", f.Own, mac)
	}
	for _, v := range f.Advertised {
		l.advertised(f, v)
	}
}

func (l *list) advertised(f Facts, v netip.Addr) {
	macs := f.Stations.Answers[v]
	owners := 0
	for _, mac := range macs {
		p := f.owner(mac)
		switch {
		case p == nil && slices.Contains(f.Stations.Answers[f.Place.Gateway], mac):
			l.add(Address, Fail, "turn proxy ARP off there for this subnet", "the gateway (%s) answers for %v: proxy ARP?", mac, v)
		case p == nil:
			l.add(Address, Fail, "take it from that station, or advertise another address", "%v is in use by a stranger, %s", v, mac)
		case p.Problem != "" && !p.Refused:
			l.add(Address, Warning, "on "+p.Name+": ip addr show; its kernel must not have the address on an interface other than lo",
				"node %s answers for %v, and no ftgw was reached there", p.Name, v)
		default:
			owners++
			l.add(Address, OK, "", "%v is answered for by node %s, as its owner", v, p.Name)
		}
	}
	if owners > 1 {
		l.add(Address, Fail, "see ftgw status on both", "%d nodes answer for %v", owners, v)
	}
	if len(macs) == 0 {
		l.add(Address, OK, "", "%v is in use by no stranger", v)
	}
}

// owner returns the node that has an Ethernet address, or nil.
func (f *Facts) owner(mac string) *Peer {
	for i := range f.Peers {
		if slices.Contains(f.Stations.Answers[f.Peers[i].Address], mac) {
			return &f.Peers[i]
		}
	}
	return nil
}

func (l *list) peers(f Facts) {
	for _, p := range f.Peers {
		kind := "node "
		if p.Witness {
			kind = "witness "
		}
		if f.Witness {
			l.caller(f, p)
			continue
		}
		switch {
		case p.Refused:
			l.add(Peers, Fail, p.Remedy, "%s%s: %s", kind, p.Name, p.Problem)
		case p.Problem != "":
			l.add(Peers, Warning, p.Remedy, "%s%s: %s", kind, p.Name, p.Problem)
		case p.Unlike:
			l.add(Peers, Warning, "install the same file on both, then run ftgw reload on each",
				"%s%s: answers, and runs with other settings than the file here has", kind, p.Name)
		default:
			l.add(Peers, OK, "", "%s%s: answers, with the same secret, config and version", kind, p.Name)
		}
		switch {
		case p.Unreached != "":
			l.add(Peers, Warning, "look at the cable and the address there", "node %s does not answer at its replication_address %v, so the clients' network carries replies too: %s", p.Name, p.Apart, p.Unreached)
		case p.Apart.IsValid():
			l.add(Peers, OK, "", "node %s: answers at its replication_address %v", p.Name, p.Apart)
		}
		switch {
		case p.Differs != "":
			l.blame(Alike, Fail, "node "+p.Name+": "+p.Differs)
		case p.Kernel:
			l.add(Alike, OK, "", "node %s: MTU and TCP's sysctls are as here", p.Name)
		case !p.Witness:
			l.add(Alike, Skipped, "check again when ftgw runs there", "node %s: its MTU and TCP's sysctls are not known", p.Name)
		}
		if p.Problem == "" && p.Skewed != "" {
			l.blame(Clock, Warning, "that of node "+p.Name+" is "+p.Skewed)
		} else if p.Problem == "" {
			l.add(Clock, OK, "", "that of node %s is within %v", p.Name, max(p.Skew.Abs().Truncate(time.Second)+time.Second, time.Second))
		}
	}
}

// caller judges, on a witness, a node: it calls the witness and takes no calls from it.
func (l *list) caller(f Facts, p Peer) {
	switch {
	case f.Running == nil || !f.Running.Asked:
		l.add(Peers, Skipped, "run ftgw check there", "node %s: it calls this witness, which runs not yet", p.Name)
	case slices.Contains(f.Running.Lost, p.Name):
		l.add(Peers, Warning, "run ftgw check there", "node %s: it is not connected to this witness", p.Name)
	default:
		l.add(Peers, OK, "", "node %s: it is connected to this witness", p.Name)
	}
}

func (l *list) firewall(f Facts) {
	if f.Traffic == nil {
		l.add(Firewalls, Skipped, asRoot, "other nftables rules: not looked at without NET_ADMIN")
		return
	}
	bad := false
	for _, t := range f.Traffic {
		for _, b := range t.Blocks {
			bad = true
			why := "a rule of chain " + b.Chain
			if b.Policy {
				why = "the policy of chain " + b.Chain
			}
			untracked := ""
			if t.Untracked {
				untracked = ", which ftgw takes out of connection tracking"
			}
			remedy := "nft insert rule " + b.Chain + " " + t.Match + " accept, and so in what makes these rules"
			if b.Some {
				l.add(Firewalls, Warning, remedy, "%s lets only some of %s pass%s", why, t.What, untracked)
			} else {
				l.add(Firewalls, Fail, remedy, "%s drops %s%s", why, t.What, untracked)
			}
		}
	}
	for _, u := range f.Firewall.Unread {
		l.add(Firewalls, Skipped, "", "not understood: %s", u)
	}
	if f.Firewall.Legacy {
		l.add(Firewalls, Skipped, "see iptables-legacy-save for rules that drop the same", "there are rules of iptables-legacy, which are not looked at")
	}
	if !bad {
		l.add(Firewalls, OK, "", "other nftables rules drop none of %d kinds of packets that ftgw needs", len(f.Traffic))
	}
}
