package address

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mdlayher/arp"
	"github.com/vishvananda/netlink"
)

func TestKernelNeverAnswers(t *testing.T) {
	s := newSegment(t)
	probe, r := start(t, s, s.client, yes)
	inside(t, s.a.NS, func() error {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		return netlink.AddrAdd(lo, loopbackAddr(v))
	})
	if got := answers(t, s, probe, r, v, s.a); len(got) == 0 {
		t.Fatal("the kernel does not answer even without Setup: this test shows nothing")
	}
	setup(t, s.a)
	setup(t, s.a) // twice changes nothing
	if got := answers(t, s, probe, r, v, s.a); len(got) != 0 {
		t.Errorf("after Setup the kernel answers: %v", got)
	}
}

// A socket on the advertised address sends, and the kernel asks for the neighbour with its
// own address as sender.
func TestKernelNeverNamesTheAddress(t *testing.T) {
	s := newSegment(t)
	setup(t, s.a)
	_, r := start(t, s, s.client, yes)
	inside(t, s.a.NS, func() error {
		c, err := net.DialUDP("udp4", &net.UDPAddr{IP: v.AsSlice()}, &net.UDPAddr{IP: s.client.addr.AsSlice(), Port: 9})
		if err != nil {
			return err
		}
		defer c.Close()
		if _, err := c.Write([]byte("x")); err != nil {
			return err
		}
		d, err := net.Dial("udp4", "192.0.2.20:9")
		if err != nil {
			return err
		}
		defer d.Close()
		if got := d.LocalAddr().(*net.UDPAddr).AddrPort().Addr(); got != s.a.addr {
			t.Errorf("the kernel chose %v as source", got)
		}
		return nil
	})
	eventually(t, "a's question", func() bool { _, ok := r.heard("frame a 192.0.2.11"); return ok })
	if _, ok := r.heard("frame a 192.0.2.100"); ok {
		t.Error("the kernel named the advertised address as sender")
	}
}

func TestOwnerAnswers(t *testing.T) {
	s := newSegment(t)
	setup(t, s.a)
	var alive atomic.Bool
	alive.Store(true)
	a, _ := start(t, s, s.a, func(netip.Addr) bool { return alive.Load() })
	probe, r := start(t, s, s.client, yes)

	silentFor(t, NotOwned, a, probe)
	if err := a.Own(v); err != nil {
		t.Fatal(err)
	}
	before := time.Now()
	probing(t, probe, "the owner's answer", func() bool { _, ok := r.heard("answered 192.0.2.100 a"); return ok })
	at, _ := r.heard("answered 192.0.2.100 a")
	t.Logf("answered after %v", at.Sub(before))

	alive.Store(false)
	silentFor(t, NotAlive, a, probe)

	alive.Store(true)
	a.Disown(v)
	silentFor(t, NotOwned, a, probe)
}

func TestResolve(t *testing.T) {
	s := newSegment(t)
	probe, _ := start(t, s, s.client, yes)
	short, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	if _, err := probe.Resolve(short, netip.MustParseAddr("192.0.2.99")); err == nil || !strings.Contains(err.Error(), "same subnet") {
		t.Errorf("Resolve of nobody: %v", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if mac, err := probe.Resolve(ctx, s.b.addr); err != nil || mac.String() != s.b.mac.String() {
		t.Errorf("Resolve of b: %v, %v", mac, err)
	}
}

// What waited in the socket longer than the lease is no question of now: the daemon was
// stopped meanwhile.
func TestStaleQuestionIsNotAnswered(t *testing.T) {
	s := newSegment(t)
	setup(t, s.a)
	a, ra := open(t, s, s.a, yes)
	if err := a.Own(v); err != nil {
		t.Fatal(err)
	}
	probe, r := start(t, s, s.client, yes)
	if err := probe.Probe(v); err != nil {
		t.Fatal(err)
	}
	time.Sleep(MaxAge + 20*time.Millisecond) // this is the stop
	run(t, a)
	// All that was asked meanwhile went to all stations.
	eventually(t, "the old questions counted", func() bool { return a.Count(Stale) == probe.Count(Probed) })
	if a.Count(Answered) != 0 || len(ra.all()) > 1 { // the one is the link's first state
		t.Errorf("the old questions had an effect: %v, %v", a.Counts(), ra.all())
	}
	if err := probe.Probe(v); err != nil {
		t.Fatal(err)
	}
	eventually(t, "an answer to a fresh question", func() bool { _, ok := r.heard("answered 192.0.2.100 a"); return ok })
}

// cached returns the MAC that the client's kernel holds for v.
func cached(t *testing.T, s *segment) (mac string) {
	t.Helper()
	inside(t, s.client.NS, func() error {
		link, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		entries, err := netlink.NeighList(link.Attrs().Index, netlink.FAMILY_V4)
		for _, e := range entries {
			if e.IP.Equal(net.IP(v.AsSlice())) {
				mac = s.names[e.HardwareAddr.String()]
			}
		}
		return err
	})
	return mac
}

// learn makes the client's kernel ask for v.
func learn(t *testing.T, s *segment, from string) {
	t.Helper()
	inside(t, s.client.NS, func() error {
		c, err := net.Dial("udp4", "192.0.2.100:9")
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = c.Write([]byte("x"))
		return err
	})
	eventually(t, "the client's kernel knows the address from "+from, func() bool { return cached(t, s) == from })
}

func TestTakeoverMovesTheClientsEntry(t *testing.T) {
	s := newSegment(t)
	setup(t, s.a)
	setup(t, s.b)
	a, ra := start(t, s, s.a, yes)
	b, _ := start(t, s, s.b, yes)
	if err := a.Own(v); err != nil {
		t.Fatal(err)
	}
	learn(t, s, "a")

	if err := b.Announce(v); err == nil {
		t.Error("announced without owning")
	}
	begun := time.Now()
	if err := errors.Join(b.Own(v), b.Announce(v)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the client's entry moves to b", func() bool { return cached(t, s) == "b" })
	t.Logf("moved after %v", time.Since(begun))
	eventually(t, "a hears the claim", func() bool { _, ok := ra.heard("foreign 192.0.2.100 b"); return ok })
	if a.Count(Foreign) == 0 {
		t.Error("foreign claim not counted")
	}
	a.Disown(v)
	eventually(t, "five announcements", func() bool { return b.Count(Announced) >= 5 })
	if d := time.Since(begun); d < 1900*time.Millisecond {
		t.Errorf("five announcements within %v", d)
	}
}

// Each form alone moves the entry; what Linux ignores is not what is sent. A fresh segment each
// time, because Linux locks an entry for a second after it changed.
func TestEachFormMovesTheEntry(t *testing.T) {
	for _, op := range []arp.Operation{arp.OperationRequest, arp.OperationReply} {
		t.Run(op.String(), func(t *testing.T) {
			s := newSegment(t)
			setup(t, s.a)
			setup(t, s.b)
			a, _ := start(t, s, s.a, yes)
			b, _ := start(t, s, s.b, yes)
			if err := a.Own(v); err != nil {
				t.Fatal(err)
			}
			learn(t, s, "a")
			form, reply := announcement(v, s.b.mac)
			if op == arp.OperationReply {
				form = reply
			}
			if err := b.send(broadcast, form); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the entry moves", func() bool { return cached(t, s) == "b" })
		})
	}
}

func TestWithheldWithoutLease(t *testing.T) {
	s := newSegment(t)
	a, _ := open(t, s, s.a, func(netip.Addr) bool { return false })
	if err := errors.Join(a.Own(v), a.Announce(v)); err != nil {
		t.Fatal(err)
	}
	if a.Count(Withheld) != 1 || a.Count(Announced) != 0 {
		t.Errorf("counts %v", a.Counts())
	}
}

func TestProbeTime(t *testing.T) {
	s := newSegment(t)
	probe, r := start(t, s, s.client, yes)
	best := time.Hour
	for range 10 {
		before := time.Now()
		if err := probe.Probe(s.a.addr); err != nil {
			t.Fatal(err)
		}
		eventually(t, "a's answer", func() bool {
			at, ok := r.heard("answered 192.0.2.11 a")
			best = min(best, max(at.Sub(before), 0)+map[bool]time.Duration{false: time.Hour}[ok && at.After(before)])
			return ok && at.After(before)
		})
	}
	t.Logf("fastest of ten: %v", best)
	if best > 30*time.Millisecond {
		t.Errorf("fastest of ten answers took %v", best)
	}
	// The host goes, with its entry in every cache: no answer is made up.
	inside(t, s.a.NS, func() error { return setLink("eth0", false) })
	before := time.Now()
	got := answers(t, s, probe, r, s.a.addr, s.b)
	if len(got) != 0 {
		t.Errorf("a dead host answered: %v (after %v)", got, time.Since(before))
	}
}

// What waits for a neighbour that does not answer is gone, and its neighbour with it.
func TestDropWaiting(t *testing.T) {
	s := newSegment(t)
	inside(t, s.a.NS, func() error {
		unfinished := func() (n int) {
			link, err := netlink.LinkByName("eth0")
			if err != nil {
				t.Fatal(err)
			}
			all, err := netlink.NeighList(link.Attrs().Index, netlink.FAMILY_V4)
			if err != nil {
				t.Fatal(err)
			}
			for _, o := range all {
				if o.State&netlink.NUD_INCOMPLETE != 0 {
					n++
				}
			}
			return n
		}
		c, err := net.Dial("udp4", "192.0.2.77:9")
		if err != nil {
			return err
		}
		defer c.Close()
		if _, err := c.Write([]byte("x")); err != nil {
			return err
		}
		if unfinished() != 1 {
			t.Fatal("nothing waits: this test shows nothing")
		}
		for range 2 { // twice changes nothing
			if err := DropWaiting("eth0"); err != nil {
				return err
			}
			if n := unfinished(); n != 0 {
				t.Errorf("%d neighbours are still asked for", n)
			}
		}
		return nil
	})
}
