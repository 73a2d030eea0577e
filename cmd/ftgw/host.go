package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ftgw/ftgw/replication"
)

// kernelFacts reads what must be alike on both hosts.
func kernelFacts(iface string) (replication.Kernel, error) {
	var k replication.Kernel
	for name, to := range map[string]*uint8{"tcp_timestamps": &k.Timestamps, "tcp_sack": &k.SACK,
		"tcp_window_scaling": &k.Scaling, "tcp_ecn": &k.ECN} {
		text, err := os.ReadFile("/proc/sys/net/ipv4/" + name)
		if err != nil {
			return k, fmt.Errorf("read sysctl: %w", err)
		}
		v, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 8)
		if err != nil {
			return k, fmt.Errorf("read sysctl %s: %w", name, err)
		}
		*to = uint8(v)
	}
	i, err := net.InterfaceByName(iface)
	if err != nil {
		return k, fmt.Errorf("interface %s: %w", iface, err)
	}
	k.MTU = uint32(min(i.MTU, 65535))
	return k, nil
}

// unequal names the settings in which the kernels differ, with the remedy; empty if they are
// alike. A connection could not move between two that differ.
func unequal(here, peer replication.Kernel) string {
	var differ []string
	for _, v := range []struct {
		name       string
		here, peer uint32
	}{
		{"net.ipv4.tcp_timestamps", uint32(here.Timestamps), uint32(peer.Timestamps)},
		{"net.ipv4.tcp_sack", uint32(here.SACK), uint32(peer.SACK)},
		{"net.ipv4.tcp_window_scaling", uint32(here.Scaling), uint32(peer.Scaling)},
		{"net.ipv4.tcp_ecn", uint32(here.ECN), uint32(peer.ECN)},
		{"the interface's MTU", here.MTU, peer.MTU},
	} {
		if v.here != v.peer {
			differ = append(differ, fmt.Sprintf("%s is %d here and %d there", v.name, v.here, v.peer))
		}
	}
	if len(differ) == 0 {
		return ""
	}
	return "the kernels differ: " + strings.Join(differ, ", ") + " (set both alike, then restart ftgw where it was changed)"
}

// holdPort binds a TCP port without listening, so that no program of this host takes it.
func holdPort(at netip.AddrPort) (release func() error, err error) {
	fail := func(err error) (func() error, error) {
		return nil, fmt.Errorf("hold forwarding port %v: %w (set forward in the service to a free port)", at, err)
	}
	if !at.Addr().Is4() {
		return fail(errors.New("not an IPv4 address"))
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fail(err)
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: at.Addr().As4(), Port: int(at.Port())}); err != nil {
		unix.Close(fd)
		return fail(err)
	}
	return func() error { return unix.Close(fd) }, nil
}

// undoList gives back what was acquired, the latest first.
type undoList []func() error

func (u *undoList) add(f func() error) { *u = append(*u, f) }

func (u *undoList) run(log *slog.Logger) {
	for _, f := range slices.Backward(*u) {
		if err := f(); err != nil && !errors.Is(err, net.ErrClosed) {
			log.Warn("cleaning up", "error", err)
		}
	}
}
