package bench

import (
	"fmt"
	"math"
	"slices"

	"github.com/ftgw/ftgw/internal/lab/bench/chart"
	"github.com/ftgw/ftgw/internal/lab/bench/load"
)

// Site is what the hosts' web servers and cables are like.
type Site string

// The sites.
const (
	Plain   Site = "plain"   // nginx with files in memory, cables as fast as the machine
	Shaped  Site = "shaped"  // the same, and the hosts' cables carry 100 Mbit/s each way
	Dynamic Site = "dynamic" // an application that works for each reply, as a CGI script does
)

// Kind is what the client does.
type Kind string

// The kinds of load.
const (
	Latency Kind = "latency" // one client, one request after the other
	Peak    Kind = "peak"    // as many as 16 clients get through
	Paced   Kind = "paced"   // requests at fixed times, whatever the replies do
	Parts   Kind = "parts"   // as Latency, and where the time goes is recorded
)

// Load is what the client asks for.
type Load struct {
	Kind  Kind `json:"kind"`
	KB    int  `json:"kb"`    // of each reply's body, 1024 bytes each
	Fresh bool `json:"fresh"` // a connection for each request
}

func (l Load) String() string {
	s := fmt.Sprintf("%s, %d KB", l.Kind, l.KB)
	if l.Fresh {
		s += ", a connection each"
	}
	return s
}

// Cell is one measurement.
type Cell struct {
	Site   Site   `json:"site"`
	System string `json:"system"`
	Load   Load   `json:"load"`
}

// Sample is what one round of a cell gave.
type Sample struct {
	load.Outcome
	Parts map[string]float64 `json:"parts_ms,omitempty"` // mean times, by part
	Modes map[string]uint64  `json:"modes,omitempty"`    // exchanges by mode, as host a counted
	Again uint64             `json:"segments_again"`     // that the kernel of host a sent again, warm-up included
}

// Data are the samples of all cells, by round: what is at the same place was measured in the same
// round.
type Data map[Cell][]Sample

// metric is a number of a sample.
type metric func(Sample) float64

func median(s Sample) float64    { return s.Quantile(0.5) }                                 // latency, ms
func mean(s Sample) float64      { return s.Mean }                                          // latency, ms
func perSecond(s Sample) float64 { return s.PerSecond() }                                   // replies
func part(name string) metric    { return func(s Sample) float64 { return s.Parts[name] } } // ms

// again is the segments sent again for each reply.
func again(s Sample) float64 { return float64(s.Again) / float64(s.Requests) }

// cpu is the processor time for each reply, in microseconds, of hosts, the client or All.
func cpu(names ...string) metric {
	return func(s Sample) (sum float64) {
		for _, n := range names {
			sum += s.CPU[n] / float64(s.Requests) * 1e6
		}
		return sum
	}
}

// rest is the processor time for each reply that no process of the hosts or the client had.
func rest(s Sample) float64 {
	return max(0, cpu(load.All)(s)-cpu(hostA, hostB, load.Client)(s))
}

// cores is how many processors the named ones kept busy.
func cores(names ...string) metric {
	return func(s Sample) (sum float64) {
		for _, n := range names {
			sum += s.CPU[n] / s.Seconds
		}
		return sum
	}
}

// has reports whether the cell was measured.
func (d Data) has(c Cell) bool { return len(d[c]) > 0 }

// each returns the metric of each round.
func (d Data) each(c Cell, m metric) []float64 {
	var all []float64
	for _, s := range d[c] {
		all = append(all, m(s))
	}
	return all
}

// spread returns the metric over the rounds.
func (d Data) spread(c Cell, m metric) chart.Spread { return chart.Of(d.each(c, m)...) }

// ratio returns how many times the metric of over is in c, round by round.
func (d Data) ratio(c, over Cell, m metric) chart.Spread {
	return chart.Of(combine(d.each(c, m), d.each(over, m), func(a, b float64) float64 { return a / b })...)
}

// combine applies f round by round, as far as both have rounds.
func combine(a, b []float64, f func(a, b float64) float64) []float64 {
	var all []float64
	for i := range min(len(a), len(b)) {
		if x := f(a[i], b[i]); !math.IsNaN(x) && !math.IsInf(x, 0) {
			all = append(all, x)
		}
	}
	return all
}

// union returns the cells of all figures, each once, those of a system on a site together.
func union(figures []Figure) (all []Cell) {
	for _, f := range figures {
		for _, c := range f.Cells {
			if !slices.Contains(all, c) {
				all = append(all, c)
			}
		}
	}
	return all
}
