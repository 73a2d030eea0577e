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
