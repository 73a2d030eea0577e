package main

import (
	"encoding/binary"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"github.com/ftgw/ftgw/nfq"
	"github.com/ftgw/ftgw/rewrite"
)

var rewriteLimits = rewrite.Limits{Flows: 1024, HalfOpen: 64, Early: 64, Hold: time.Second}

// syn returns an IPv4 SYN without payload; its sums are taken to be right.
func syn(from, to netip.AddrPort) []byte {
	b := make([]byte, 40)
	b[0], b[8], b[9], b[3] = 0x45, 64, 6, 40
	src, dst := from.Addr().As4(), to.Addr().As4()
	copy(b[12:], src[:])
	copy(b[16:], dst[:])
	binary.BigEndian.PutUint16(b[20:], from.Port())
	binary.BigEndian.PutUint16(b[22:], to.Port())
	b[32], b[33] = 5<<4, 0x02
	return b
}

type silentPeer struct{ signs int }

func (*silentPeer) Confirm(rewrite.Confirmation) {}
func (*silentPeer) Note(rewrite.Note)            {}
func (p *silentPeer) peerSign()                  { p.signs++ }
func (*silentPeer) progress()                    {}

type nowhere struct{}

func (nowhere) Send([]byte) error { return nil }

// Each service has its own group's word on whether packets may pass: one that stood still, or that
// ends, does not hold up the others.
func TestLanes(t *testing.T) {
	d := newDatapath([]byte("key"), rewriteLimits, slog.New(slog.DiscardHandler))
	d.toPeer, d.toLocal, d.toClient = nowhere{}, nowhere{}, nowhere{}
	addr := netip.MustParseAddrPort
	awake := false
	peer := &silentPeer{}
	for i, s := range []rewrite.Service{
		{Advertised: addr("192.0.2.100:80"), Forward: addr("192.0.2.11:20080"), Peer: addr("192.0.2.12:20080"), MSS: 1460, Scale: 7},
		{Advertised: addr("192.0.2.101:80"), Forward: addr("192.0.2.11:20081"), Peer: addr("192.0.2.12:20081"), MSS: 1460, Scale: 7},
	} {
		d.addService(s, &lane{news: peer, life: peer, awake: func() bool { return i > 0 || awake }})
		d.setStance(s.Advertised, rewrite.Stance{Serve: true, Duplex: true})
	}
	handle := d.handler(true)
	port := uint16(40000)
	try := func(to string) rewrite.Reason {
		port++
		_, before := d.verdicts()
		accepted := false
		handle([]nfq.Packet{{Data: syn(netip.AddrPortFrom(netip.MustParseAddr("198.51.100.2"), port), addr(to))}},
			func(_ int, v nfq.Verdict) { accepted = v.Accept })
		if accepted {
			return rewrite.OK
		}
		_, after := d.verdicts()
		for r := range rewrite.Reasons {
			if name := r.String(); after[name] > before[name] {
				return r
			}
		}
		t.Fatal("refused without a reason")
		return 0
	}
	expect := func(to string, want rewrite.Reason) {
		t.Helper()
		if got := try(to); got != want {
			t.Errorf("%s: %v, want %v", to, got, want)
		}
	}
	expect("192.0.2.100:80", rewrite.StoodStill)
	expect("192.0.2.11:20080", rewrite.StoodStill)
	expect("192.0.2.101:80", rewrite.OK)
	awake = true
	expect("192.0.2.100:80", rewrite.OK)
	expect("192.0.2.11:20080", rewrite.OK)
	if peer.signs != 1 {
		t.Errorf("%d signs by one clone", peer.signs)
	}
	d.shut(addr("192.0.2.100:80"))
	expect("192.0.2.100:80", rewrite.NotServing)
	expect("192.0.2.11:20080", rewrite.NotServing)
	expect("192.0.2.101:80", rewrite.OK)
	expect("192.0.2.102:80", rewrite.UnknownAddress)
}

// heard counts what reaches the clients.
type heard struct{ n int }

func (h *heard) Send([]byte) error { h.n++; return nil }

// Nothing is said to a client by a process that stood still, or without a carrier, whatever it
// comes from; and each such segment has its reason.
func TestNothingIsSaidWhileMute(t *testing.T) {
	awake, client := true, &heard{}
	addr, peer := netip.MustParseAddrPort, &silentPeer{}
	d := newDatapath([]byte("key"), rewriteLimits, slog.New(slog.DiscardHandler))
	d.toPeer, d.toLocal, d.toClient = nowhere{}, nowhere{}, client
	d.addService(rewrite.Service{Advertised: addr("192.0.2.100:80"), Forward: addr("192.0.2.11:20080"), Peer: addr("192.0.2.12:20080"), MSS: 1460, Scale: 7},
		&lane{news: peer, life: peer, awake: func() bool { return awake }})
	say := func() { // its source is what counts
		d.release([]*rewrite.Outcome{{ToClient: [][]byte{syn(addr("192.0.2.100:80"), addr("198.51.100.2:40000"))}}})
	}
	say()
	awake = false
	say()
	awake = true
	d.cut.Store(true)
	say()
	d.cut.Store(false)
	say()
	if _, got := d.verdicts(); client.n != 2 || got["stood-still"] != 1 || got["no-carrier"] != 1 {
		t.Errorf("%d segments reached the client, drops %v", client.n, got)
	}
}
