package rules

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"
)

// Service is one advertised address and port with the pair of hosts that serves it.
type Service struct {
	// Advertised is the address V and the port that clients know.
	Advertised netip.AddrPort
	// Own and Peer are the two hosts' own addresses. Services with the same Advertised
	// address have the same pair.
	Own, Peer netip.Addr
	// PeerMAC is the peer's Ethernet address. While nil, clones are accepted whatever their
	// MAC, ICMP errors forwarded by the peer are not. See Bundle.UpdatePeerMAC.
	PeerMAC net.HardwareAddr
	// Forward is the port F to which the peer clones segments.
	Forward uint16
}

// Spec says which rules are wanted. Addresses are unmapped and without zone.
type Spec struct {
	// Table is the name of the nftables table, family inet; empty means "ftgw".
	Table    string
	Services []Service
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
		return "ftgw"
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
		if !plain(a.Addr()) || !plain(v.Own) || !plain(v.Peer) || a.Port() == 0 || v.Forward == 0 {
			bad("service %v: own %v, peer %v, forwarding port %d: addresses and ports must be set, unmapped and without zone", a, v.Own, v.Peer, v.Forward)
		} else if a.Addr().Is4() != v.Own.Is4() || a.Addr().Is4() != v.Peer.Is4() {
			bad("service %v: own %v and peer %v must be of its address family", a, v.Own, v.Peer)
		} else if a.Addr() == v.Own || a.Addr() == v.Peer || v.Own == v.Peer {
			bad("service %v: own %v and peer %v must be three different addresses", a, v.Own, v.Peer)
		}
		if v.PeerMAC != nil && len(v.PeerMAC) != 6 {
			bad("service %v: peer's MAC %v: want 6 bytes", a, v.PeerMAC)
		}
	}
	if len(errs) > 0 {
		return fmt.Errorf("rules for table %s: %w", s.table(), errors.Join(errs...))
	}
	return nil
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

// pairs returns the services by distinct own and peer address, the first of each.
func (s *Spec) pairs() []Service {
	var all []Service
	seen := map[[2]netip.Addr]bool{}
	for _, v := range s.Services {
		if k := [2]netip.Addr{v.Own, v.Peer}; !seen[k] {
			seen[k] = true
			all = append(all, v)
		}
	}
	return all
}
