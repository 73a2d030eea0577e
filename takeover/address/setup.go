package address

import (
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// loopback is where advertised addresses live on every node, so that sockets bind to them
// whoever owns them.
const loopback = "lo"

// Setup puts the advertised addresses on the loopback interface of this host, such that the
// kernel neither answers ARP for them on iface, nor names them as sender there, nor chooses
// them as source for connections of its own. Applying it twice changes nothing.
//
// undo takes the addresses away and then puts the settings back. It is for a clean removal
// only: a program that just stops leaves all as it is, since that is the silent state. It
// must run in the same network namespace.
func Setup(iface string, advertised []netip.Addr) (undo func() error, err error) {
	// The order matters: settings first, so that the address is never there and answered for.
	changed, err := silenceARP(iface)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("set up %s: %w", iface, err), putBack(changed))
	}
	if err := CheckAdvertised(advertised); err != nil {
		return nil, errors.Join(err, putBack(changed))
	}
	lo, err := netlink.LinkByName(loopback)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("set up advertised addresses: interface lo: %w", err), putBack(changed))
	}
	undo = func() error { return teardown(lo, advertised, changed) }
	for _, v := range advertised {
		if err := netlink.AddrReplace(lo, loopbackAddr(v)); err != nil {
			err = fmt.Errorf("add advertised address %v to lo: %w (CAP_NET_ADMIN is needed: run as root)", v, err)
			return nil, errors.Join(err, undo())
		}
	}
	return undo, nil
}

// Restore is Setup for addresses that were set up already, of which somebody may have taken
// something back. It says what it found; nil: nothing. The settings matter most: with the old
// ones the kernel would answer for the addresses whoever owns them. So it does for one that
// somebody gave to another interface, which is an error: it is not known whose it is to take away.
func Restore(iface string, advertised []netip.Addr) (found []string, err error) {
	changed, err := silenceARP(iface)
	for _, c := range changed {
		found = append(found, fmt.Sprintf("net.ipv4.conf.%s.%s was %d", c.iface, c.name, c.value))
	}
	if err != nil {
		return found, fmt.Errorf("set up %s: %w", iface, err)
	}
	lo, err := netlink.LinkByName(loopback)
	if err != nil {
		return found, fmt.Errorf("set up advertised addresses: interface lo: %w", err)
	}
	have, err := netlink.AddrList(lo, netlink.FAMILY_ALL)
	if err != nil {
		return found, fmt.Errorf("list addresses of lo: %w", err)
	}
	for _, v := range advertised {
		if slices.ContainsFunc(have, func(a netlink.Addr) bool { return addrOf(a.IP) == v }) {
			continue
		}
		if err := netlink.AddrReplace(lo, loopbackAddr(v)); err != nil {
			return found, fmt.Errorf("add advertised address %v to lo: %w", v, err)
		}
		found = append(found, fmt.Sprintf("address %v was gone from lo", v))
	}
	return found, CheckAdvertised(advertised)
}

// Withdraw takes the advertised addresses away from the loopback interface and leaves the
// settings of Setup, whoever made them. What is gone already is no error.
func Withdraw(advertised []netip.Addr) error {
	lo, err := netlink.LinkByName(loopback)
	if err != nil {
		return fmt.Errorf("withdraw advertised addresses: interface lo: %w", err)
	}
	return teardown(lo, advertised, nil)
}

// loopbackAddr describes v as a host address that is no candidate for a source address: by
// its scope for IPv4, by being deprecated for IPv6.
func loopbackAddr(v netip.Addr) *netlink.Addr {
	a := &netlink.Addr{
		IPNet: &net.IPNet{IP: v.AsSlice(), Mask: net.CIDRMask(v.BitLen(), v.BitLen())},
		Scope: unix.RT_SCOPE_HOST,
	}
	if v.Is6() {
		a.Scope = unix.RT_SCOPE_UNIVERSE
		a.Flags = unix.IFA_F_NODAD
		a.ValidLft = math.MaxUint32 // for ever; PreferedLft 0 deprecates
	}
	return a
}

// CheckAdvertised refuses an advertised address that some interface other than lo holds: the kernel
// answers ARP for that one. The error names each with the remedy.
func CheckAdvertised(advertised []netip.Addr) error {
	addrs, err := netlink.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return fmt.Errorf("list addresses: %w", err)
	}
	var errs []error
	for _, a := range addrs {
		v := addrOf(a.IP)
		if !slices.Contains(advertised, v) {
			continue
		}
		l, err := netlink.LinkByIndex(a.LinkIndex)
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("interface of advertised address %v: %w", v, err))
		case l.Attrs().Name != loopback:
			errs = append(errs, fmt.Errorf("advertised address %v is on interface %s, where the kernel would answer for it (ip addr del %v dev %[2]s)", v, l.Attrs().Name, a.IPNet))
		}
	}
	return errors.Join(errs...)
}

// teardown removes the addresses, and only when all are gone puts the settings back: with an
// address left, the old settings would make the kernel answer for it.
func teardown(lo netlink.Link, advertised []netip.Addr, changed []restore) error {
	var errs []error
	for _, v := range advertised {
		err := netlink.AddrDel(lo, loopbackAddr(v))
		if err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
			errs = append(errs, fmt.Errorf("remove advertised address %v from lo: %w", v, err))
		}
	}
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	return putBack(changed)
}

func putBack(changed []restore) error {
	var errs []error
	for _, r := range changed {
		errs = append(errs, writeSysctl(r.iface, r.name, r.value))
	}
	return errors.Join(errs...)
}

func addrOf(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip)
	return a.Unmap()
}
