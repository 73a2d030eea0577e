package address

import (
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/ftgw/ftgw/internal/lab"
	"github.com/ftgw/ftgw/internal/lab/labtest"
)

func TestLink(t *testing.T) {
	s := newSegment(t)
	_, r := start(t, s, s.a, yes)
	eventually(t, "the first report", func() bool { _, ok := r.heard("link true"); return ok })
	before := time.Now()
	inside(t, s.a.NS, func() error { return setLink("eth0", false) })
	eventually(t, "link down", func() bool { _, ok := r.heard("link false"); return ok })
	at, _ := r.heard("link false")
	t.Logf("down after %v", at.Sub(before))
	inside(t, s.a.NS, func() error { return setLink("eth0", true) })
	eventually(t, "link up again", func() bool { up, _ := r.heard("link true"); return up.After(at) })
	// The socket still works. The other end of the cable may need a moment more.
	probe, _ := start(t, s, s.client, yes)
	eventually(t, "a frame after the link came back", func() bool {
		if err := probe.Probe(s.a.addr); err != nil {
			t.Fatal(err)
		}
		at, ok := r.heard("frame client 192.0.2.20")
		return ok && at.After(before)
	})
}

// The other end of the cable goes: no carrier.
func TestCarrierLoss(t *testing.T) {
	labtest.Require(t)
	a, b := labtest.NS(t, "a"), labtest.NS(t, "b")
	if err := lab.Veth(a, "eth0", b, "eth0"); err != nil {
		t.Fatal(err)
	}
	h := &host{NS: a}
	inside(t, a, func() error { _, err := configure("192.0.2.11/24"); return err })
	_, r := start(t, &segment{}, h, yes)
	eventually(t, "carrier", func() bool { _, ok := r.heard("link true"); return ok })
	inside(t, b, func() error { return setLink("eth0", false) })
	eventually(t, "no carrier", func() bool { _, ok := r.heard("link false"); return ok })
}

func setLink(name string, up bool) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	if up {
		return netlink.LinkSetUp(link)
	}
	return netlink.LinkSetDown(link)
}
