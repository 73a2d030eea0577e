package address

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/ftgw/ftgw/internal/lab"
	"github.com/ftgw/ftgw/internal/lab/labtest"
)

// recorder is a Handler that remembers what it was told.
type recorder struct {
	names map[string]string // of MACs

	mu   sync.Mutex
	told []string
	when []time.Time
}

func (r *recorder) note(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.told = append(r.told, fmt.Sprintf(format, args...))
	r.when = append(r.when, time.Now())
}

func (r *recorder) name(mac net.HardwareAddr) string {
	if n, ok := r.names[mac.String()]; ok {
		return n
	}
	return mac.String()
}

func (r *recorder) Frame(mac net.HardwareAddr, sender netip.Addr) {
	r.note("frame %s %v", r.name(mac), sender)
}
func (r *recorder) Answered(addr netip.Addr, mac net.HardwareAddr) {
	r.note("answered %v %s", addr, r.name(mac))
}
func (r *recorder) Foreign(v netip.Addr, mac net.HardwareAddr) {
	r.note("foreign %v %s", v, r.name(mac))
}
func (r *recorder) Link(up bool) { r.note("link %v", up) }

func (r *recorder) all() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.told
}

// heard reports when the recorder was last told so.
func (r *recorder) heard(what string) (time.Time, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := len(r.told) - 1; i >= 0; i-- {
		if r.told[i] == what {
			return r.when[i], true
		}
	}
	return time.Time{}, false
}

// host is a namespace with the interface eth0 on the common bridge.
type host struct {
	*lab.NS
	addr netip.Addr
	mac  net.HardwareAddr
}

// segment is a bridge of three hosts: a and b serve, client asks.
type segment struct {
	a, b, client *host
	names        map[string]string
}

func newSegment(t *testing.T) *segment {
	t.Helper()
	labtest.Require(t)
	sw := labtest.NS(t, "switch")
	inside(t, sw, func() error {
		if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0"}}); err != nil {
			return err
		}
		return netlink.LinkSetUp(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0"}})
	})
	s := &segment{names: make(map[string]string)}
	for name, h := range map[string]**host{"a": &s.a, "b": &s.b, "client": &s.client} {
		addr := map[string]string{"a": "192.0.2.11", "b": "192.0.2.12", "client": "192.0.2.20"}[name]
		*h = &host{NS: labtest.NS(t, name), addr: netip.MustParseAddr(addr)}
		if err := lab.Veth((*h).NS, "eth0", sw, name); err != nil {
			t.Fatal(err)
		}
		inside(t, sw, func() error { return enslave(name) })
		inside(t, (*h).NS, func() (err error) { (*h).mac, err = configure(addr + "/24"); return err })
		s.names[(*h).mac.String()] = name
	}
	return s
}

func enslave(port string) error {
	bridge, err := netlink.LinkByName("br0")
	if err != nil {
		return err
	}
	link, err := netlink.LinkByName(port)
	if err != nil {
		return err
	}
	return netlink.LinkSetMaster(link, bridge)
}

func configure(addr string) (net.HardwareAddr, error) {
	link, err := netlink.LinkByName("eth0")
	if err != nil {
		return nil, err
	}
	a, err := netlink.ParseAddr(addr)
	if err != nil {
		return nil, err
	}
	return link.Attrs().HardwareAddr, netlink.AddrAdd(link, a)
}

func inside(t *testing.T, ns *lab.NS, f func() error) {
	t.Helper()
	if err := ns.Do(f); err != nil {
		t.Fatalf("in %s: %v", ns.Name(), err)
	}
}

func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 10 s: %s", what)
		}
	}
}

func setup(t *testing.T, h *host) {
	t.Helper()
	inside(t, h.NS, func() error { _, err := Setup("eth0", []netip.Addr{v}); return err })
}

func yes(netip.Addr) bool { return true }

func open(t *testing.T, s *segment, h *host, alive func(netip.Addr) bool) (*Node, *recorder) {
	t.Helper()
	r := &recorder{names: s.names}
	var n *Node
	inside(t, h.NS, func() (err error) {
		n, err = Open(Config{Interface: "eth0", Alive: alive, Handler: r})
		return err
	})
	t.Cleanup(func() { n.Close() })
	return n, r
}

func run(t *testing.T, n *Node) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
}

// stamped waits until the kernel gives frames their time, which it begins to do a moment after
// the first socket on the machine has asked for it.
func stamped(t *testing.T, n *Node, s *segment) {
	t.Helper()
	other := s.client
	if n.Addr() == other.addr {
		other = s.b
	}
	eventually(t, "frames have their time", func() bool {
		if err := n.Probe(other.addr); err != nil {
			t.Fatal(err)
		}
		return n.Count(Replied) > 0
	})
}

func start(t *testing.T, s *segment, h *host, alive func(netip.Addr) bool) (*Node, *recorder) {
	t.Helper()
	n, r := open(t, s, h, alive)
	run(t, n)
	if s.b != nil {
		stamped(t, n, s)
	}
	return n, r
}

// probing probes v until cond holds: one that waited for too long on a busy machine is passed over.
func probing(t *testing.T, prober *Node, what string, cond func() bool) {
	t.Helper()
	var next time.Time
	eventually(t, what, func() bool {
		if now := time.Now(); now.After(next) {
			next = now.Add(time.Second)
			if err := prober.Probe(v); err != nil {
				t.Fatal(err)
			}
		}
		return cond()
	})
}

// silentFor probes v and waits until the owner's daemon has kept silent for that reason.
func silentFor(t *testing.T, want Reason, owner, prober *Node) {
	t.Helper()
	counted, answered := owner.Count(want), owner.Count(Answered)
	probing(t, prober, want.String(), func() bool { return owner.Count(want) > counted })
	if owner.Count(Answered) != answered {
		t.Errorf("answered, although %v", want)
	}
}

// answers reports what the prober hears from kernels for v: it probes v and then another
// address of the same host, whose answer ends the wait, since a kernel answers in order.
func answers(t *testing.T, s *segment, prober *Node, r *recorder, v netip.Addr, other *host) []string {
	t.Helper()
	before := len(r.all())
	end := fmt.Sprintf("answered %v %s", other.addr, s.names[other.mac.String()])
	if err := errors.Join(prober.Probe(v), prober.Probe(other.addr)); err != nil {
		t.Fatal(err)
	}
	var got []string
	eventually(t, end, func() bool {
		got = nil
		for _, what := range r.all()[before:] {
			if what == end {
				return true
			}
			if strings.HasPrefix(what, "answered") {
				got = append(got, what)
			}
		}
		return false
	})
	return got
}
