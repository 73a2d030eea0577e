package rewrite

import (
	"net/netip"
	"testing"
	"time"
)

// why returns how the only flow of a table is told of.
func why(t *testing.T, h *side) (Mode, Lone) {
	t.Helper()
	var all []Info
	h.table.Flows(advertised, *h.now, func(i Info) { all = append(all, i) })
	if len(all) != 1 {
		t.Fatalf("%d flows", len(all))
	}
	return all[0].Mode, all[0].Lone
}

// Every way in which a flow ceases to be duplex, or never is, has its reason.
func TestLone(t *testing.T) {
	for _, tt := range []struct {
		name string
		mode Mode
		want Lone
		do   func(p, b *side) *side // after the handshake; returns the host that is looked at
	}{
		{"duplex", Duplex, NotLone, func(p, _ *side) *side { return p }},
		{"the backup survives", Simplex, PeerLost, func(_, b *side) *side {
			b.table.Survive(advertised, *b.now, func(*Outcome) {})
			return b
		}},
		{"the primary survives", Simplex, PeerLost, func(p, _ *side) *side {
			p.table.Survive(advertised, *p.now, func(*Outcome) {})
			return p
		}},
		{"the peer cannot store", Simplex, NotStored, func(p, _ *side) *side {
			p.table.Simplify(p.only(), *p.now, &p.o)
			return p
		}},
		{"the peer does not know it", Simplex, PeerUnaware, func(p, _ *side) *side {
			p.table.Noted(Note{Flow: p.only(), Kind: NoteUnknown}, *p.now, &p.o)
			return p
		}},
		{"asked, not agreed", Duplex, NotLone, func(p, _ *side) *side {
			p.table.Unshare(p.only(), &p.o)
			return p
		}},
		{"an unprotected route", Simplex, OnRequest, func(p, b *side) *side {
			p.table.Unshare(p.only(), &p.o)
			b.table.Noted(p.o.Notes[0], *b.now, &b.o)
			p.table.Noted(b.o.Notes[0], *p.now, &p.o)
			return p
		}},
		{"likewise, at the peer", Relay, PeerHolds, func(p, b *side) *side {
			p.table.Unshare(p.only(), &p.o)
			b.table.Noted(p.o.Notes[0], *b.now, &b.o)
			return b
		}},
		{"the peer is late", Simplex, PeerLate, func(p, b *side) *side {
			iss, stamp := p.table.initial(p.only())
			p.in(client(clientISN+1, iss+1, ACK|PSH, stamp, "GET")) // a clone, which the backup has lost
			p.kernel(0, clientISN+4, "")
			*p.now += DefaultLimits.Hold + time.Second
			var asked []Note
			p.table.Expire(*p.now, func(o *Outcome) { asked = append(asked, o.Notes...) })
			if len(asked) != 1 {
				p.t.Fatalf("asked %v", asked)
			}
			b.table.Noted(asked[0], *b.now, &b.o)
			p.table.Noted(b.o.Notes[0], *p.now, &p.o)
			return p
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, b := pair(t)
			connect(t, p, b)
			if mode, lone := why(t, tt.do(p, b)); mode != tt.mode || lone != tt.want {
				t.Errorf("%v, %q; want %v, %q", mode, lone, tt.mode, tt.want)
			}
		})
	}
	p, _ := pair(t)
	p.table.SetStance(advertised, Stance{Serve: true, Speak: true})
	p.in(client(clientISN, 0, SYN, 0, ""))
	if mode, lone := why(t, p); mode != Simplex || lone != NoPeer {
		t.Errorf("without a peer: %v, %q", mode, lone)
	}
}

// only returns the identity of the table's only flow.
func (h *side) only() FlowID {
	for _, f := range h.table.flows {
		return f.id
	}
	h.t.Fatal("no flow")
	return FlowID{}
}

// A flow that the survivor alone holds counts at the newcomer, as one that would be lost, until the
// survivor's kernel has no socket for it.
func TestElsewhereIsCounted(t *testing.T) {
	p, b := pair(t)
	connect(t, p, b)
	b.table.Survive(advertised, *b.now, func(*Outcome) {})
	newcomer, _ := pair(t)
	tell := func() {
		b.table.Alone(advertised, func(o *Outcome) {
			for _, n := range o.Notes {
				newcomer.table.Noted(n, *b.now, &newcomer.o)
			}
		})
	}
	elsewhere := func(want int) {
		t.Helper()
		if got := newcomer.table.Count(advertised).Elsewhere; got != want {
			t.Errorf("%d flows elsewhere, want %d", got, want)
		}
	}
	b.table.SetStance(advertised, Stance{Serve: true, Duplex: true, Speak: true})
	tell()
	elsewhere(1)
	newcomer.table.Fence(advertised)
	elsewhere(0)
	tell()
	elsewhere(1)
	*b.now += time.Minute
	var closed []FlowID
	for range 2 {
		closed = b.table.Sweep(advertised, func(netip.AddrPort) bool { return false }, *b.now)
	}
	if len(closed) != 1 {
		t.Fatalf("%d flows are closed", len(closed))
	}
	newcomer.table.Noted(Note{Flow: closed[0], Kind: NoteClosed}, *b.now, &newcomer.o)
	elsewhere(0)
}

// A flow that is relayed ends with the word of the host that holds it, and with that of its own
// identity only.
func TestRelayedFlowIsClosed(t *testing.T) {
	p, b := pair(t)
	connect(t, p, b)
	id := p.only()
	p.table.Unshare(id, &p.o)
	b.table.Noted(p.o.Notes[0], *b.now, &b.o)
	other := id
	other.ISN++
	b.table.Noted(Note{Flow: other, Kind: NoteClosed}, *b.now, &b.o)
	if n := b.table.Count(advertised).Relay; n != 1 {
		t.Fatalf("%d relayed flows", n)
	}
	b.table.Noted(Note{Flow: id, Kind: NoteClosed}, *b.now, &b.o)
	if len(b.table.flows) != 0 {
		t.Error("the flow is still there")
	}
	p.table.Noted(Note{Flow: id, Kind: NoteClosed}, *p.now, &p.o)
	if len(p.table.flows) != 1 {
		t.Error("a flow of this host's own was closed by the peer's word")
	}
}

// A client that has ended its stream waits for the reply all the same; when the server has ended its
// own as well, there is nothing left to be saved.
func TestHalfClosedFlowCounts(t *testing.T) {
	p, b := pair(t)
	iss, stamp := connect(t, p, b)
	b.in(client(clientISN+1, iss+1, FIN|ACK, stamp, "0123456789"))
	p.in(b.o.Clone)
	for _, h := range []*side{p, b} {
		h.table.Accepted(h.only().Key)
		if n := h.table.Count(advertised); n.Duplex != 1 || n.Closing != 0 {
			t.Errorf("half closed: %+v", n)
		}
		h.out(Header{Seq: h.iss + 1, Ack: clientISN + 12, Flags: FIN | ACK, Window: 128, WScale: -1, HasTS: true, TSVal: h.stamp, TSEcr: 51}, "reply")
		if n := h.table.Count(advertised); n.Duplex != 0 || n.Closing != 1 {
			t.Errorf("closed: %+v", n)
		}
	}
}

func TestReasons(t *testing.T) {
	seen := map[string]bool{}
	for r := range Reasons {
		if seen[r.String()] || len(r.String()) > 7 && r.String()[:7] == "reason-" {
			t.Errorf("reason %d is called %v", r, r)
		}
		seen[r.String()] = true
	}
	if len(seen) != len(parseReasonNames)+len(flowReasonNames) {
		t.Errorf("%d reasons", len(seen))
	}
}
