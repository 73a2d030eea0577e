package e2e

import (
	"net/netip"
	"time"

	"github.com/ftgw/ftgw/internal/lab"
	"github.com/ftgw/ftgw/internal/lab/capture"
	"github.com/ftgw/ftgw/internal/lab/oracle"
	"github.com/ftgw/ftgw/internal/lab/tap"
	"github.com/ftgw/ftgw/internal/lab/webapp"
)

var advertised = netip.MustParseAddrPort(lab.Advertised)

// watch captures what passes between the hosts and the router, and what the backup's kernel is
// handed behind the queue.
type watch struct {
	x    *cluster
	wire *capture.Capture
	tap  *tap.Tap
}

// watch begins to capture.
func (x *cluster) watch() *watch {
	x.Helper()
	w := &watch{x: x}
	var err error
	w.tap, err = tap.Start(x.B, advertised, 7) // before the capture, which must know no more
	x.must(err)
	x.Cleanup(func() { w.tap.Stop() })
	w.wire, err = capture.Start(x.Router, lab.LAN, capture.Options{})
	x.must(err)
	x.Cleanup(func() { w.wire.Stop() })
	return w
}

// check ends the captures and judges them: one voice for each connection, changed once at most
// (I3), no reset, and until the takeover no acknowledgment of what the backup did not have
// (I2).
func (w *watch) check(switches int, takeover time.Time) {
	w.x.Helper()
	wire, err := w.wire.Stop()
	w.x.must(err)
	w.x.must(wire.Whole())
	handed, err := w.tap.Stop()
	w.x.must(err)
	w.x.must(handed.Whole())
	if err := oracle.OneVoice(wire.Segments, advertised, switches); err != nil {
		w.x.Error(err)
	}
	if err := oracle.NoReset(wire.Segments, advertised); err != nil {
		w.x.Error(err)
	}
	in := oracle.InputCommit(handed.Segments, wire.Segments, advertised, takeover)
	if in.Err != nil {
		w.x.Error(in.Err)
	}
	w.x.Logf("captured %d segments; %d acknowledgments judged, %d not", len(wire.Segments), in.Checked, in.Unjudged)
}

// journal returns what a host's web server executed.
func (x *cluster) journal(h *lab.Host) []webapp.Entry {
	x.Helper()
	entries, err := webapp.ReadJournal(h.JournalPath())
	x.must(err)
	return entries
}

// voices ends the captures and judges the voices alone: where the voice moves between living
// hosts, either may be the one that the other waits for.
func (w *watch) voices(switches int) {
	w.x.Helper()
	wire, err := w.wire.Stop()
	w.x.must(err)
	w.x.must(wire.Whole())
	if err := oracle.OneVoice(wire.Segments, advertised, switches); err != nil {
		w.x.Error(err)
	}
	if err := oracle.NoReset(wire.Segments, advertised); err != nil {
		w.x.Error(err)
	}
}
