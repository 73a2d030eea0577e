package drill

import (
	"errors"
	"net/netip"
	"path/filepath"

	"github.com/ftgw/ftgw/internal/lab"
	"github.com/ftgw/ftgw/internal/lab/capture"
	"github.com/ftgw/ftgw/internal/lab/client"
	"github.com/ftgw/ftgw/internal/lab/tap"
	"github.com/ftgw/ftgw/internal/lab/webapp"
)

const tapGroup = 7 // NFLOG group on the lab's own hosts

var advertised = netip.MustParseAddrPort(lab.Advertised)

// watch is the captures of one round.
type watch struct {
	wire  *capture.Capture   // between the hosts' network and the router
	ports []*capture.Capture // each host's cable, for the evidence
	tap   *tap.Tap           // what the backup's kernel is handed
}

// Seen is what was captured in a round.
type Seen struct {
	Wire     []capture.Segment // between the hosts' network and the router
	Handed   []capture.Segment // to the backup's kernel
	Journals []webapp.Entry    // of both web applications, by time
	Results  []client.Result
	// Interrupted are the exchanges that were under way at the first fault.
	Interrupted []Exchange
}

// startWatch captures, with a file for each host in dir. The tap comes first: it must know no
// less than the capture.
func startWatch(r *Round, dir string) (w *watch, err error) {
	w = &watch{}
	defer func() {
		if err != nil {
			_, _, stop := w.stop()
			err = errors.Join(err, stop)
		}
	}()
	if w.tap, err = tap.Start(r.Backup, advertised, tapGroup); err != nil {
		return w, err
	}
	const slots = 1 << 16
	for _, h := range []*lab.Host{r.A, r.B} {
		c, err := capture.Start(r.Router, h.RouterPort(), capture.Options{Slots: slots, Pcap: filepath.Join(dir, h.Name+".pcap")})
		if err != nil {
			return w, err
		}
		w.ports = append(w.ports, c)
	}
	w.wire, err = capture.Start(r.Router, lab.LAN, capture.Options{Slots: slots})
	return w, err
}

// stop ends all captures. What an oracle needs must be whole; the rest need not be.
func (w *watch) stop() (wire, handed capture.Trace, err error) {
	var errs []error
	if w.wire != nil {
		wire, err = w.wire.Stop()
		errs = append(errs, err, wire.Whole())
	}
	for _, c := range w.ports {
		_, err := c.Stop()
		errs = append(errs, err)
	}
	if w.tap != nil {
		handed, err = w.tap.Stop()
		errs = append(errs, err, handed.Whole())
	}
	return wire, handed, errors.Join(errs...)
}
