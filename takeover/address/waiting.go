package address

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// DropWaiting drops the packets that wait in the kernel until a neighbour's Ethernet address is
// known, by forgetting the unfinished neighbours. No rule sees such packets any more, however
// late they leave.
func DropWaiting(iface string) error {
	link, err := netlink.LinkByName(iface)
	if err != nil {
		return fmt.Errorf("drop what waits for neighbours: interface %s: %w", iface, err)
	}
	all, err := netlink.NeighList(link.Attrs().Index, netlink.FAMILY_ALL)
	if err != nil {
		return fmt.Errorf("drop what waits for neighbours: list those of %s: %w", iface, err)
	}
	for _, n := range all {
		if n.State&netlink.NUD_INCOMPLETE == 0 {
			continue
		}
		if e := netlink.NeighDel(&n); e != nil && !errors.Is(e, unix.ENOENT) {
			err = errors.Join(err, fmt.Errorf("drop what waits for %v: %w", n.IP, e))
		}
	}
	return err
}
