package sockdiag

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ftgw/ftgw/internal/lab"
	"github.com/ftgw/ftgw/internal/lab/labtest"
)

var (
	v4 = netip.MustParseAddrPort("192.0.2.100:80")
	v6 = netip.MustParseAddrPort("[2001:db8::100]:80")
)

// host is a namespace with the advertised addresses on lo.
func host(t *testing.T) *lab.NS {
	t.Helper()
	labtest.Require(t)
	ns := labtest.NS(t, "host")
	inside(t, ns, func() error {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		for _, a := range []string{"192.0.2.100/32", "192.0.2.101/32", "2001:db8::100/128"} {
			addr, err := netlink.ParseAddr(a)
			if err != nil {
				return err
			}
			addr.Flags = unix.IFA_F_NODAD
			if err := netlink.AddrAdd(lo, addr); err != nil {
				return err
			}
		}
		// A route of the clients of the half-open test, so that they can be answered.
		return netlink.RouteAdd(&netlink.Route{LinkIndex: lo.Attrs().Index,
			Dst: &net.IPNet{IP: net.IPv4(198, 51, 100, 0), Mask: net.CIDRMask(24, 32)}})
	})
	// For some milliseconds the kernel may take the route to a new IPv6 address for none.
	within(t, ns, "an answer of the IPv6 address", func() (bool, error) {
		d := net.Dialer{Timeout: 50 * time.Millisecond}
		_, err := d.Dial("tcp", netip.AddrPortFrom(v6.Addr(), 1).String())
		return errors.Is(err, unix.ECONNREFUSED), nil
	})
	return ns
}

func inside(t *testing.T, ns *lab.NS, f func() error) {
	t.Helper()
	if err := ns.Do(f); err != nil {
		t.Fatal(err)
	}
}

// within waits for cond, which is asked inside the namespace.
func within(t *testing.T, ns *lab.NS, what string, cond func() (bool, error)) {
	t.Helper()
	deadline := time.Now().Add(5 * time.Second)
	for {
		var ok bool
		inside(t, ns, func() (err error) { ok, err = cond(); return err })
		if ok {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not within 5 s: %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// listen listens without MPTCP, whose listeners the kernel refuses to destroy.
func listen(at string) (net.Listener, error) {
	var c net.ListenConfig
	c.SetMultipathTCP(false)
	return c.Listen(context.Background(), "tcp", at)
}

// pair opens a connection to the listener and returns both ends.
func pair(l net.Listener) (client, server net.Conn, err error) {
	client, err = net.Dial(l.Addr().Network(), l.Addr().String())
	if err != nil {
		return nil, nil, err
	}
	server, err = l.Accept()
	return client, server, err
}

func count(local netip.AddrPort, states ...State) (int, error) {
	s, err := List(local, states...)
	return len(s), err
}

func TestListAndDestroy(t *testing.T) {
	for _, tt := range []struct {
		name   string
		listen string
		local  netip.AddrPort
	}{
		{"IPv4", v4.String(), v4},
		{"IPv6", v6.String(), v6},
		{"IPv4 on a socket of both families", ":80", v4},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ns := host(t)
			var l net.Listener
			inside(t, ns, func() (err error) {
				l, err = listen(tt.listen)
				return err
			})
			t.Cleanup(func() { l.Close() })
			held, orphan, timeWait := connections(t, ns, l, tt.local)

			want := map[netip.AddrPort]State{held: Established, orphan: FinWait2, timeWait: TimeWait}
			within(t, ns, "the three connections in their states", func() (bool, error) {
				sockets, err := List(tt.local)
				have := make(map[netip.AddrPort]State)
				for _, s := range sockets {
					if s.State != Listening {
						have[s.Remote] = s.State
					}
				}
				return fmt.Sprint(have) == fmt.Sprint(want), err
			})
			inside(t, ns, func() error {
				some, err := List(tt.local, TimeWait, Established)
				if len(some) != 2 || slices.ContainsFunc(some, func(s Socket) bool { return s.State == FinWait2 }) {
					t.Errorf("list of two states: %v", some)
				}
				return err
			})

			inside(t, ns, func() error {
				n, err := Destroy(tt.local)
				if n < 2 {
					t.Errorf("destroyed %d sockets", n)
				}
				return err
			})
			within(t, ns, "all sockets gone", func() (bool, error) {
				n, err := count(tt.local)
				return n == 0, err
			})
			inside(t, ns, func() error {
				if n, err := Destroy(tt.local); n != 0 || err != nil {
					t.Errorf("second time: %d, %v", n, err)
				}
				return nil
			})
		})
	}
}

// connections makes three of them to local: one held, one whose server has closed, and one
// that both have closed, the server first. It returns the clients' ends.
func connections(t *testing.T, ns *lab.NS, l net.Listener, local netip.AddrPort) (held, orphan, timeWait netip.AddrPort) {
	t.Helper()
	inside(t, ns, func() error {
		for i, remote := range []*netip.AddrPort{&held, &orphan, &timeWait} {
			client, err := net.Dial("tcp", local.String())
			if err != nil {
				return err
			}
			t.Cleanup(func() { client.Close() })
			server, err := l.Accept()
			if err != nil {
				return err
			}
			t.Cleanup(func() { server.Close() })
			*remote = netip.MustParseAddrPort(client.LocalAddr().String())
			if i >= 1 {
				server.Close()
				if _, err := client.Read(make([]byte, 1)); err != io.EOF {
					return fmt.Errorf("client read %v, not EOF", err)
				}
			}
			if i == 2 {
				client.Close()
			}
		}
		return nil
	})
	return held, orphan, timeWait
}

func TestOtherAddressesAreLeftAlone(t *testing.T) {
	ns := host(t)
	inside(t, ns, func() error {
		var conns []net.Conn
		for _, at := range []string{"192.0.2.100:80", "192.0.2.100:81", "192.0.2.101:80"} {
			l, err := listen(at)
			if err != nil {
				return err
			}
			t.Cleanup(func() { l.Close() })
			client, server, err := pair(l)
			if err != nil {
				return err
			}
			t.Cleanup(func() { client.Close(); server.Close() })
			conns = append(conns, client)
		}
		if _, err := Destroy(v4); err != nil {
			return err
		}
		for _, at := range []string{"192.0.2.100:81", "192.0.2.101:80"} {
			if n, err := count(netip.MustParseAddrPort(at)); n != 2 || err != nil {
				t.Errorf("%s: %d sockets left, %v; want the listener and its connection", at, n, err)
			}
		}
		if _, err := conns[1].Write([]byte("x")); err != nil {
			t.Errorf("connection to another port: %v", err)
		}
		return nil
	})
}

// A half-open connection is a request of the listener, no socket yet.
func TestHalfOpen(t *testing.T) {
	ns := host(t)
	inside(t, ns, func() error {
		l, err := listen(v4.String())
		if err != nil {
			return err
		}
		t.Cleanup(func() { l.Close() })
		return sendSYN("198.51.100.7", v4)
	})
	remote := netip.MustParseAddrPort("198.51.100.7:12345")
	within(t, ns, "the request in SYN_RECV", func() (bool, error) {
		s, err := List(v4, SynRecv, NewSynRecv)
		return len(s) == 1 && s[0] == Socket{remote, SynRecv}, err
	})
	inside(t, ns, func() error {
		if _, err := Destroy(v4); err != nil {
			return err
		}
		n, err := count(v4)
		if n != 0 {
			t.Errorf("%d left", n)
		}
		return err
	})
}

func sendSYN(from string, to netip.AddrPort) error {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_RAW, syscall.IPPROTO_RAW)
	if err != nil {
		return err
	}
	defer syscall.Close(fd)
	ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolTCP, SrcIP: net.ParseIP(from), DstIP: to.Addr().AsSlice()}
	tcp := &layers.TCP{SrcPort: 12345, DstPort: layers.TCPPort(to.Port()), Seq: 1000, SYN: true, Window: 65535}
	tcp.SetNetworkLayerForChecksum(ip)
	b := gopacket.NewSerializeBuffer()
	err = gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, ip, tcp)
	if err != nil {
		return err
	}
	return syscall.Sendto(fd, b.Bytes(), 0, &syscall.SockaddrInet4{Addr: to.Addr().As4()})
}

func TestRefusesWildcard(t *testing.T) {
	for _, a := range []netip.AddrPort{{}, netip.MustParseAddrPort("192.0.2.100:0")} {
		if _, err := List(a); err == nil {
			t.Errorf("list of %v", a)
		}
		if _, err := Destroy(a); err == nil {
			t.Errorf("destroy of %v", a)
		}
	}
}
