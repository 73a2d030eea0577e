package rules

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"

	"github.com/ftgw/ftgw/internal/lab/labtest"
)

// Segments that passed postrouting under the lease wait in the kernel while the cable is out
// and nobody answers for the neighbour. When the cable is back the lease decides anew.
func TestHeldPackets(t *testing.T) {
	for name, above := range map[string]func(wire netlink.Link) error{
		"veth": nil, "macvlan": asMacvlan, "bridge": asBridge,
	} {
		for end, c := range map[string]struct {
			lease time.Duration
			lapse func(*testing.T, *cable, netip.Addr)
		}{
			"held":    {time.Minute, nil},
			"revoked": {time.Minute, revoke},
			"expired": {time.Second, func(t *testing.T, c *cable, a netip.Addr) {
				eventually(t, "the lease to end", func() bool { return time.Since(c.renewed) > c.spec.Lease })
			}},
		} {
			t.Run(name+", lease "+end, func(t *testing.T) {
				t.Parallel()
				testHeld(t, newCable(t, c.lease, above), c.lapse)
			})
		}
	}
}

// testHeld expects the held segments to leave if lapse is nil, which shows that they are
// held, and to be dropped and counted else.
func testHeld(t *testing.T, c *cable, lapse func(*testing.T, *cable, netip.Addr)) {
	const segments = 5
	c.reach(t)
	c.renew(t)
	c.send(t, 1)
	eventually(t, "V speaks on a sound cable", func() bool { return c.v4.fromV.Load() == 1 && c.v6.fromV.Load() == 1 })
	c.pull(t)
	c.renew(t)
	c.send(t, segments)
	left, dropped := int64(1+segments), uint64(0)
	if lapse != nil {
		left, dropped = 1, 2*segments
		for _, a := range c.spec.addresses() {
			lapse(t, c, a)
		}
	}
	c.plug(t)
	c.reach(t)
	if v4, v6 := c.v4.fromV.Load(), c.v6.fromV.Load(); v4 != left || v6 != left {
		t.Errorf("%d and %d packets from V came, want %d of each family", v4, v6, left)
	}
	drops, err := c.bundle.Drops()
	if err != nil || drops[DropNoLeaseNow] != dropped || drops[DropNoLease] != 0 {
		t.Errorf("drops %v, %v, want %d at the interface", drops, err, dropped)
	}
}

func asMacvlan(wire netlink.Link) error {
	return netlink.LinkAdd(&netlink.Macvlan{Mode: netlink.MACVLAN_MODE_BRIDGE,
		LinkAttrs: netlink.LinkAttrs{Name: "eth0", ParentIndex: wire.Attrs().Index}})
}

func asBridge(wire netlink.Link) error {
	if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "eth0"}}); err != nil {
		return err
	}
	b, err := netlink.LinkByName("eth0")
	if err != nil {
		return err
	}
	return netlink.LinkSetMaster(wire, b)
}

// A chain goes with its device, or, in newer kernels, comes back with it.
func TestEgressAfterNewDevice(t *testing.T) {
	c := newCable(t, time.Minute, asMacvlan)
	in(t, c.host, func() error {
		old, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		wire, err := netlink.LinkByName("wire")
		if err != nil {
			return err
		}
		if err := errors.Join(netlink.LinkDel(old), asMacvlan(wire)); err != nil {
			return err
		}
		return addresses("eth0", "192.0.2.11/24", "2001:db8::11/64")
	})
	present, err := c.bundle.Present()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("the kernel kept the chain: %v", present)
	if !present {
		c.bundle = install(t, c.host, c.spec)
	}
	testHeld(t, c, revoke)
}

func revoke(t *testing.T, c *cable, a netip.Addr) {
	t.Helper()
	if err := c.bundle.Revoke(a); err != nil {
		t.Fatal(err)
	}
}

// A packet that waits in the interface's queueing discipline has passed the egress hook. The
// kernel empties the queue when the carrier is lost, so it does not leave with the next one.
func TestQueueEmptiedWithoutCarrier(t *testing.T) {
	c := newCable(t, time.Minute, nil)
	c.reach(t)
	in(t, c.host, func() error {
		link, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		return netlink.QdiscAdd(&netlink.Tbf{Rate: 2000, Limit: 1 << 20, Buffer: netlink.Xmittime(2000, 2000), // bytes a second, bytes
			QdiscAttrs: netlink.QdiscAttrs{LinkIndex: link.Attrs().Index, Handle: netlink.MakeHandle(1, 0), Parent: netlink.HANDLE_ROOT}})
	})
	c.renew(t)
	c.send(t, 500)
	eventually(t, "V speaks slowly", func() bool { return c.v4.fromV.Load() > 0 })
	c.pull(t)
	left := c.v4.fromV.Load()
	if left > 400 {
		t.Fatalf("%d of 500 packets left at once", left)
	}
	c.plug(t)
	c.reach(t)
	if n := c.v4.fromV.Load(); n != left {
		t.Errorf("%d packets from V left after the carrier came back", n-left)
	}
}

// The check at the interface is enough alone: on real connections, with segments larger than
// the MTU and checksums still to be filled in.
func TestEgressAlone(t *testing.T) {
	s := newSite(t, testSpec(), nil)
	if !s.bundle.Egress() {
		labtest.Missing(t, "the kernel has no egress hook")
	}
	s.do(t, s.host, func() error {
		conn, err := nftables.New()
		if err != nil {
			return err
		}
		conn.FlushChain(&nftables.Chain{Name: "postrouting", Table: &nftables.Table{Name: "ftgw", Family: nftables.TableFamilyINet}})
		return conn.Flush()
	})
	wantPresent(t, s.bundle, false)
	s.echo(t)
	stop := s.renew(t)
	c, err := s.dial(t, patience)
	if err != nil {
		t.Fatal(err)
	}
	exchange(t, c, 8<<20)
	allBack := trickle(t, c)
	stop()
	if err := s.bundle.Revoke(s.v()); err != nil {
		t.Fatal(err)
	}
	s.silent(t, "the queue accepts", s.accepted)
	if drops, err := s.bundle.Drops(); err != nil || drops[DropNoLeaseNow] == 0 || drops[DropNoLease] != 0 {
		t.Errorf("drops: %v, %v", drops, err)
	}
	defer s.renew(t)()
	allBack("with the lease back")
}
