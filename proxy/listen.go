package proxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	// A half-open connection lives for about 15 s: SYN-ACKs after 1, 2 and 4 s, then 8 s more.
	synAckRetries = 3
	// The kernel caps it at net.core.somaxconn; the packet layer drops SYNs below that.
	backlog = 1 << 16
	// Linux 6.15: longest retransmission timeout of a socket, in ms. A standby's segments go
	// unanswered at times, and its backed-off timer must be short when it begins to speak.
	tcpRTOMax   = 44
	rtoMaxMilli = 1000
)

// Listen listens on the advertised address, which must be an address of this host. Multipath
// TCP is off: its option would be stripped, and its sockets answer differently.
func Listen(ctx context.Context, at netip.AddrPort) (*net.TCPListener, error) {
	lc := net.ListenConfig{KeepAlive: -1} // the idle timeout ends what is silent
	lc.SetMultipathTCP(false)
	network := "tcp4"
	if at.Addr().Is6() {
		network = "tcp6"
	}
	l, err := lc.Listen(ctx, network, at.String())
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("proxy: listen on %v: %w; stop the program that listens there", at, err)
	}
	if errors.Is(err, syscall.EADDRNOTAVAIL) {
		return nil, fmt.Errorf("proxy: listen on %v: %w; add the address to lo first", at, err)
	}
	if err != nil {
		return nil, fmt.Errorf("proxy: listen on %v: %w", at, err)
	}
	tl := l.(*net.TCPListener)
	err = control(tl, func(fd int) error {
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_SYNCNT, synAckRetries); err != nil {
			return fmt.Errorf("set TCP_SYNCNT: %w", err)
		}
		if err := unix.Listen(fd, backlog); err != nil {
			return fmt.Errorf("raise the backlog: %w", err)
		}
		return nil
	})
	if err != nil {
		tl.Close()
		return nil, fmt.Errorf("proxy: listen on %v: %w", at, err)
	}
	return tl, nil
}

// setRTOMax shortens the longest retransmission timeout where the kernel can (it is no loss
// where it cannot: the packet layer resends at a takeover).
func setRTOMax(conn *net.TCPConn) {
	control(conn, func(fd int) error {
		return unix.SetsockoptInt(fd, unix.IPPROTO_TCP, tcpRTOMax, rtoMaxMilli)
	})
}

// control runs f on the descriptor of c.
func control(c syscall.Conn, f func(fd int) error) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	err = raw.Control(func(fd uintptr) { inner = f(int(fd)) })
	if err != nil {
		return err
	}
	return inner
}
