package rules

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
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

// expect holds a packet to one outcome: queued, a reason, or nothing if the kernel is to get it.
func (s *site) expect(t *testing.T, what string, b []byte, outcome string) {
	t.Helper()
	want := map[string]uint64{}
	if outcome != "" {
		want[outcome] = 1
	}
	if got := s.outcomes(t, b); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
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
			s.expect(t, c.name, c.packet, c.want)
		})
	}
}

// A clone is taken from the hosts in its own service's list alone.
func TestWhoMayClone(t *testing.T) {
	const stranger, own, b, c = "203.0.113.9", "192.0.2.11", "192.0.2.12", "192.0.2.14"
	const first, second = 20080, 20081 // the forwarding ports of the lists with b, and with b and c
	sender, absent := net.HardwareAddr{2, 0, 0, 0, 0, 12}, net.HardwareAddr{2, 0, 0, 0, 0, 99}
	clone := func(from string, port uint16) []byte {
		return packet(unix.IPPROTO_TCP, from, own, 0, ports(4711, port)...)
	}
	icmp := func(from string) []byte { return packet(unix.IPPROTO_ICMP, from, own, 0, 3, 4) }
	type outcome struct {
		what   string
		packet []byte
		want   string // as in TestWhatIsQueued
	}
	s := newStrangerSite(t, twoLists())
	for _, step := range []struct {
		name string
		b, c net.HardwareAddr // as far as known; the sender is who has its MAC
		all  []outcome
	}{
		{"from b", sender, absent, []outcome{
			{"of the first", clone(stranger, first), queued},
			{"of the second", clone(stranger, second), queued},
			{"of the first, in b's name", clone(b, first), DropOwnSource},
			{"of the second, in b's name", clone(b, second), DropOwnSource},
			{"of the second, in c's name", clone(c, second), DropOwnSource},
			{"of the first, whose client c is", clone(c, first), queued},
			{"ICMP error", icmp(stranger), queued},
			{"its own ICMP error", icmp(b), ""},
		}},
		{"from c", absent, sender, []outcome{
			{"of the first", clone(stranger, first), DropNotPeer},
			{"of the second", clone(stranger, second), queued},
			{"ICMP error", icmp(stranger), queued},
			{"its own ICMP error", icmp(c), ""},
		}},
		{"from c, which is not known yet", absent, nil, []outcome{
			{"of the first", clone(stranger, first), DropNotPeer},
			{"of the second", clone(stranger, second), DropNotPeer},
			{"ICMP error", icmp(stranger), ""},
		}},
		{"while b is not known", nil, absent, []outcome{
			{"of the first", clone(stranger, first), queued},
			{"of the second", clone(stranger, second), DropNotPeer},
		}},
		{"while nobody is known", nil, nil, []outcome{
			{"of the first", clone(stranger, first), queued},
			{"of the second", clone(stranger, second), queued},
			{"of the second, in c's name", clone(c, second), DropOwnSource},
			{"ICMP error", icmp(stranger), ""},
		}},
	} {
		t.Run(step.name, func(t *testing.T) {
			if err := errors.Join(s.bundle.UpdatePeerMAC(peerB, step.b), s.bundle.UpdatePeerMAC(peerC, step.c)); err != nil {
				t.Fatal(err)
			}
			for _, o := range step.all {
				s.expect(t, o.what, o.packet, o.want)
			}
		})
	}
}
