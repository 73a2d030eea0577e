package rules

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
)

// RestoreFence puts the second fence up again where it does not hold, whatever is missing: a
// rule, a route, the device, or because a rule of somebody else comes first. Then it says what
// it found, else the text is empty. An error means that the fence does not hold still. It works
// in the calling thread's network namespace, and the advertised addresses must be set up there.
func RestoreFence(spec Spec) (found string, err error) {
	if found = fenceGap(spec); found == "" {
		return "", nil
	}
	if err := InstallFence(spec); err != nil {
		return "", err
	}
	if left := fenceGap(spec); left != "" {
		return "", fmt.Errorf("restore second fence: %s (does a rule with a smaller number come first? see: ip rule)", left)
	}
	return found, nil
}

// fenceGap asks the kernel where it would send packets from each advertised address, and says
// what is wrong with the answer; empty: nothing is.
func fenceGap(spec Spec) string {
	if strict, err := strictPathFilter(spec.Interface); strict || err != nil {
		return "the reverse path filter of " + spec.Interface + " was strict"
	}
	dead, err := netlink.LinkByName(DeadDevice)
	if err != nil {
		return "device " + DeadDevice + " was gone"
	}
	seen := map[netip.Addr]bool{}
	for _, v := range spec.Services {
		a := v.Advertised.Addr()
		if seen[a] {
			continue
		}
		seen[a] = true
		for _, mark := range []uint32{0, spec.MarkSend} {
			to, err := routed(a, v.Peers[0], mark)
			switch {
			case mark == 0 && err != nil:
				return fmt.Sprintf("no way to %s for packets from %v (%v)", DeadDevice, a, err)
			case mark == 0 && to != dead.Attrs().Index:
				return fmt.Sprintf("packets from %v without ftgw's mark did not go to %s", a, DeadDevice)
			case mark != 0 && err == nil && to == dead.Attrs().Index: // else the network is to blame
				return fmt.Sprintf("packets from %v with ftgw's mark went to %s", a, DeadDevice)
			}
		}
	}
	return ""
}

// routed returns the index of the interface by which a packet from one address to the other
// leaves.
func routed(from, to netip.Addr, mark uint32) (int, error) {
	routes, err := netlink.RouteGetWithOptions(to.AsSlice(), &netlink.RouteGetOptions{SrcAddr: from.AsSlice(), Mark: mark})
	if err == nil && len(routes) == 0 {
		err = errors.New("no route")
	}
	if err != nil {
		return 0, err
	}
	return routes[0].LinkIndex, nil
}
