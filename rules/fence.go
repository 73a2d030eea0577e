package rules

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	// DeadDevice is the device to which the second fence sends what must not leave.
	DeadDevice = "ftgw-dead"

	// fenceTable is the routing table whose routes lead nowhere.
	fenceTable = 20190
	// The rules' priorities: marked packets from V skip to fencePass, where normal routing
	// goes on; all others from V end in fenceTable. (A rule cannot negate the mark alone.)
	fenceMarked   = 190
	fenceUnmarked = 191
	fencePass     = 192

	actionNop = 3 // FR_ACT_NOP of linux/fib_rules.h
)

// InstallFence puts up the second fence, which holds when the table is flushed: packets from
// an advertised address that lack MarkSend are routed to a device that swallows them. It
// works in the calling thread's network namespace. Applying it twice changes nothing; like
// the table it outlives the daemon. A strict reverse path filter on the interface becomes a
// loose one and stays so: it asks for the way back from the address, which is the dead device.
func InstallFence(spec Spec) error {
	if err := spec.check(); err != nil {
		return err
	}
	index, err := deadDevice(spec.Interface)
	if err != nil {
		return fmt.Errorf("install second fence: device %s: %w", DeadDevice, explain(err))
	}
	if err := loosenPathFilter(spec.Interface); err != nil {
		return fmt.Errorf("install second fence: %w", err)
	}
	for _, a := range spec.addresses() {
		// The routes come first: a rule that leads to an empty table would let packets through.
		if err := deadRoutes(index, a); err != nil {
			return fmt.Errorf("install second fence: routing table %d: %w", fenceTable, explain(err))
		}
		if err := fenceRules(spec.MarkSend, a); err != nil {
			return fmt.Errorf("install second fence: routing rule for %v: %w", a, explain(err))
		}
	}
	return nil
}

// RemoveFence takes the second fence of spec's addresses away, and the device and the routes
// with the last of them. It works in the calling thread's network namespace.
func RemoveFence(spec Spec) error {
	gone := map[netip.Addr]bool{}
	for _, a := range spec.addresses() {
		gone[a] = true
	}
	left := 0
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		rules, err := ourRules(family)
		if err != nil {
			return fmt.Errorf("remove second fence: list routing rules: %w", err)
		}
		for _, r := range rules {
			if a, ok := source(r); !ok || !gone[a] {
				if ok {
					left++
				}
			} else if err := deleteRule(r); err != nil {
				return fmt.Errorf("remove second fence: routing rule for %v: %w", a, explain(err))
			}
		}
	}
	if left > 0 {
		return nil
	}
	return removeShared()
}

// removeShared removes what all fenced addresses have in common.
func removeShared() error {
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		rules, err := ourRules(family)
		if err != nil {
			return fmt.Errorf("remove second fence: list routing rules: %w", err)
		}
		for _, r := range rules {
			if err := deleteRule(r); err != nil {
				return fmt.Errorf("remove second fence: routing rule: %w", explain(err))
			}
		}
		routes, err := netlink.RouteListFiltered(family, &netlink.Route{Table: fenceTable}, netlink.RT_FILTER_TABLE)
		if err != nil {
			return fmt.Errorf("remove second fence: list routes: %w", err)
		}
		for _, r := range routes {
			if err := netlink.RouteDel(&r); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("remove second fence: route: %w", explain(err))
			}
		}
	}
	link, err := netlink.LinkByName(DeadDevice)
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		return nil
	}
	if err == nil {
		err = netlink.LinkDel(link)
	}
	if err != nil {
		return fmt.Errorf("remove second fence: device %s: %w", DeadDevice, explain(err))
	}
	return nil
}

// deadDevice makes the device and returns its index. A dummy swallows packets; where the
// kernel has none, a bridge without ports does. Sockets take their segment size from it, so
// it has the MTU of the interface.
func deadDevice(iface string) (int, error) {
	mtu := 1500
	if iface != "" {
		real, err := netlink.LinkByName(iface)
		if err != nil {
			return 0, fmt.Errorf("interface %s: %w", iface, err)
		}
		mtu = real.Attrs().MTU
	}
	link, err := netlink.LinkByName(DeadDevice)
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		attrs := netlink.LinkAttrs{Name: DeadDevice, MTU: mtu}
		err = netlink.LinkAdd(&netlink.Dummy{LinkAttrs: attrs})
		if errors.Is(err, unix.EOPNOTSUPP) {
			err = netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attrs})
		}
		if err == nil {
			link, err = netlink.LinkByName(DeadDevice)
		}
	}
	if err != nil {
		return 0, err
	}
	if err := netlink.LinkSetMTU(link, mtu); err != nil {
		return 0, fmt.Errorf("set MTU %d: %w", mtu, err)
	}
	if err := netlink.LinkSetARPOff(link); err != nil { // nobody to ask, nothing to wait for
		return 0, fmt.Errorf("set ARP off: %w", err)
	}
	const noAddress = 1 // IN6_ADDR_GEN_MODE_NONE
	if err := netlink.LinkSetIP6AddrGenMode(link, noAddress); err != nil && !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.EAFNOSUPPORT) {
		return 0, fmt.Errorf("set IPv6 addresses off: %w", err)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return 0, fmt.Errorf("set up: %w", err)
	}
	return link.Attrs().Index, nil
}

// loosenPathFilter sets rp_filter to 2 where it is 1 for the interface.
func loosenPathFilter(iface string) error {
	strict, err := strictPathFilter(iface)
	if err != nil || !strict {
		return err
	}
	if err := os.WriteFile(pathFilter(iface), []byte("2"), 0); err != nil {
		return fmt.Errorf("loosen reverse path filter: %w (run: sysctl net.ipv4.conf.%s.rp_filter=2)", err, iface)
	}
	return nil
}

func pathFilter(iface string) string { return "/proc/sys/net/ipv4/conf/" + iface + "/rp_filter" }

// strictPathFilter reports whether the interface's reverse path filter is strict. The kernel
// uses the larger of the interface's value and the one for all.
func strictPathFilter(iface string) (bool, error) {
	if iface == "" {
		return false, nil
	}
	strict := false
	for _, name := range []string{pathFilter("all"), pathFilter(iface)} {
		b, err := os.ReadFile(name)
		if err != nil {
			return false, fmt.Errorf("read reverse path filter: %w", err)
		}
		switch strings.TrimSpace(string(b)) {
		case "1":
			strict = true
		case "2":
			return false, nil
		}
	}
	return strict, nil
}

// deadRoutes fills the routing table for a's family: everything goes to the device, and is
// unreachable should somebody take the device away.
func deadRoutes(index int, a netip.Addr) error {
	family, all := unix.AF_INET6, &net.IPNet{IP: net.IPv6zero, Mask: net.CIDRMask(0, 128)}
	if a.Is4() {
		family, all = unix.AF_INET, &net.IPNet{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)}
	}
	last := netlink.Route{Family: family, Table: fenceTable, Dst: all, Type: unix.RTN_UNREACHABLE, Priority: 1 << 30}
	first := netlink.Route{Family: family, Table: fenceTable, Dst: all, LinkIndex: index, Scope: netlink.SCOPE_LINK, Priority: 1}
	return errors.Join(netlink.RouteReplace(&last), netlink.RouteReplace(&first))
}

// fenceRules adds what is missing of a's rules and removes those of an earlier mark.
func fenceRules(mark uint32, a netip.Addr) error {
	family := unix.AF_INET6
	if a.Is4() {
		family = unix.AF_INET
	}
	have, err := ourRules(family)
	if err != nil {
		return fmt.Errorf("list: %w", err)
	}
	marked, unmarked, pass := netlink.NewRule(), netlink.NewRule(), netlink.NewRule()
	src := &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(a.BitLen(), a.BitLen())}
	pass.Family, pass.Priority, pass.Type = family, fencePass, actionNop
	marked.Family, marked.Priority, marked.Src, marked.Mark, marked.Goto = family, fenceMarked, src, mark, fencePass
	unmarked.Family, unmarked.Priority, unmarked.Src, unmarked.Table = family, fenceUnmarked, src, fenceTable
	for _, want := range []*netlink.Rule{pass, marked, unmarked} {
		found := false
		for _, r := range have {
			if r.Priority != want.Priority || want.Src != nil && !fromAddr(r, a) {
				continue
			}
			if r.Mark == want.Mark && !found {
				found = true
			} else if err := deleteRule(r); err != nil {
				return fmt.Errorf("remove an older one: %w", err)
			}
		}
		if !found {
			if err := netlink.RuleAdd(want); err != nil {
				return err
			}
		}
	}
	return nil
}

func ourRules(family int) ([]netlink.Rule, error) {
	all, err := netlink.RuleList(family)
	if errors.Is(err, unix.EAFNOSUPPORT) {
		return nil, nil
	}
	var ours []netlink.Rule
	for _, r := range all {
		if r.Priority >= fenceMarked && r.Priority <= fencePass {
			r.Family = family
			ours = append(ours, r)
		}
	}
	return ours, err
}

// deleteRule deletes by priority and source, which is all that tells ours apart.
func deleteRule(r netlink.Rule) error {
	del := netlink.NewRule()
	del.Family, del.Priority, del.Src, del.Mark = r.Family, r.Priority, r.Src, r.Mark
	return netlink.RuleDel(del)
}

func source(r netlink.Rule) (netip.Addr, bool) {
	if r.Src == nil {
		return netip.Addr{}, false
	}
	a, ok := netip.AddrFromSlice(r.Src.IP)
	return a.Unmap(), ok
}

func fromAddr(r netlink.Rule, a netip.Addr) bool {
	have, ok := source(r)
	return ok && have == a
}
