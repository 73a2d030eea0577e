package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ftgw/ftgw/inspect/host"
	"github.com/ftgw/ftgw/takeover/address"
)

// What can be known to fail is looked for before anything of this host is changed: rules that
// were installed for an address make it silent, and a run that fails must not silence what
// works.

// preflight returns everything that would keep this node from running, with the remedies.
func (n *node) preflight() error {
	errs := []error{writable(n.cfg.StateDir), address.CheckAdvertised(n.addresses())}
	taken := func(err error, key, what string, at netip.AddrPort) {
		if err != nil {
			errs = append(errs, fmt.Errorf("%s %v: %w; stop the program that has it (see: ss -lntup), or set %s to a free one on every node", what, at, err, key))
		}
	}
	session := netip.AddrPortFrom(n.self.Address, n.cfg.SessionPort)
	taken(portFree(session, false), "session_port", "session port", session)
	if own := replicationPort(n.self, n.cfg.SessionPort); own.IsValid() {
		errs = append(errs, apart(n.iface, own.Addr()))
		taken(portFree(own, false), "session_port", "session port", own)
	}
	gossip := netip.AddrPortFrom(n.self.Address, n.cfg.GossipPort)
	err := portFree(gossip, false)
	if err == nil {
		err = portFree(gossip, true)
	}
	taken(err, "gossip_port", "gossip port", gossip)
	if at, err := netip.ParseAddrPort(n.cfg.Metrics); err == nil {
		taken(portFree(at, false), "metrics", "web page and metrics", at)
	}
	for _, g := range n.groups {
		for _, v := range g.services {
			s := v.cfg
			if err := portFree(s.Advertised, false); err != nil {
				errs = append(errs, fmt.Errorf("service %s: advertised %v: %w; stop the program that listens there (see: ss -lntp), or let it listen on other addresses or ports only, as an upstream does", s.Name, s.Advertised, err))
			}
			forward := netip.AddrPortFrom(n.self.Address, s.Forward)
			taken(portFree(forward, false), "forward", "service "+s.Name+": forwarding port", forward)
		}
	}
	return errors.Join(errs...)
}

// apart holds the replication_address of this host to another interface than the clients' one.
func apart(clients string, own netip.Addr) error {
	switch at, _, err := address.InterfaceOf(own); {
	case err != nil:
		return fmt.Errorf("replication_address: no interface of this host has %v (correct it, or leave it out on every node)", own)
	case at == clients:
		return fmt.Errorf("replication_address %v is on %s, by which the clients come (give it an interface of its own, or leave it out on every node)", own, at)
	}
	return nil
}

// privileged refuses to begin without the capabilities that everything here needs.
func privileged() error {
	lacks, err := host.Lacks(false)
	if err != nil {
		return err
	}
	if len(lacks) > 0 {
		return codedError{exitNoPerm, fmt.Errorf("missing capabilities: %s (run as root, or grant them: AmbientCapabilities=CAP_NET_ADMIN CAP_NET_RAW CAP_NET_BIND_SERVICE in the systemd unit)", strings.Join(lacks, " "))}
	}
	return nil
}

// writable tries what a claim will need: a new file in the directory.
func writable(dir string) error {
	f, err := os.CreateTemp(dir, "epoch-")
	if err != nil {
		return fmt.Errorf("state_dir: %w (set state_dir to a directory that this user may write; claims are written there)", err)
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

// portFree tries to bind. Connections that an earlier run left behind are in nobody's way, a
// program that listens is; the address need not be on this host yet.
func portFree(at netip.AddrPort, udp bool) error {
	domain, kind := unix.AF_INET, unix.SOCK_STREAM
	sa := unix.Sockaddr(&unix.SockaddrInet4{Port: int(at.Port())})
	if at.Addr().Is6() {
		domain, sa = unix.AF_INET6, &unix.SockaddrInet6{Port: int(at.Port()), Addr: at.Addr().As16()}
	} else {
		sa.(*unix.SockaddrInet4).Addr = at.Addr().As4()
	}
	if udp {
		kind = unix.SOCK_DGRAM
	}
	fd, err := unix.Socket(domain, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_FREEBIND, 1); err != nil {
		return fmt.Errorf("set IP_FREEBIND: %w", err)
	}
	if !udp {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
			return fmt.Errorf("set SO_REUSEADDR: %w", err)
		}
	}
	return unix.Bind(fd, sa)
}

// ethernet checks the interface that the config file names.
func ethernet(name string) error {
	i, err := net.InterfaceByName(name)
	if err != nil {
		return fmt.Errorf("interface %q: %w (set interface to one of this host's, see `ip link`, or leave it out)", name, err)
	}
	if len(i.HardwareAddr) != 6 {
		return fmt.Errorf("interface %q is no Ethernet interface (set interface to the one that clients' segments come by)", name)
	}
	return nil
}
