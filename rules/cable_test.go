package rules

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ftgw/ftgw/internal/lab"
	"github.com/ftgw/ftgw/internal/lab/labtest"
	"github.com/ftgw/ftgw/nfq"
)

// cable is a host on a wire that can be pulled at the other end.
type cable struct {
	far, host *lab.NS
	bundle    *Bundle
	spec      Spec
	v4, v6    *listener
	neighbour map[bool]net.IP // by "is IPv4"
	renewed   time.Time
}

func (c *cable) renew(t *testing.T) {
	t.Helper()
	for _, a := range c.spec.addresses() {
		if err := c.bundle.Renew(a); err != nil {
			t.Fatal(err)
		}
	}
	c.renewed = time.Now()
}

// listener counts packets of one family at the far end: those from V, and UDP from others.
type listener struct {
	fromV, udp atomic.Int64
}

// newCable puts the service's interface eth0 on the wire; above, if not nil, makes it on top
// of the wire.
func newCable(t *testing.T, lease time.Duration, above func(wire netlink.Link) error) *cable {
	labtest.Require(t)
	spec := twoFamilies()
	spec.Interface, spec.Lease = "eth0", lease
	c := &cable{far: labtest.NS(t, "far"), host: labtest.NS(t, "host"), spec: spec,
		neighbour: map[bool]net.IP{true: net.ParseIP("192.0.2.1"), false: net.ParseIP("2001:db8::1")}}
	near := "eth0"
	if above != nil {
		near = "wire"
	}
	if err := lab.Veth(c.far, "far", c.host, near); err != nil {
		t.Fatal(err)
	}
	in(t, c.host, func() error {
		if above == nil {
			return nil
		}
		wire, err := netlink.LinkByName("wire")
		if err != nil {
			return err
		}
		return above(wire)
	})
	in(t, c.far, func() error { return addresses("far", "192.0.2.1/24", "2001:db8::1/64") })
	in(t, c.host, func() error { return addresses("eth0", "192.0.2.11/24", "2001:db8::11/64") })
	c.v4 = c.listen(t, unix.ETH_P_IP, spec.Services[0].Advertised.Addr())
	c.v6 = c.listen(t, unix.ETH_P_IPV6, spec.Services[2].Advertised.Addr())
	in(t, c.host, func() (err error) {
		if err = InstallFence(spec); err == nil {
			c.bundle, err = Install(spec)
		}
		return err
	})
	t.Cleanup(func() { c.bundle.Close() })
	if !c.bundle.Egress() {
		labtest.Missing(t, "the kernel has no egress hook (it needs 5.16 and CONFIG_NETFILTER_EGRESS)")
	}
	return c
}

// addresses gives the interface addresses that work at once.
func addresses(name string, list ...string) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	for _, s := range list {
		a, err := netlink.ParseAddr(s)
		if err != nil {
			return err
		}
		if a.IP.To4() == nil {
			a.Flags = unix.IFA_F_NODAD
		}
		if err := netlink.AddrAdd(link, a); err != nil {
			return fmt.Errorf("add %s to %s: %w", s, name, err)
		}
	}
	return netlink.LinkSetUp(link)
}

func (c *cable) listen(t *testing.T, kind uint16, v netip.Addr) *listener {
	l := &listener{}
	in(t, c.far, func() error {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, int(kind>>8|kind<<8))
		if err != nil {
			return err
		}
		done := make(chan struct{}) // looked at whenever nothing came for 10 ms
		if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 10000}); err != nil {
			return err
		}
		stopped := make(chan struct{})
		go func() {
			defer close(stopped)
			b := make([]byte, 65536)
			for {
				n, _, err := unix.Recvfrom(fd, b, 0)
				switch {
				case err == nil && sourceOf(b[:n]) == v:
					l.fromV.Add(1)
				case err == nil && isUDP(b[:n]):
					l.udp.Add(1)
				}
				select {
				case <-done:
					return
				default:
				}
			}
		}()
		t.Cleanup(func() { close(done); <-stopped; unix.Close(fd) })
		return nil
	})
	return l
}

func sourceOf(b []byte) netip.Addr {
	switch {
	case len(b) >= 20 && b[0]>>4 == 4:
		return netip.AddrFrom4([4]byte(b[12:]))
	case len(b) >= 40 && b[0]>>4 == 6:
		return netip.AddrFrom16([16]byte(b[8:]))
	}
	return netip.Addr{}
}

func isUDP(b []byte) bool {
	return len(b) >= 40 && (b[0]>>4 == 4 && b[9] == unix.IPPROTO_UDP || b[0]>>4 == 6 && b[6] == unix.IPPROTO_UDP)
}

// pull and plug work at the far end and wait until the host knows.
func (c *cable) pull(t *testing.T) { c.set(t, netlink.LinkSetDown, netlink.OperUp, false) }
func (c *cable) plug(t *testing.T) { c.set(t, netlink.LinkSetUp, netlink.OperUp, true) }

func (c *cable) set(t *testing.T, change func(netlink.Link) error, state netlink.LinkOperState, want bool) {
	t.Helper()
	in(t, c.far, func() error {
		link, err := netlink.LinkByName("far")
		if err != nil {
			return err
		}
		if err := change(link); err != nil || !want {
			return err
		}
		// When it went down it lost its IPv6 addresses.
		return netlink.AddrReplace(link, &netlink.Addr{Flags: unix.IFA_F_NODAD,
			IPNet: &net.IPNet{IP: c.neighbour[false], Mask: net.CIDRMask(64, 128)}})
	})
	in(t, c.host, func() error {
		eventually(t, "the host notices", func() bool {
			link, err := netlink.LinkByName("eth0")
			return err == nil && (link.Attrs().OperState == state) == want
		})
		if !want {
			eventually(t, "its neighbours are forgotten", func() bool { return !c.resolved(t, true) && !c.resolved(t, false) })
		}
		return nil
	})
}

// send sends n segments from each V to the far end. All of them must pass postrouting.
func (c *cable) send(t *testing.T, n int) {
	t.Helper()
	in(t, c.host, func() error {
		s, err := nfq.OpenSender(c.spec.MarkSend)
		if err != nil {
			return err
		}
		defer s.Close()
		for range n {
			for _, b := range [][]byte{
				packet(unix.IPPROTO_TCP, "192.0.2.100", "192.0.2.1", 0, ports(80, 4711)...),
				packet6(unix.IPPROTO_TCP, "2001:db8::100", "2001:db8::1", ports(80, 4711)...),
			} {
				if err := s.Send(b); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

func packet6(protocol byte, from, to string, transport ...byte) []byte {
	b := make([]byte, 60)
	b[0], b[6], b[7] = 0x60, protocol, 64
	binary.BigEndian.PutUint16(b[4:], 20)
	copy(b[8:], net.ParseIP(from))
	copy(b[24:], net.ParseIP(to))
	copy(b[40:], transport)
	return b
}

// reach sends a datagram from the host's own address and waits until it has come: then what
// waited for the neighbour before it has left, or been dropped.
func (c *cable) reach(t *testing.T) {
	t.Helper()
	for v4, l := range map[bool]*listener{true: c.v4, false: c.v6} {
		before := l.udp.Load()
		in(t, c.host, func() error {
			u, err := net.Dial("udp", net.JoinHostPort(c.neighbour[v4].String(), "9"))
			if err != nil {
				return err
			}
			defer u.Close()
			// Seldom, as the queue for a neighbour is short and its oldest packet would go first.
			var wrote time.Time
			eventually(t, fmt.Sprintf("the neighbour is there (IPv4: %v)", v4), func() bool {
				if time.Since(wrote) > 200*time.Millisecond {
					wrote = time.Now()
					u.Write(make([]byte, 20))
				}
				return l.udp.Load() > before && c.resolved(t, v4)
			})
			return nil
		})
	}
}

// resolved reports whether the neighbour's MAC address is known, in the host's namespace.
func (c *cable) resolved(t *testing.T, v4 bool) bool {
	family := unix.AF_INET6
	if v4 {
		family = unix.AF_INET
	}
	link, err := netlink.LinkByName("eth0")
	if err != nil {
		t.Error(err)
		return true
	}
	list, err := netlink.NeighList(link.Attrs().Index, family)
	if err != nil {
		t.Error(err)
		return true
	}
	for _, n := range list {
		if n.IP.Equal(c.neighbour[v4]) && n.State&(netlink.NUD_REACHABLE|netlink.NUD_STALE|netlink.NUD_DELAY|netlink.NUD_PROBE) != 0 {
			return true
		}
	}
	return false
}
