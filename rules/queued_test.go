package rules

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ftgw/ftgw/nfq"
)

// queued is the outcome of a packet that the daemon gets.
const queued = "queued"

// packet makes an IPv4 packet with an eight-byte transport header of the given first bytes.
func packet(protocol byte, from, to string, fragment uint16, transport ...byte) []byte {
	b := make([]byte, 40)
	b[0], b[8], b[9] = 0x45, 64, protocol
	binary.BigEndian.PutUint16(b[2:], 40)
	binary.BigEndian.PutUint16(b[6:], fragment)
	copy(b[12:], net.ParseIP(from).To4())
	copy(b[16:], net.ParseIP(to).To4())
	copy(b[20:], transport)
	return b
}

func ports(from, to uint16) []byte {
	return binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, from), to)
}

// newStrangerSite is a site whose client is the peer as well, and the way to strangers.
func newStrangerSite(t *testing.T, spec Spec) *site {
	s := newSite(t, spec, nil)
	s.do(t, s.client, func() error { return setUp("eth0", "192.0.2.12/24", nil) })
	s.do(t, s.host, func() error { // a way back to the stranger, or the host takes its packets for lies
		link, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		return netlink.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Gw: net.ParseIP("192.0.2.1")})
	})
	return s
}

// outcomes sends a packet from the client and returns what becomes of it: queued, or dropped by
// the rules for a reason, and how often; nothing where the kernel gets it.
func (s *site) outcomes(t *testing.T, b []byte) map[string]uint64 {
	t.Helper()
	before, err := s.bundle.Drops()
	if err != nil {
		t.Fatal(err)
	}
	in := s.in[0].Stats().Packets
	var sender *nfq.Sender
	s.do(t, s.client, func() error {
		sender, err = nfq.OpenSender(0)
		return err
	})
	defer sender.Close()
	if err := sender.Send(b); err != nil {
		t.Fatal(err)
	}
	// A segment to the service, for which the queue is known to work, ends each case.
	if err := sender.Send(packet(unix.IPPROTO_TCP, "203.0.113.77", s.v().String(), 0, ports(7, 80)...)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the last segment queued", func() bool { return s.in[0].Stats().Packets > in })
	eventually(t, "nothing waits", func() bool { return s.in[0].Stats().Waiting == 0 })
	after, err := s.bundle.Drops()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]uint64{}
	if n := s.in[0].Stats().Packets - in - 1; n != 0 {
		got[queued] = n
	}
	for reason := range after {
		if n := after[reason] - before[reason]; n != 0 {
			got[reason] = n
		}
	}
	return got
}

func TestWhatIsQueued(t *testing.T) {
	const stranger, v, own, peer = "203.0.113.9", "192.0.2.100", "192.0.2.11", "192.0.2.12"
	const tcp, udp, icmp = unix.IPPROTO_TCP, unix.IPPROTO_UDP, unix.IPPROTO_ICMP
	cases := []struct {
		name   string
		packet []byte
		want   string // queued, a reason, or nothing
	}{
		{"a segment to the service", packet(tcp, stranger, v, 0, ports(4711, 80)...), queued},
		{"to another port", packet(tcp, stranger, v, 0, ports(4711, 81)...), DropNotServed},
		{"UDP", packet(udp, stranger, v, 0, ports(4711, 80)...), DropNotServed},
		{"ping", packet(icmp, stranger, v, 0, 8), DropNotServed},
		{"first fragment", packet(tcp, stranger, v, 0x2000, ports(4711, 80)...), DropFragment},
		{"last fragment", packet(tcp, stranger, v, 0x0001, ports(4711, 80)...), DropFragment},
		{"do not fragment", packet(tcp, stranger, v, 0x4000, ports(4711, 80)...), queued},
		{"unreachable", packet(icmp, stranger, v, 0, 3, 4), queued},
		{"time exceeded", packet(icmp, stranger, v, 0, 11), queued},
		{"parameter problem", packet(icmp, stranger, v, 0, 12), queued},
		{"redirect", packet(icmp, stranger, v, 0, 5), DropNotServed},
		{"clone", packet(tcp, stranger, own, 0, ports(4711, 20080)...), queued},
		{"fragment of a clone", packet(tcp, stranger, own, 0x2000, ports(4711, 20080)...), DropNotPeer},
		{"clone in the peer's name", packet(tcp, peer, own, 0, ports(4711, 20080)...), DropOwnSource},
		{"cloned ICMP error", packet(icmp, stranger, own, 0, 3, 4), queued},
		{"the peer's own ICMP error", packet(icmp, peer, own, 0, 3, 4), ""},
		{"in the service's own name", packet(tcp, v, v, 0, ports(80, 80)...), DropSpoofed},
		{"other TCP to the host", packet(tcp, stranger, own, 0, ports(4711, 22)...), ""},
	}
	s := newStrangerSite(t, testSpec())
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			want := map[string]uint64{}
			if c.want != "" {
				want[c.want] = 1
			}
			if got := s.outcomes(t, c.packet); fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("got %v, want %v", got, want)
			}
		})
	}
}

// A clone is taken from the hosts in its own service's list alone.
func TestWhoMayClone(t *testing.T) {
	const stranger, own, b, c = "203.0.113.9", "192.0.2.11", "192.0.2.12", "192.0.2.14"
	sender, other := net.HardwareAddr{2, 0, 0, 0, 0, 12}, net.HardwareAddr{2, 0, 0, 0, 0, 99}
	type macs map[netip.Addr]net.HardwareAddr
	const first, second = 20080, 20081 // the forwarding ports of the lists b and b, c
	clone := func(from string, port uint16) []byte {
		return packet(unix.IPPROTO_TCP, from, own, 0, ports(4711, port)...)
	}
	icmp := func(from string) []byte { return packet(unix.IPPROTO_ICMP, from, own, 0, 3, 4) }
	s := newStrangerSite(t, twoLists())
	for _, step := range []struct {
		name    string
		known   macs
		packets map[string][]byte
		want    map[string]string
	}{
		{"from b", macs{peerB: sender, peerC: other}, map[string][]byte{
			"first": clone(stranger, first), "second": clone(stranger, second), "ICMP error": icmp(stranger),
			"first of b": clone(b, first), "second of b": clone(b, second), "second of c": clone(c, second),
			"first of c, which is its client": clone(c, first), "b's own ICMP error": icmp(b),
		}, map[string]string{"first": queued, "second": queued, "ICMP error": queued,
			"first of b": DropOwnSource, "second of b": DropOwnSource, "second of c": DropOwnSource,
			"first of c, which is its client": queued, "b's own ICMP error": ""}},
		{"from c", macs{peerB: other, peerC: sender}, map[string][]byte{
			"first": clone(stranger, first), "second": clone(stranger, second), "ICMP error": icmp(stranger), "c's own ICMP error": icmp(c),
		}, map[string]string{"first": DropNotPeer, "second": queued, "ICMP error": queued, "c's own ICMP error": ""}},
		{"from c, of which nobody has heard", macs{peerB: other, peerC: nil}, map[string][]byte{
			"first": clone(stranger, first), "second": clone(stranger, second), "ICMP error": icmp(stranger),
		}, map[string]string{"first": DropNotPeer, "second": DropNotPeer, "ICMP error": ""}},
		{"nobody known", macs{peerB: nil, peerC: nil}, map[string][]byte{
			"first": clone(stranger, first), "second": clone(stranger, second), "second of c": clone(c, second), "ICMP error": icmp(stranger),
		}, map[string]string{"first": queued, "second": queued, "second of c": DropOwnSource, "ICMP error": ""}},
		{"b unknown, c known", macs{peerC: other}, map[string][]byte{
			"first": clone(stranger, first), "second": clone(stranger, second),
		}, map[string]string{"first": queued, "second": DropNotPeer}},
	} {
		for peer, mac := range step.known {
			if err := s.bundle.UpdatePeerMAC(peer, mac); err != nil {
				t.Fatal(err)
			}
		}
		for name, p := range step.packets {
			want := map[string]uint64{}
			if w := step.want[name]; w != "" {
				want[w] = 1
			}
			if got := s.outcomes(t, p); fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("%s: %s: got %v, want %v", step.name, name, got, want)
			}
		}
	}
}
