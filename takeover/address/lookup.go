package address

import (
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Gateway returns the gateway of the IPv4 default route through the interface; of several
// the one with the smallest metric.
func Gateway(iface string) (netip.Addr, error) {
	link, err := netlink.LinkByName(iface)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("find gateway: interface %s: %w", iface, err)
	}
	routes, err := netlink.RouteList(link, netlink.FAMILY_V4)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("find gateway on %s: list routes: %w", iface, err)
	}
	best := -1
	for i, r := range routes {
		isDefault := r.Dst == nil || r.Dst.IP.IsUnspecified() && len(r.Dst.Mask) > 0 && r.Dst.Mask[0] == 0
		if isDefault && r.Gw != nil && (best < 0 || r.Priority < routes[best].Priority) {
			best = i
		}
	}
	if best < 0 {
		return netip.Addr{}, fmt.Errorf("no default route through %s (set `probe` to an address on its subnet that is always there)", iface)
	}
	return addrOf(routes[best].Gw), nil
}

// Subnet returns the interface's first own IPv4 address with its prefix length.
func Subnet(iface string) (netip.Prefix, error) {
	link, err := netlink.LinkByName(iface)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("find own address: interface %s: %w", iface, err)
	}
	addrs, err := netlink.AddrList(link, netlink.FAMILY_V4)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("find own address: list addresses of %s: %w", iface, err)
	}
	for _, a := range addrs {
		if a.Flags&unix.IFA_F_SECONDARY == 0 {
			return prefixOf(a), nil
		}
	}
	return netip.Prefix{}, fmt.Errorf("interface %s has no IPv4 address, which probes need as their sender: give it one (ip addr add …)", iface)
}

// InterfaceOf returns the interface that holds the address, and the address with its prefix
// length there.
func InterfaceOf(own netip.Addr) (string, netip.Prefix, error) {
	links, err := netlink.LinkList()
	if err != nil {
		return "", netip.Prefix{}, fmt.Errorf("find the interface of %v: %w", own, err)
	}
	for _, l := range links {
		addrs, err := netlink.AddrList(l, netlink.FAMILY_ALL)
		if err != nil {
			return "", netip.Prefix{}, fmt.Errorf("find the interface of %v: list addresses of %s: %w", own, l.Attrs().Name, err)
		}
		for _, a := range addrs {
			if addrOf(a.IP) == own {
				return l.Attrs().Name, prefixOf(a), nil
			}
		}
	}
	return "", netip.Prefix{}, fmt.Errorf("no interface of this host has the address %v (correct the node's `address`, or its `name`)", own)
}

func prefixOf(a netlink.Addr) netip.Prefix {
	bits, _ := a.Mask.Size()
	return netip.PrefixFrom(addrOf(a.IP), bits)
}
