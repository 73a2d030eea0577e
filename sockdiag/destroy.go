package sockdiag

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// passes bounds how often Destroy looks again: a destroyed listener's half-open connections
// go with it, and one that was just being accepted shows up only then.
const passes = 4

// Destroy removes every TCP socket whose local end is exactly local, whoever holds it: what an
// earlier run left behind, listeners included. It returns how many it removed. TIME_WAIT stays
// where the kernel cannot remove it, without error, for it dies by itself; any other socket
// that stays is an error, as a listener with MPTCP does, which the kernel refuses to destroy.
//
// The kernel answers for a destroyed connection with RST. The caller must have the fence up
// before, so that no client ever sees it (DESIGN §3).
func Destroy(local netip.AddrPort) (int, error) {
	c, err := dial(local)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	removed := 0
	for range passes {
		reports, err := dump(c, local, every)
		if err != nil {
			return removed, err
		}
		n, left, err := destroyAll(c, reports)
		removed += n
		if err != nil {
			return removed, fmt.Errorf("destroy sockets on %v: %w", local, err)
		}
		if n == 0 && left == 0 {
			return removed, nil
		}
	}
	return removed, verifyGone(c, local)
}

// destroyAll destroys the sockets of one dump. left counts those that remain and matter.
func destroyAll(c *netlink.Conn, reports []report) (n, left int, err error) {
	for _, r := range reports {
		err := destroyOne(c, r)
		switch {
		case err == nil:
			n++
		case errors.Is(err, unix.ENOENT): // it went by itself
		case errors.Is(err, unix.EOPNOTSUPP) && r.state == TimeWait:
		case errors.Is(err, unix.EOPNOTSUPP):
			return n, left, fmt.Errorf("%v to %v: %w (the kernel needs CONFIG_INET_DIAG_DESTROY)", r.state, r.remote(), err)
		case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
			return n, left, fmt.Errorf("%v to %v: %w (CAP_NET_ADMIN is needed: run as root)", r.state, r.remote(), err)
		default:
			left++
		}
	}
	return n, left, nil
}

func destroyOne(c *netlink.Conn, r report) error {
	_, err := c.Execute(netlink.Message{
		Header: netlink.Header{Type: sockDestroy, Flags: netlink.Request | netlink.Acknowledge},
		Data:   request(r.family, 0, r.id),
	})
	return err
}

// verifyGone says what is still there after the last pass.
func verifyGone(c *netlink.Conn, local netip.AddrPort) error {
	reports, err := dump(c, local, every&^(1<<TimeWait))
	if err != nil {
		return err
	}
	if len(reports) == 0 {
		return nil
	}
	r := reports[0]
	return fmt.Errorf("destroy sockets on %v: %d remain, one of them %v to %v (stop the program that opens them, or wait until the kernel drops its orphans)",
		local, len(reports), r.state, r.remote())
}
