package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/ftgw/ftgw/internal/lab"
	"github.com/ftgw/ftgw/internal/lab/bench/load"
	"github.com/ftgw/ftgw/internal/lab/capture"
)

// parts runs a load of which each request has a connection, and finds out where its time goes.
func (r *runner) parts(ctx context.Context, s *stand, targets []string, l Load) (x Sample, err error) {
	wire, err := capture.Start(s.Router, lab.LAN, capture.Options{})
	if err != nil {
		return x, err
	}
	x.Outcome, err = r.drive(ctx, s, targets, l)
	trace, stopped := wire.Stop()
	if err = errors.Join(err, stopped); err != nil {
		return x, err
	}
	if err := trace.Whole(); err != nil {
		return x, err
	}
	x.Parts = map[string]float64{partClient: x.Mean, partPackets: onWire(trace.Segments, netip.MustParseAddrPort(lab.Advertised), x.From)}
	var logged []access
	for end := time.Now().Add(5 * time.Second); len(logged) < x.Requests; time.Sleep(20 * time.Millisecond) {
		if logged, err = readAccess(filepath.Join(s.A.StateDir(), accessLog), x.From); err != nil {
			return x, err
		}
		if time.Now().After(end) {
			return x, fmt.Errorf("the access log of host a has %d lines for %d requests", len(logged), x.Requests)
		}
	}
	for _, a := range logged {
		x.Parts[partProxy] += a.Duration / 1000 / float64(len(logged))
		x.Parts[partServer] += a.Upstream / 1000 / float64(len(logged))
	}
	return x, nil
}

// onWire returns the mean time, in milliseconds, from a connection's first segment to the last one
// with data from the address, of all connections that have both and began at that time or later.
func onWire(segments []capture.Segment, at netip.AddrPort, from time.Time) float64 {
	type span struct{ first, last time.Time }
	spans := map[netip.AddrPort]*span{}
	for _, g := range segments {
		switch {
		case g.Dst == at && g.Flags.Has(capture.SYN):
			if spans[g.Src] == nil && !g.Time.Before(from) {
				spans[g.Src] = &span{first: g.Time}
			}
		case g.Src == at && g.Len > 0 && spans[g.Dst] != nil:
			spans[g.Dst].last = g.Time
		}
	}
	sum, n := 0.0, 0
	for _, p := range spans {
		if !p.last.IsZero() {
			sum += load.Milliseconds(p.last.Sub(p.first))
			n++
		}
	}
	return sum / float64(max(n, 1))
}

// access is what is read of a line of ftgw's access log in the format json.
type access struct {
	Time     time.Time `json:"time"`
	Duration float64   `json:"duration_us"`
	Upstream float64   `json:"upstream_us"`
}

// readAccess returns the lines of requests that were there at that time or later.
func readAccess(path string, from time.Time) (all []access, err error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil // it is made with the first line
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var a access
		if err := json.Unmarshal(lines.Bytes(), &a); err != nil {
			return all, nil // the last line is being written
		}
		if !a.Time.Before(from) {
			all = append(all, a)
		}
	}
	return all, nil
}
