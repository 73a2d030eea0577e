// Package metrics shows a node's state to Prometheus. It keeps nothing itself: a scrape asks the
// node for its state and renders that, so the metrics say what `ftgw status --json` says.
package metrics

import (
	"log/slog"
	"net/http"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/ftgw/ftgw/state"
)

// maxScrapes bounds the scrapes under way at once; more get a 503.
const maxScrapes = 4

// NewHandler returns the handler of /metrics: what source says, with the Go runtime's and the
// process's own metrics. source is called once a scrape, from several goroutines.
func NewHandler(source func() state.Status, log *slog.Logger) http.Handler {
	r := prometheus.NewRegistry()
	r.MustRegister(New(source), collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{Registry: r, MaxRequestsInFlight: maxScrapes,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn)})
}

// family is one metric: its name, and how its samples are read off a state.
type family struct {
	name, help string
	kind       prometheus.ValueType
	labels     []string
	samples    func(s *state.Status, sample sample)
}

// sample takes one sample, with a value for each label.
type sample func(value float64, labels ...string)

// Collector implements prometheus.Collector.
type Collector struct {
	source   func() state.Status
	families []family
	descs    []*prometheus.Desc
}

// New returns a Collector of what source says.
func New(source func() state.Status) *Collector {
	c := &Collector{source: source, families: slices.Concat(nodeFamilies(), serviceFamilies(), trafficFamilies())}
	for _, f := range c.families {
		c.descs = append(c.descs, prometheus.NewDesc(f.name, f.help, f.labels, nil))
	}
	return c
}

// Describe implements prometheus.Collector.
func (c *Collector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range c.descs {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (c *Collector) Collect(to chan<- prometheus.Metric) {
	s := c.source()
	for i, f := range c.families {
		f.samples(&s, func(value float64, labels ...string) {
			to <- prometheus.MustNewConstMetric(c.descs[i], f.kind, value, labels...)
		})
	}
}

// Names returns the names of all metrics of a node but those of the runtime and the process.
func (c *Collector) Names() []string {
	var all []string
	for _, f := range c.families {
		all = append(all, f.name)
	}
	return all
}

const (
	counter = prometheus.CounterValue
	gauge   = prometheus.GaugeValue
)

// truth is 1 for true.
func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// oneOf gives a sample for each state, 1 for the present one, with the state as the last label.
func oneOf(to sample, states []string, present string, labels ...string) {
	for _, s := range states {
		to(truth(s == present), append(slices.Clone(labels), s)...)
	}
}

// each gives a sample for each key of a map.
func each(to sample, counts map[string]uint64) {
	for key, n := range counts {
		to(float64(n), key)
	}
}
