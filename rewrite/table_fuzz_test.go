package rewrite

import (
	"net/netip"
	"testing"
	"time"
)

// FuzzTable gives a pair of tables any packets in any order, with what else may happen to
// them, and requires that nothing panics, that counters end where they began, and that whoever
// does not speak says nothing.
func FuzzTable(f *testing.F) {
	f.Add([]byte{0, 2, 0, 0, 1, 1, 18, 0, 0, 1, 2, 18, 0, 0, 1, 5, 0, 3, 0, 0, 16, 1, 1, 1, 6, 7})
	f.Add([]byte("\x00\x02aaaa\x01\x12aaaa\x02\x12aaaa\x08\x00\x10abcd\x01\x10\xff\xffab\x04\x09"))
	f.Fuzz(func(t *testing.T, script []byte) {
		p, b := pair(t)
		sides := [2]*side{p, b}
		next := func() (c byte) {
			if len(script) > 0 {
				c, script = script[0], script[1:]
			}
			return c
		}
		small := func() Seq { return Seq(int8(next())) * 100 }
		outcome := func(h *side) {
			for _, x := range h.o.ToClient {
				if s := parse(t, x); !s.VerifyChecksum() {
					t.Fatal("checksum")
				}
			}
			for _, x := range h.o.ToLocal {
				if _, why := ParseSegment(x); why != OK && why != NotTCP {
					t.Fatal(why)
				}
			}
			o, other := h.o.Copy(), sides[0]
			if h == p {
				other = b
			}
			if c := h.o.Clone; c != nil {
				s := parse(t, append([]byte(nil), c...))
				other.table.Inbound(&s, true, *h.now, &other.o)
			}
			for _, c := range o.Confirm {
				other.table.Confirmed(c, *h.now, &other.o)
			}
			for _, n := range o.Notes {
				other.table.Noted(n, *h.now, &other.o)
			}
		}
		for len(script) > 0 {
			op := next()
			h := sides[op>>7]
			id := FlowID{Key: Key{Client: clientEnd, Advertised: advertised}, ISN: clientISN}
			switch op % 12 {
			case 0, 1, 2: // from the client or from the kernel
				hd := Header{Src: clientEnd, Dst: advertised, Flags: Flags(next()), Seq: clientISN + small(), Window: uint16(next()) << 4,
					WScale: int(next()%16) - 1, HasTS: op&16 == 0, TSVal: uint32(small()), TSEcr: uint32(small()), MSS: 1000, SACKPermitted: op&32 == 0}
				hd.Ack = p.table.flowISS(id) + small()
				if op%12 > 0 {
					hd.Src, hd.Dst = hd.Dst, hd.Src
					hd.Seq, hd.Ack = h.iss+small(), clientISN+small()
				}
				for range op >> 3 & 3 {
					at := clientISN + small()
					hd.SACK = append(hd.SACK, [2]Seq{at, at + small()})
				}
				s := parse(t, AppendSegment(nil, hd, make([]byte, next())))
				if op%12 == 0 {
					h.table.Inbound(&s, true, *h.now, &h.o)
				} else {
					h.table.Outbound(&s, op&64 != 0, *h.now, &h.o)
					f := h.table.flows[id.Key]
					if h.o.Accept && (f == nil || !f.speaker) {
						t.Fatal("who does not speak is heard")
					}
				}
				if h.o.Accept && !s.VerifyChecksum() {
					t.Fatal("checksum")
				}
				outcome(h)
			case 3: // any bytes
				n := min(int(next()), len(script))
				raw := append([]byte(nil), script[:n]...)
				script = script[n:]
				if s, why := ParseSegment(raw); why == OK {
					h.table.Inbound(&s, false, *h.now, &h.o)
					h.table.Outbound(&s, true, *h.now, &h.o)
				}
				if e, why := ParseICMPError(raw); why == OK {
					h.table.InboundError(&e, false, *h.now, &h.o)
				}
			case 4:
				*h.now += time.Duration(next()) * 100 * time.Millisecond
				h.table.Expire(*h.now, func(o *Outcome) {})
			case 5:
				h.table.Confirmed(Confirmation{Flow: id, RcvNxt: clientISN + small(), Edge: clientISN + small(),
					SACK: [3][2]Seq{{clientISN + small(), clientISN + small()}}, NSACK: next() % 5}, *h.now, &h.o)
				outcome(h)
			case 6:
				h.table.Received(id, uint64(next())*100, op&16 != 0, *h.now, &h.o)
				outcome(h)
			case 7:
				h.table.Noted(Note{Flow: id, Kind: NoteKind(next() % 3)}, *h.now, &h.o)
				outcome(h)
			case 8:
				h.table.Accepted(id.Key)
			case 9:
				alive := next()
				h.table.Sweep(advertised, func(netip.AddrPort) bool { return alive&1 == 0 }, *h.now)
			case 10:
				c := next()
				h.table.SetStance(advertised, Stance{Serve: c&1 == 0, Duplex: c&2 == 0, Speak: c&4 == 0})
			case 11:
				switch next() % 4 {
				case 0:
					h.table.Survive(advertised, *h.now, func(*Outcome) {})
				case 1:
					h.table.Fence(advertised)
				case 2:
					h.table.Simplify(id, *h.now, &h.o)
					outcome(h)
				case 3:
					e := AppendUnreachable(nil, clientEnd.Addr(), client(clientISN, 0, ACK, 0, ""))
					if e, why := ParseICMPError(e); why == OK {
						h.table.InboundError(&e, true, *h.now, &h.o)
					}
				}
			}
		}
		for _, h := range sides {
			*h.now += relayLife + time.Hour
			for range 3 {
				h.table.Expire(*h.now, func(*Outcome) {})
				h.table.Sweep(advertised, func(netip.AddrPort) bool { return false }, *h.now)
			}
			if h.table.halfOpen != 0 || len(h.table.flows) != 0 {
				t.Fatalf("%d half-open, %d flows left", h.table.halfOpen, len(h.table.flows))
			}
		}
	})
}

// flowISS is the common ISS of a flow, or 0.
func (t *Table) flowISS(id FlowID) Seq {
	if f := t.find(id); f != nil {
		return f.iss
	}
	return 0
}
