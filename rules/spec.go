package rules

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"time"
)

// Service is one advertised address and port with the hosts that serve it.
type Service struct {
	// Advertised is the address V and the port that clients know.
	Advertised netip.AddrPort
	// Own is this host's own address, Peers are those of the other hosts in the service's list,
	// one or more: each of them may become the peer. Services with the same Advertised address
	// have the same hosts.
	Own   netip.Addr
	Peers []netip.Addr
	// Forward is the port F to which the peer clones segments.
	Forward uint16
}

// DefaultTable is the name of the tables of a daemon.
const DefaultTable = "ftgw"

// Spec says which rules are wanted. Addresses are unmapped and without zone.
type Spec struct {
	// Table is the name of the nftables table, family inet; empty means DefaultTable.
	Table    string
	Services []Service
	// MACs are the Ethernet addresses of peers, as far as they are known. Clones, and ICMP errors
	// that a peer forwards, are accepted from the known ones of the service's peers only. While
	// none of them is known, clones are accepted whatever their MAC and ICMP errors are not. One
	// peer that stays unknown, since it is off, opens the port to nobody: a newcomer's clones are
	// dropped until its MAC has been told, and the clients repeat them. See Bundle.UpdatePeerMAC.
	MACs map[netip.Addr]net.HardwareAddr
	// QueueBase is the first queue number: QueueBase+i is worker i's queue for inbound
	// packets, QueueBase+Workers+i its queue for outbound ones. A client's address and port
	// choose the same worker in both directions.
	QueueBase uint16
	// Workers is how many workers there are, at least 1.
	Workers int
	// MarkSend is on packets that may leave: verdicts on output set it, injections to clients
	// bear it. It skips the out queue and passes the second fence, but not the lease.
	MarkSend uint32
	// MarkLocal is on packets injected to the local kernel; they skip the in queue.
	MarkLocal uint32
	// Lease is how long one Renew lets this host speak for an address.
	Lease time.Duration
	// Interface carries the service's traffic; its MTU is given to the second fence's device.
	Interface string
}

func (s *Spec) table() string {
	if s.Table == "" {
		return DefaultTable
	}
	return s.Table
}

// check reports every mistake of the specification at once.
func (s *Spec) check() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if len(s.Services) == 0 {
		bad("no service")
	}
	if s.Workers < 1 || int(s.QueueBase)+2*s.Workers > 1<<16 {
		bad("%d workers from queue %d: want at least one, and 2 queues each below 65536", s.Workers, s.QueueBase)
	}
	if s.MarkSend == 0 || s.MarkLocal == 0 || s.MarkSend == s.MarkLocal {
		bad("marks %#x and %#x: want two that differ and are not 0", s.MarkSend, s.MarkLocal)
	}
	if s.Lease < time.Millisecond {
		bad("lease %v: want at least 1ms", s.Lease)
	}
	for _, v := range s.Services {
		a := v.Advertised
		if len(v.Peers) == 0 {
			bad("service %v: no peer: want one or more", a)
		}
		own := append([]netip.Addr{v.Own}, v.Peers...)
		if a.Port() == 0 || v.Forward == 0 || !plain(a.Addr()) || !all(own, plain) {
			bad("service %v: own %v, peers %v, forwarding port %d: addresses and ports must be set, unmapped and without zone", a, v.Own, v.Peers, v.Forward)
		} else if !all(own, func(o netip.Addr) bool { return o.Is4() == a.Addr().Is4() }) {
			bad("service %v: own %v and peers %v must be of its address family", a, v.Own, v.Peers)
		} else if slices.SortFunc(own, netip.Addr.Compare); slices.Contains(own, a.Addr()) || len(slices.Compact(own)) <= len(v.Peers) {
			bad("service %v: it, own %v and peers %v must be different addresses", a, v.Own, v.Peers)
		}
	}
	for _, peer := range slices.SortedFunc(maps.Keys(s.MACs), netip.Addr.Compare) {
		if mac := s.MACs[peer]; len(mac) != 6 {
			bad("MAC %v of peer %v: want 6 bytes", mac, peer)
		}
	}
	if len(errs) > 0 {
		return fmt.Errorf("rules for table %s: %w", s.table(), errors.Join(errs...))
	}
	return nil
}

func all(list []netip.Addr, ok func(netip.Addr) bool) bool {
	return !slices.ContainsFunc(list, func(a netip.Addr) bool { return !ok(a) })
}

func plain(a netip.Addr) bool { return a.IsValid() && !a.Is4In6() && a.Zone() == "" }

// addresses returns the advertised addresses, each once, in the order of the services.
func (s *Spec) addresses() []netip.Addr {
	var all []netip.Addr
	seen := map[netip.Addr]bool{}
	for _, v := range s.Services {
		if a := v.Advertised.Addr(); !seen[a] {
			seen[a] = true
			all = append(all, a)
		}
	}
	return all
}

// groups returns the services by who may clone to them, the first of each.
func (s *Spec) groups() []Service {
	var all []Service
	for _, v := range s.Services {
		if !slices.ContainsFunc(all, v.sameHosts) {
			all = append(all, v)
		}
	}
	return all
}

func (v Service) sameHosts(o Service) bool {
	return v.Own == o.Own && slices.Equal(v.Peers, o.Peers)
}
