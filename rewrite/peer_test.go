package rewrite

import (
	"net/netip"
	"testing"
)

var (
	forwardC      = netip.MustParseAddrPort("192.0.2.14:20080")
	secondService = netip.MustParseAddrPort("192.0.2.101:80")
	secondClient  = netip.MustParseAddrPort("198.51.100.2:40001")
)

// cloneTo returns where the host's last packet was cloned to.
func (h *side) cloneTo() netip.AddrPort {
	h.t.Helper()
	if h.o.Clone == nil {
		return netip.AddrPort{}
	}
	s := parse(h.t, h.o.Clone)
	if !s.VerifyChecksum() {
		h.t.Error("wrong checksum of the clone")
	}
	return s.Dst()
}

// The backup that survives the primary goes on alone with what there was, and clones what begins
// from then on to its new peer.
func TestAnotherPeer(t *testing.T) {
	p, b := pair(t)
	iss, stamp := connect(t, p, b)
	if b.in(client(clientISN+1, iss+1, ACK, stamp, "0123456789")); b.cloneTo() != forwardA {
		t.Fatalf("cloned to %v", b.cloneTo())
	}
	b.table.SetStance(advertised, Stance{Serve: true, Speak: true})
	b.table.Survive(advertised, *b.now, func(*Outcome) {})
	b.table.SetPeer(advertised, forwardC)
	b.table.SetStance(advertised, Stance{Serve: true, Duplex: true, Speak: true})
	if b.in(client(clientISN+11, iss+1, ACK, stamp, "0123456789")) == nil || b.o.Clone != nil {
		t.Errorf("a flow of its own is cloned to %v", b.cloneTo())
	}
	syn := Header{Src: secondClient, Dst: advertised, Seq: 7, Flags: SYN, Window: 500, MSS: 1460, WScale: -1}
	if b.in(AppendSegment(nil, syn, nil)) == nil || b.cloneTo() != forwardC {
		t.Fatalf("a new flow is cloned to %v", b.cloneTo())
	}
	third := &side{t: t, table: NewTable([]byte("0123456789abcdef"), DefaultLimits), now: b.now}
	third.table.AddService(Service{Advertised: advertised, Forward: forwardC, Peer: forwardA, MSS: 1460, Scale: 7})
	third.table.SetStance(advertised, Stance{Serve: true, Duplex: true})
	third.table.SetPeer(advertised, forwardB)
	if s := third.in(b.o.Clone); s == nil || s.Dst() != advertised || third.o.Clone != nil {
		t.Errorf("the new peer does not take the clone: %v", third.o.Reason)
	}
}

// Each service has a peer of its own, and one that is not there changes nothing.
func TestPeersOfTwoServices(t *testing.T) {
	a, _ := pair(t)
	a.table.AddService(Service{Advertised: secondService, Forward: netip.MustParseAddrPort("192.0.2.11:20081"), Peer: forwardB, MSS: 1460, Scale: 7})
	a.table.SetStance(secondService, Stance{Serve: true, Duplex: true})
	a.table.SetStance(advertised, Stance{Serve: true, Duplex: true})
	secondPeer := netip.MustParseAddrPort("192.0.2.14:20081")
	a.table.SetPeer(secondService, secondPeer)
	a.table.SetPeer(netip.MustParseAddrPort("192.0.2.102:80"), forwardC)
	for to, want := range map[netip.AddrPort]netip.AddrPort{advertised: forwardB, secondService: secondPeer} {
		syn := Header{Src: clientEnd, Dst: to, Seq: clientISN, Flags: SYN, Window: 500, MSS: 1460, WScale: -1}
		if a.in(AppendSegment(nil, syn, nil)); a.cloneTo() != want {
			t.Errorf("flow of %v cloned to %v, want %v: %v", to, a.cloneTo(), want, a.o.Reason)
		}
	}
}
