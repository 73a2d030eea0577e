package drill

import (
	"testing"

	"github.com/ftgw/ftgw/internal/lab/capture"
)

// What a link forged is left out wherever it was captured, and what was sent is not.
func TestGenuineLeavesForgedOut(t *testing.T) {
	sent := capture.Segment{Time: at(1), Src: advertised, Dst: mustAddr("198.51.100.2:40000"), Seq: 100, Ack: 200, Flags: capture.ACK, Len: 10}
	forged := sent
	forged.Flags |= capture.RST
	seen := forged
	seen.Time, seen.SrcMAC = at(2), capture.MAC{5: 1}
	r := &Round{forged: []capture.Segment{forged}}
	if got := r.genuine([]capture.Segment{sent, seen}); len(got) != 1 || got[0] != sent {
		t.Errorf("%v", got)
	}
}
