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
	// Bounds of a retransmission timeout, for Linux 6.15 and later. A standby's segments go
	// unanswered at times, and its backed-off timer must be short when it begins to speak. Its
	// first timeout must have passed by then, for only a timer that has backed off can be made
	// to retransmit at once (RFC 6069); 60 ms leave room for a client's delayed ACK. A host that
	// speaks keeps the kernel's own minimum.
	rtoMaxMilli    = 1000
	rtoMinStandby  = 60_000  // microseconds
	rtoMinSpeaking = 200_000 // microseconds
	// The kernel gives a client up after a number of timeouts. With these that would be 15 s.
	unheardMilli = 120_000
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

// Speak says whether this host speaks for the connections to come; l is where they come from.
// A connection has its first timeout from its listener, computed in the handshake.
func Speak(l *net.TCPListener, speaks bool) {
	if speaks {
		setRTO(l, rtoMinSpeaking)
	} else {
		setRTO(l, rtoMinStandby)
	}
}

// setRTO bounds the retransmission timeout where the kernel can. It is no loss where it cannot:
// the client then waits for the kernel's own timer.
func setRTO(c syscall.Conn, minMicro int) {
	control(c, func(fd int) error {
		return errors.Join(
			unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_RTO_MAX_MS, rtoMaxMilli),
			unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_RTO_MIN_US, minMicro))
	})
}

// setUnheard bounds the time in which a client acknowledges nothing.
func setUnheard(c syscall.Conn) {
	control(c, func(fd int) error {
		return unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, unheardMilli)
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
