package rewrite

import (
	"strings"
	"testing"
)

// A kernel that the client is ahead of is told of room up to the client's right edge, but never
// of a wider window than the client has offered.
func TestWindowIsWidenedNoFurtherThanOffered(t *testing.T) {
	const behind = 2560
	for _, row := range []struct{ offered, told, fake uint16 }{
		{500, 500, 500}, {490, 500, 500}, {0, behind >> 7, behind >> 8},
	} {
		p, b := pair(t)
		iss, stamp := connect(t, p, b)
		p.kernel(0, clientISN+1, strings.Repeat("x", behind))
		ack := AppendSegment(nil, Header{Src: clientEnd, Dst: advertised, Seq: clientISN + 1, Ack: iss + 1 + behind,
			Flags: ACK, Window: row.offered, WScale: -1, HasTS: true, TSVal: 51, TSEcr: stamp}, nil)
		if got := b.in(ack); got == nil || got.Ack() != b.iss+1 || got.Window() != row.told {
			t.Fatalf("offered %d: %v %+v", row.offered, b.o.Reason, got)
		}
		b.kernel(0, clientISN+1, strings.Repeat("x", behind/2))
		if fake := parse(t, b.o.ToLocal[0]); fake.Ack() != b.iss+1+behind/2 || fake.Window() != row.fake {
			t.Errorf("offered %d: the fake acknowledgment has %d", row.offered, fake.Window())
		}
	}
}

// A client whose window is closed says that it has opened it only once, and that may have died with
// the peer: whoever speaks from now on asks, although nothing is on its way.
func TestClosedWindowIsProbed(t *testing.T) {
	for _, row := range []struct {
		window uint16 // in units of 128 bytes
		probes int
	}{{0, 1}, {11, 1}, {12, 0}, {500, 0}} {
		for name, speaks := range map[string]func(p, b *side, emit func(*Outcome)){
			"the backup after a takeover":  func(_, b *side, emit func(*Outcome)) { b.table.Survive(advertised, *b.now, emit) },
			"the primary after a takeover": func(p, _ *side, emit func(*Outcome)) { p.table.Survive(advertised, *p.now, emit) },
			"the backup, by a switchover":  func(_, b *side, emit func(*Outcome)) { b.table.Speak(advertised, *b.now, emit) },
		} {
			p, b := pair(t)
			iss, stamp := connect(t, p, b)
			p.kernel(0, clientISN+1, "0123456789")
			b.kernel(0, clientISN+1, "0123456789")
			b.in(AppendSegment(nil, Header{Src: clientEnd, Dst: advertised, Seq: clientISN + 1, Ack: iss + 11,
				Flags: ACK, Window: row.window, WScale: -1, HasTS: true, TSVal: 51, TSEcr: stamp}, nil))
			p.in(b.o.Clone)
			probes := 0
			speaks(p, b, func(o *Outcome) {
				for _, x := range o.ToClient {
					if s := parse(t, x); s.Seq() == iss+10 {
						probes++
					}
				}
				if len(o.ToLocal) != 0 {
					t.Errorf("%s: its kernel is told to retransmit", name)
				}
			})
			if probes != row.probes {
				t.Errorf("%s, window %d: %d probes, want %d", name, row.window, probes, row.probes)
			}
		}
	}
}
