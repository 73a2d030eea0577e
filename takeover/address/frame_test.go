package address

import (
	"encoding/binary"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/mdlayher/arp"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

var (
	macA = net.HardwareAddr{2, 0, 0, 0, 0, 0xa}
	macB = net.HardwareAddr{2, 0, 0, 0, 0, 0xb}
	ipA  = netip.MustParseAddr("192.0.2.11")
	ipB  = netip.MustParseAddr("192.0.2.12")
	v    = netip.MustParseAddr("192.0.2.100")
)

func TestParse(t *testing.T) {
	good := build(arp.OperationReply, macA, v, macB, ipB)
	change := func(at int, to byte) []byte {
		b := append([]byte(nil), good...)
		b[at] = to
		return b
	}
	for _, tt := range []struct {
		name string
		data []byte
		ok   bool
	}{
		{"reply", good, true},
		{"padded to the smallest frame", append(append([]byte(nil), good...), make([]byte, 18)...), true},
		{"empty", nil, false},
		{"cut", good[:27], false},
		{"other hardware", change(1, 6), false},
		{"other protocol", change(2, 0x86), false},
		{"hardware length lies", change(4, 255), false},
		{"hardware length zero", change(4, 0), false},
		{"address length lies", change(5, 16), false},
		{"reverse ARP", change(7, 3), false},
		{"sender is a group", change(8, 0x01), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, err := parse(tt.data)
			if (err == nil) != tt.ok {
				t.Fatalf("error %v", err)
			}
			if tt.ok && (p.SenderIP != v || p.TargetIP != ipB || p.SenderHardwareAddr.String() != macA.String()) {
				t.Errorf("parsed %+v", p)
			}
		})
	}
}

// FuzzHandle: whatever arrives has one reason, and nothing but a well-formed question for an
// owned address is answered.
func FuzzHandle(f *testing.F) {
	f.Add(build(arp.OperationRequest, macB, ipB, noMAC, v))
	f.Add(build(arp.OperationReply, macB, v, macB, v))
	f.Add(build(arp.OperationRequest, macB, netip.IPv4Unspecified(), noMAC, ipA))
	f.Add([]byte{0, 1, 8, 0, 255, 255, 0, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		n := testNode(&recorder{}, func(netip.Addr) bool { return false })
		n.Own(v)
		now := time.Now()
		if r := n.handle(received{data: b, from: macB, at: now, timed: true}, now); r >= Announced || r == Answered {
			t.Errorf("reason %v", r)
		}
	})
}

func testNode(h Handler, alive func(netip.Addr) bool) *Node {
	n := newNode(Config{Interface: "none", Own: ipA, Alive: alive, Handler: h})
	n.mac = macA
	return n
}

func TestHandleReasons(t *testing.T) {
	now := time.Now()
	ask := build(arp.OperationRequest, macB, ipB, noMAC, v)
	request, reply := announcement(v, macB)
	tests := []struct {
		name string
		data []byte
		age  time.Duration
		kind uint8
		want Reason
		told []string
	}{
		{"question while the lease is gone", ask, 0, unix.PACKET_BROADCAST, NotAlive, []string{"frame b 192.0.2.12"}},
		{"question for another address", build(arp.OperationRequest, macB, ipB, noMAC, ipA), 0, 0, NotOwned, []string{"frame b 192.0.2.12"}},
		{"old question", ask, MaxAge + time.Millisecond, 0, Stale, nil},
		{"question from the future", ask, -time.Second, 0, Stale, nil},
		{"answer", build(arp.OperationReply, macB, ipB, macA, ipA), 0, 0, Replied, []string{"frame b 192.0.2.12", "answered 192.0.2.12 b"}},
		{"old answer", build(arp.OperationReply, macB, ipB, macA, ipA), time.Second, 0, Stale, nil},
		{"claim by reply", reply, 0, 0, Foreign, []string{"foreign 192.0.2.100 b", "frame b 192.0.2.100", "answered 192.0.2.100 b"}},
		{"claim by request", request, 0, 0, Foreign, []string{"foreign 192.0.2.100 b", "frame b 192.0.2.100"}},
		{"old claim", request, time.Hour, 0, Foreign, []string{"foreign 192.0.2.100 b"}},
		{"own frame", build(arp.OperationRequest, macA, ipA, noMAC, v), 0, 0, OwnFrame, nil},
		{"for another station", ask, 0, unix.PACKET_OTHERHOST, Elsewhere, nil},
		{"garbage", []byte("garbage"), 0, 0, Malformed, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := &recorder{names: map[string]string{macB.String(): "b"}}
			n := testNode(h, func(netip.Addr) bool { return false })
			n.Own(v)
			from := macB
			if tt.want == OwnFrame {
				from = macA
			}
			r := received{data: tt.data, from: from, kind: tt.kind, at: now.Add(-tt.age), timed: true}
			if got := n.handle(r, now); got != tt.want {
				t.Errorf("reason %v, want %v", got, tt.want)
			}
			if diff := cmp.Diff(tt.told, h.all()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestUnknownAgeIsStale(t *testing.T) {
	if !isStale(received{at: time.Now()}, time.Now()) {
		t.Error("a frame of unknown age was trusted")
	}
}

func TestTurns(t *testing.T) {
	turns, start := newTurns(), time.Now()
	turns.start(v, start)
	var at []time.Duration
	for now := start; now.Sub(start) < 65*time.Second; {
		due, wait := turns.due(now)
		if len(due) > 0 {
			at = append(at, now.Sub(start))
		}
		now = now.Add(wait)
	}
	ms := time.Millisecond
	want := []time.Duration{100 * ms, 400 * ms, 1000 * ms, 2000 * ms, 32 * time.Second, 62 * time.Second}
	if diff := cmp.Diff(want, at); diff != "" {
		t.Error(diff)
	}
	turns.remove(v)
	if due, wait := turns.due(start.Add(time.Hour)); due != nil || wait != RefreshEvery {
		t.Errorf("after removal: %v, %v", due, wait)
	}
}

func TestParseLink(t *testing.T) {
	notice := func(kind netlink.HeaderType, family byte, index, flags uint32) netlink.Message {
		b := make([]byte, unix.SizeofIfInfomsg)
		b[0] = family
		binary.NativeEndian.PutUint32(b[4:], index)
		binary.NativeEndian.PutUint32(b[8:], flags)
		return netlink.Message{Header: netlink.Header{Type: kind}, Data: b}
	}
	const up = unix.IFF_UP | unix.IFF_LOWER_UP
	short := notice(unix.RTM_NEWLINK, 0, 7, up)
	short.Data = short.Data[:8]
	for _, tt := range []struct {
		name    string
		message netlink.Message
		up, ok  bool
	}{
		{"up", notice(unix.RTM_NEWLINK, 0, 7, up), true, true},
		{"no carrier", notice(unix.RTM_NEWLINK, 0, 7, unix.IFF_UP), false, true},
		{"switched off", notice(unix.RTM_NEWLINK, 0, 7, unix.IFF_LOWER_UP), false, true},
		{"removed", notice(unix.RTM_DELLINK, 0, 7, up), false, true},
		{"removed from its bridge", notice(unix.RTM_DELLINK, unix.AF_BRIDGE, 7, up), false, false},
		{"another interface", notice(unix.RTM_NEWLINK, 0, 8, up), false, false},
		{"another notice", notice(unix.RTM_NEWADDR, 0, 7, up), false, false},
		{"cut", short, false, false},
	} {
		if s, ok := parseLink(tt.message, 7); s.up != tt.up || ok != tt.ok {
			t.Errorf("%s: up %v, ok %v", tt.name, s.up, ok)
		}
	}
}

func TestIgnoresLoopback(t *testing.T) {
	for v, want := range []bool{false, true, true, true, false, false, false, false, true, false} {
		if got := ignoresLoopback(v); got != want {
			t.Errorf("arp_ignore %d: %v", v, got)
		}
	}
}
