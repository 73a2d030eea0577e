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
	taps  []*tap.Tap         // what the kernel of each service's backup is handed
}

// Seen is what was captured in a round.
type Seen struct {
	Wire     []capture.Segment // between the hosts' network and the router
	Handed   []capture.Segment // to the kernels of the services' backups
	Ports    []capture.Segment // on the cables of both hosts, as the router sees them
	Missed   error             // what those captures lost, if anything
	Journals []webapp.Entry    // of both web applications, by time
	Results  []client.Result
	// Interrupted are the exchanges that were under way at the first fault.
	Interrupted []Exchange
}

// startWatch captures, with a file for each host in dir. The tap comes first: it must know no
// less than the capture.
func startWatch(r *Round, dir string, tapped bool) (w *watch, err error) {
	w = &watch{}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.stop(&Seen{}))
		}
	}()
	if tapped {
		for _, s := range r.Services { // no host is backup of two
			t, err := tap.Start(s.Backup, s.At, tapGroup)
			if err != nil {
				return w, err
			}
			w.taps = append(w.taps, t)
		}
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

// stop ends all captures and adds to seen what they saw. What an oracle needs must be whole; the
// rest need not be.
func (w *watch) stop(seen *Seen) error {
	var errs, missed []error
	if w.wire != nil {
		wire, err := w.wire.Stop()
		seen.Wire = wire.Segments
		errs = append(errs, err, wire.Whole())
	}
	for _, c := range w.ports {
		port, err := c.Stop()
		seen.Ports = append(seen.Ports, port.Segments...)
		errs, missed = append(errs, err), append(missed, port.Whole())
	}
	seen.Missed = errors.Join(missed...)
	for _, t := range w.taps {
		handed, err := t.Stop()
		seen.Handed = append(seen.Handed, handed.Segments...)
		errs = append(errs, err, handed.Whole())
	}
	return errors.Join(errs...)
}
