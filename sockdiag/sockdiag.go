package sockdiag

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

const (
	sockDiagByFamily = 20 // SOCK_DIAG_BY_FAMILY
	sockDestroy      = 21 // SOCK_DESTROY
)

// Socket is one TCP socket of the kernel, whether a process holds it or not.
type Socket struct {
	Remote netip.AddrPort // zero port for a listener
	State  State
}

// List returns the TCP sockets whose local end is exactly local, in no order: listeners,
// half-open requests, connections, orphans and TIME_WAIT, but not sockets that are merely bound.
// With states given, only sockets in one of them. A dump is no snapshot: a socket that changes meanwhile may be missing or listed twice.
func List(local netip.AddrPort, states ...State) ([]Socket, error) {
	c, err := dial(local)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	reports, err := dump(c, local, mask(states))
	if err != nil {
		return nil, err
	}
	sockets := make([]Socket, len(reports))
	for i, r := range reports {
		sockets[i] = Socket{Remote: r.remote(), State: r.state}
	}
	return sockets, nil
}

func dial(local netip.AddrPort) (*netlink.Conn, error) {
	if !local.IsValid() || local.Port() == 0 {
		return nil, fmt.Errorf("list sockets on %v: need one address and port", local)
	}
	c, err := netlink.Dial(unix.NETLINK_SOCK_DIAG, nil)
	if err != nil {
		return nil, fmt.Errorf("open socket diagnosis: %w (the kernel needs CONFIG_INET_DIAG: modprobe tcp_diag)", err)
	}
	return c, nil
}

// dump asks per address family, since a socket of the IPv6 family may hold an IPv4 address.
func dump(c *netlink.Conn, local netip.AddrPort, states uint32) ([]report, error) {
	local = netip.AddrPortFrom(local.Addr().Unmap().WithZone(""), local.Port())
	families := []uint8{unix.AF_INET6}
	if local.Addr().Is4() {
		families = []uint8{unix.AF_INET, unix.AF_INET6}
	}
	var all []report
	for _, family := range families {
		messages, err := c.Execute(netlink.Message{
			Header: netlink.Header{Type: sockDiagByFamily, Flags: netlink.Request | netlink.Dump},
			Data:   dumpRequest(family, states, local),
		})
		if errors.Is(err, unix.ENOENT) && family == unix.AF_INET6 {
			continue // a kernel without IPv6 has no such sockets
		}
		if err != nil {
			return nil, fmt.Errorf("list sockets on %v: %w (the kernel needs CONFIG_INET_DIAG: modprobe tcp_diag)", local, err)
		}
		for _, m := range messages {
			r, err := parse(m.Data)
			if err != nil {
				return nil, fmt.Errorf("list sockets on %v: %w", local, err)
			}
			if r.local() == local {
				all = append(all, r)
			}
		}
	}
	return all, nil
}
