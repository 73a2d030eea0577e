package address

import (
	"context"
	"net/netip"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
)

// A survey hears kernels, owners and strangers, and leaves no trace: it names no sender.
func TestSurvey(t *testing.T) {
	s := newSegment(t)
	setup(t, s.a)
	owner, told := start(t, s, s.a, yes)
	if err := owner.Own(v); err != nil {
		t.Fatal(err)
	}
	nobody := netip.MustParseAddr("192.0.2.99")
	ask := func() map[string]string {
		found := map[string]string{}
		inside(t, s.client.NS, func() error {
			stations, err := Survey(t.Context(), "eth0", []netip.Addr{v, s.a.addr, s.b.addr, nobody})
			for a, macs := range stations {
				var names []string
				for _, mac := range macs {
					names = append(names, s.names[mac.String()])
				}
				found[a.String()] = strings.Join(names, " ")
			}
			return err
		})
		return found
	}
	if got := ask(); len(got) != 3 || got["192.0.2.100"] != "a" || got["192.0.2.11"] != "a" || got["192.0.2.12"] != "b" {
		t.Errorf("found %v", got)
	}
	for _, line := range told.all() {
		if strings.HasPrefix(line, "foreign") || strings.HasPrefix(line, "answered 192.0.2.100") {
			t.Errorf("the owner was disturbed: %s", line)
		}
	}
	inside(t, s.b.NS, func() error {
		link, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		known, err := netlink.NeighList(link.Attrs().Index, netlink.FAMILY_V4)
		if len(known) > 0 {
			t.Errorf("a kernel that was asked learned %v", known)
		}
		return err
	})
	// A stranger takes the address, too.
	inside(t, s.b.NS, func() error { _, err := configure("192.0.2.100/32"); return err })
	if got := strings.Fields(ask()["192.0.2.100"]); len(got) != 2 {
		t.Errorf("two stations have the address, found %v", got)
	}
	inside(t, s.client.NS, func() error {
		if _, err := Survey(t.Context(), "lo", []netip.Addr{v}); err == nil || !strings.Contains(err.Error(), "no Ethernet") {
			t.Errorf("on lo: %v", err)
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := Survey(ended, "eth0", []netip.Addr{v}); err == nil {
			t.Error("an ended survey is no error")
		}
		return setLink("eth0", false)
	})
	inside(t, s.client.NS, func() error {
		if _, err := Survey(t.Context(), "eth0", []netip.Addr{v}); err == nil {
			t.Error("no error on an interface that is down")
		}
		return nil
	})
}
