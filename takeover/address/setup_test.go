package address

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/ftgw/ftgw/internal/lab"
	"github.com/ftgw/ftgw/internal/lab/labtest"
)

func TestSetupAndUndo(t *testing.T) {
	s := newSegment(t)
	v6 := netip.MustParseAddr("2001:db8::100")
	all := []netip.Addr{v, v6}
	inside(t, s.a.NS, func() error {
		if err := os.WriteFile(sysctlPath("eth0", arpIgnore), []byte("0"), 0); err != nil {
			return err
		}
		undo, err := Setup("eth0", all)
		if err != nil {
			return err
		}
		again, err := Setup("eth0", all)
		if err != nil {
			return err
		}
		for _, a := range all {
			l, err := net.Listen("tcp", netip.AddrPortFrom(a, 80).String())
			if err != nil {
				return err
			}
			l.Close()
		}
		if name, _, err := InterfaceOf(v); name != "lo" || err != nil {
			t.Errorf("the address is on %q, %v", name, err)
		}
		// Undo in any order, and twice.
		for _, u := range []func() error{again, undo, undo} {
			if err := u(); err != nil {
				return err
			}
		}
		if _, _, err := InterfaceOf(v); err == nil {
			t.Error("the address is still there")
		}
		if got, err := readSysctl("eth0", arpIgnore); got != 0 || err != nil {
			t.Errorf("arp_ignore is %d, %v", got, err)
		}
		return nil
	})
}

// What somebody took back of Setup is found and put right; a clean removal leaves no address.
func TestRestore(t *testing.T) {
	s := newSegment(t)
	all := []netip.Addr{v}
	inside(t, s.a.NS, func() error {
		if _, err := Setup("eth0", all); err != nil {
			return err
		}
		for _, change := range []func() error{
			func() error { return nil },
			func() error { return writeSysctl("eth0", arpIgnore, 0) },
			func() error { return writeSysctl("eth0", arpAnnounce, 0) },
			func() error { return Withdraw(all) },
			func() error { return errors.Join(Withdraw(all), Withdraw(all), writeSysctl("eth0", arpIgnore, 0)) },
		} {
			if err := change(); err != nil {
				return err
			}
			found, err := Restore("eth0", all)
			t.Log(found)
			if again, err2 := Restore("eth0", all); err != nil || err2 != nil || again != nil {
				t.Errorf("found %q, %v, and again %q, %v", found, err, again, err2)
			}
			if name, _, err := InterfaceOf(v); name != "lo" || err != nil {
				t.Errorf("the address is on %q, %v", name, err)
			}
			if got, err := readSysctl("eth0", arpIgnore); got != 1 || err != nil {
				t.Errorf("arp_ignore is %d, %v", got, err)
			}
		}
		if _, err := configure("192.0.2.100/24"); err != nil {
			return err
		}
		if _, err := Restore("eth0", all); err == nil || !strings.Contains(err.Error(), "ip addr del 192.0.2.100/24 dev eth0") {
			t.Errorf("the kernel answers for the address on eth0: error %v", err)
		}
		return nil
	})
}

func TestSetupRefuses(t *testing.T) {
	s := newSegment(t)
	refuses := func(h *host, says string, before func() error) {
		t.Helper()
		inside(t, h.NS, func() error {
			if err := before(); err != nil {
				return err
			}
			if _, err := Setup("eth0", []netip.Addr{v}); err == nil || !strings.Contains(err.Error(), says) {
				t.Errorf("error %v, want one with %q", err, says)
			}
			return nil
		})
	}
	refuses(s.a, "ip addr del", func() error { _, err := configure("192.0.2.100/24"); return err })
	refuses(s.b, "set it to 0", func() error { return os.WriteFile(sysctlPath("all", arpIgnore), []byte("4"), 0) })
	inside(t, s.client.NS, func() error {
		if _, err := Setup("eth7", nil); err == nil || !strings.Contains(err.Error(), "eth7") {
			t.Errorf("no such interface: %v", err)
		}
		return nil
	})
}

func TestLookups(t *testing.T) {
	s := newSegment(t)
	inside(t, s.a.NS, func() error {
		if _, err := Gateway("eth0"); err == nil || !strings.Contains(err.Error(), "probe") {
			t.Errorf("no route: %v", err)
		}
		link, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		for metric, gw := range map[int]string{100: "192.0.2.1", 200: "192.0.2.2"} {
			route := &netlink.Route{LinkIndex: link.Attrs().Index, Gw: net.ParseIP(gw), Priority: metric}
			if err := netlink.RouteAdd(route); err != nil {
				return err
			}
		}
		if gw, err := Gateway("eth0"); gw.String() != "192.0.2.1" || err != nil {
			t.Errorf("gateway %v, %v", gw, err)
		}
		if p, err := Subnet("eth0"); p.String() != "192.0.2.11/24" || err != nil {
			t.Errorf("subnet %v, %v", p, err)
		}
		if name, p, err := InterfaceOf(s.a.addr); name != "eth0" || p.String() != "192.0.2.11/24" || err != nil {
			t.Errorf("interface %v, %v, %v", name, p, err)
		}
		if _, err := Subnet("lo0"); err == nil {
			t.Error("subnet of no interface")
		}
		return nil
	})
}

func TestOpenErrors(t *testing.T) {
	labtest.Require(t)
	a, b := labtest.NS(t, "a"), labtest.NS(t, "b")
	if err := lab.Veth(a, "eth0", b, "eth0"); err != nil {
		t.Fatal(err)
	}
	for iface, says := range map[string]string{"eth0": "no IPv4 address", "lo": "no Ethernet", "eth7": "ip link"} {
		inside(t, a, func() error {
			_, err := Open(Config{Interface: iface, Alive: yes, Handler: &recorder{}})
			if err == nil || !strings.Contains(err.Error(), says) {
				t.Errorf("%s: error %v, want one with %q", iface, err, says)
			}
			return nil
		})
	}
}
