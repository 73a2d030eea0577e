package bench

import (
	"fmt"

	"github.com/ftgw/ftgw/internal/lab/bench/chart"
	"github.com/ftgw/ftgw/internal/lab/bench/load"
)

// The figures of paper 004. Where its text has no number, only its drawing does.

var (
	dynamicSizes = loads(Peak, false, 1, 10, 25, 50)
	staticPeaks  = loads(Peak, false, 1, 5, 10, 25, 50)
	staticTimes  = loads(Latency, false, 1, 5, 10, 25, 50)
)

func figure2() Figure {
	systems := []string{Unreplicated, Duplex}
	return Figure{Name: "figure2", Paper: second + ", Figure 2",
		About: "the processor time of each host for a dynamic reply, by size",
		Cells: cells(Dynamic, systems, dynamicSizes...),
		Show: func(d Data) Shown {
			t := chart.Table{Title: "Processor time for a dynamic reply, microseconds", Columns: []string{""}}
			for _, l := range dynamicSizes {
				t.Columns = append(t.Columns, fmt.Sprintf("%d KB", l.KB))
			}
			t.Notes = []string{"All of a host's processes, its web application included. client: the measuring client; rest: all else on this",
				"machine, which is what its kernel does for packets on nobody's time, the router, and other programs."}
			plot := chart.Plot{Name: "figure2", Title: "Processor time for a dynamic reply", X: "KB", Y: "microseconds"}
			for _, row := range []struct {
				name, system string
				m            metric
				drawn        bool
			}{
				{"unreplicated", Unreplicated, cpu(hostA), true},
				{"duplex, primary", Duplex, cpu(hostA), true},
				{"duplex, backup", Duplex, cpu(hostB), true},
				{"duplex, total", Duplex, cpu(hostA, hostB), true},
				{"client (unreplicated)", Unreplicated, cpu(load.Client), false},
				{"client (duplex)", Duplex, cpu(load.Client), false},
				{"rest (unreplicated)", Unreplicated, rest, false},
				{"rest (duplex)", Duplex, rest, false},
			} {
				line, cells := chart.Series{Name: row.name}, []string{row.name}
				for _, l := range dynamicSizes {
					s := d.spread(Cell{Dynamic, row.system, l}, row.m)
					cells = append(cells, s.String())
					line.Points = append(line.Points, chart.At(float64(l.KB), s))
				}
				t.Add(cells...)
				if row.drawn {
					plot.Series = append(plot.Series, line)
				}
			}
			c := Cell{Dynamic, Duplex, last(dynamicSizes)}
			share := chart.Of(combine(d.each(c, cpu(hostB)), d.each(c, cpu(hostA)), func(b, a float64) float64 { return b / a })...)
			return Shown{[]chart.Table{t}, []chart.Plot{plot}, []Ratio{
				{What: "backup / primary, processor time in duplex at 50 KB", Ours: share},
				{What: "duplex total / unreplicated, processor time at 50 KB", Ours: chart.Of(combine(d.each(c, cpu(hostA, hostB)),
					d.each(Cell{Dynamic, Unreplicated, c.Load}, cpu(hostA)), func(a, b float64) float64 { return a / b })...)},
			}}
		}}
}

func figure3() Figure {
	systems := []string{Unreplicated, Twice, Duplex, DualRole}
	return Figure{Name: "figure3", Paper: second + ", Figure 3",
		About: "peak throughput of dual-role hosts with dynamic replies, by size",
		Cells: cells(Dynamic, systems, dynamicSizes...),
		Show: func(d Data) Shown {
			t := grid(d, "Peak throughput, dynamic replies a second", Dynamic, systems, dynamicSizes, perSecond)
			plot := chart.Plot{Name: "figure3", Title: "Peak throughput, dynamic replies", X: "KB", Y: "replies a second",
				Series: lines(d, Dynamic, systems, dynamicSizes, perSecond)}
			ideal, row := chart.Series{Name: "dual-role, theoretical", Dashed: true}, []string{"dual-role, theoretical"}
			for _, l := range dynamicSizes {
				s := theoretical(d, l)
				row = append(row, s.String())
				if s.Rounds > 0 {
					ideal.Points = append(ideal.Points, chart.At(float64(l.KB), s))
				}
			}
			t.Add(row...)
			t.Notes = append(t.Notes, "theoretical: two processors divided by what both hosts of the duplex system use for a reply.")
			plot.Series = append(plot.Series, ideal)
			top := last(dynamicSizes)
			at := func(system string) Cell { return Cell{Dynamic, system, top} }
			return Shown{[]chart.Table{t, shares(d, Dynamic, systems, top)}, []chart.Plot{plot}, []Ratio{
				{What: "dual-role / duplex, throughput at 50 KB", Ours: d.ratio(at(DualRole), at(Duplex), perSecond), Paper: 1.67, Least: 1.67},
				{What: "duplex / unreplicated, throughput at 50 KB", Ours: d.ratio(at(Duplex), at(Unreplicated), perSecond)},
				{What: "2 × unreplicated / duplex, throughput at 50 KB", Ours: d.ratio(at(Twice), at(Duplex), perSecond)},
				{What: "dual-role / theoretical, throughput at 50 KB", Ours: chart.Of(combine(d.each(at(DualRole), perSecond),
					theoreticals(d, top), func(a, b float64) float64 { return a / b })...)},
			}}
		}}
}

// theoreticals is what two hosts could do if all their processors' time were used, by what a reply
// costs in duplex.
func theoreticals(d Data, l Load) (all []float64) {
	for _, us := range d.each(Cell{Dynamic, Duplex, l}, cpu(hostA, hostB)) {
		all = append(all, 2e6/us)
	}
	return all
}

func theoretical(d Data, l Load) chart.Spread { return chart.Of(theoreticals(d, l)...) }

// shares is who kept the processors busy.
func shares(d Data, site Site, systems []string, l Load) chart.Table {
	t := chart.Table{Title: fmt.Sprintf("Processors kept busy at %v", l),
		Columns: []string{"", "host a", "host b", "client", "rest", "stolen"}}
	t.Notes = []string{"rest: all else on this machine, its kernel on nobody's time and other programs; stolen: by other machines on its hardware."}
	for _, s := range systems {
		c := Cell{site, s, l}
		if !d.has(c) {
			continue
		}
		remaining := func(x Sample) float64 {
			return max(0, cores(load.All)(x)-cores(hostA, hostB, load.Client)(x))
		}
		row := []string{s}
		for _, m := range []metric{cores(hostA), cores(hostB), cores(load.Client), remaining, cores(load.Steal)} {
			row = append(row, fmt.Sprintf("%.2f", d.spread(c, m).Median))
		}
		t.Add(row...)
	}
	return t
}

func figure4() Figure {
	systems := []string{Unreplicated, HAProxy, Duplex, DuplexMI, Static, SyncStatic}
	return Figure{Name: "figure4", Paper: second + ", Figure 4",
		About: "peak throughput of static content on links of 100 Mbit/s, by size and mode",
		Cells: cells(Shaped, systems, staticPeaks...),
		Show: func(d Data) Shown {
			top := last(staticPeaks)
			at := func(system string) Cell { return Cell{Shaped, system, top} }
			ratios := []Ratio{
				{What: "static / duplex, throughput at 50 KB", Ours: d.ratio(at(Static), at(Duplex), perSecond), Paper: 2.21, Least: 1.8},
				{What: "static / unreplicated, throughput at 50 KB", Ours: d.ratio(at(Static), at(Unreplicated), perSecond), Least: 0.9},
				{What: "sync-static / duplex, throughput at 50 KB", Ours: d.ratio(at(SyncStatic), at(Duplex), perSecond), Least: 1},
				{What: "sync-static / static, throughput at 50 KB", Ours: d.ratio(at(SyncStatic), at(Static), perSecond), Most: 1.02},
			}
			if d.has(at(DuplexMI)) {
				ratios = append(ratios, Ratio{What: "duplex-mi / duplex, throughput at 50 KB", Ours: d.ratio(at(DuplexMI), at(Duplex), perSecond)})
			}
			return Shown{[]chart.Table{
				grid(d, "Peak throughput, static replies a second, links of 100 Mbit/s", Shaped, systems, staticPeaks, perSecond),
				grid(d, "Segments that host a sent again, for each reply", Shaped, systems, staticPeaks, again),
				shares(d, Shaped, systems, top), instead(d, staticPeaks),
			}, []chart.Plot{{Name: "figure4", Title: "Peak throughput, static replies, 100 Mbit/s", X: "KB", Y: "replies a second",
				Series: lines(d, Shaped, systems, staticPeaks, perSecond)}}, ratios}
		}}
}

// instead is how many replies on static routes had to be stored all the same.
func instead(d Data, kind []Load) chart.Table {
	stored := func(s Sample) float64 {
		return 100 * float64(s.Modes["stored_instead"]) / float64(max(1, s.Modes["stored_instead"]+s.Modes["static"]+s.Modes["sync_static"]))
	}
	t := grid(d, "Replies on static routes that were stored all the same, percent", Shaped, []string{Static, SyncStatic}, kind, stored)
	t.Notes = nil
	return t
}

func figure5() Figure {
	systems := []string{Unreplicated, Duplex, DuplexMI, Static, SyncStatic}
	return Figure{Name: "figure5", Paper: second + ", Figure 5",
		About: "the latency of static content on links of 100 Mbit/s, by size and mode, and the share of reply logging",
		Cells: cells(Shaped, systems, staticTimes...),
		Show: func(d Data) Shown {
			t := grid(d, "Latency of one client, median milliseconds, links of 100 Mbit/s", Shaped, systems, staticTimes, median)
			row := []string{"reply overhead"}
			plot := chart.Plot{Name: "figure5", Title: "Latency by size and mode, 100 Mbit/s", X: "KB", Y: "milliseconds",
				Series: lines(d, Shaped, systems, staticTimes, median)}
			overhead := chart.Series{Name: "reply overhead", Dashed: true}
			for _, l := range staticTimes {
				plain, logged, static := d.each(Cell{Shaped, Unreplicated, l}, median), d.each(Cell{Shaped, Duplex, l}, median), d.each(Cell{Shaped, Static, l}, median)
				logging := combine(logged, static, func(a, b float64) float64 { return a - b })
				s := chart.Of(combine(plain, logging, func(a, b float64) float64 { return a + b })...)
				row = append(row, s.String())
				if s.Rounds > 0 {
					overhead.Points = append(overhead.Points, chart.At(float64(l.KB), s))
				}
			}
			t.Add(row...)
			t.Notes = append(t.Notes, "reply overhead: unreplicated and what the logging of replies adds, which is duplex less static.")
			plot.Series = append(plot.Series, overhead)
			return Shown{[]chart.Table{t}, []chart.Plot{plot}, latencyRatios(d, last(staticTimes))}
		}}
}

func latencyRatios(d Data, l Load) []Ratio {
	at := func(system string) Cell { return Cell{Shaped, system, l} }
	plain, logged, static := d.each(at(Unreplicated), median), d.each(at(Duplex), median), d.each(at(Static), median)
	share := combine(combine(logged, static, func(a, b float64) float64 { return a - b }),
		combine(logged, plain, func(a, b float64) float64 { return a - b }), func(a, b float64) float64 { return a / b })
	return []Ratio{
		{What: "static / duplex, latency at 50 KB", Ours: d.ratio(at(Static), at(Duplex), median), Paper: 0.57, Most: 0.6},
		{What: "static / unreplicated, latency at 50 KB", Ours: d.ratio(at(Static), at(Unreplicated), median)},
		{What: "sync-static / static, latency at 50 KB", Ours: d.ratio(at(SyncStatic), at(Static), median), Least: 0.98},
		{What: "sync-static / duplex, latency at 50 KB", Ours: d.ratio(at(SyncStatic), at(Duplex), median), Most: 1},
		{What: "reply logging / overhead of duplex, latency at 50 KB", Ours: chart.Of(share...)},
	}
}

func figure6() Figure {
	systems := []string{Unreplicated, Static, SyncStatic}
	l := Load{Paced, 5, false}
	return Figure{Name: "figure6", Paper: second + ", Figure 6",
		About: "the distribution of latencies of 5 KB static replies at a fixed rate",
		Cells: cells(Shaped, systems, l),
		Show: func(d Data) Shown {
			points := []float64{0.5, 0.9, 0.99, 0.999, 1}
			t := chart.Table{Title: "Latency at a fixed rate, 5 KB static replies, milliseconds",
				Columns: []string{"", "replies a second", "50 %", "90 %", "99 %", "99.9 %", "slowest"}}
			t.Notes = []string{"The rate is 70 % of what sync-static reaches at its peak in this run. A latency counts from the time that was set for",
				"its request. The client wakes up late by the time of its timers, which is in each latency and told as late in the JSON file."}
			plot := chart.Plot{Name: "figure6", Title: "Latency at a fixed rate, 5 KB static replies", X: "milliseconds",
				Y: "share of replies that took longer", LogX: true, LogY: true}
			for _, s := range systems {
				c := Cell{Shaped, s, l}
				row := []string{s, d.spread(c, perSecond).String()}
				for _, q := range points {
					row = append(row, d.spread(c, quantile(q)).String())
				}
				t.Add(row...)
				plot.Series = append(plot.Series, chart.Series{Name: s, Points: tail(d, c)})
			}
			at := func(system string) Cell { return Cell{Shaped, system, l} }
			return Shown{[]chart.Table{t, instead(d, []Load{l})}, []chart.Plot{plot}, []Ratio{
				{What: "static / unreplicated, median latency at a fixed rate", Ours: d.ratio(at(Static), at(Unreplicated), median)},
				{What: "sync-static / static, median latency at a fixed rate", Ours: d.ratio(at(SyncStatic), at(Static), median)},
				{What: "sync-static / static, 99.9 % latency at a fixed rate", Ours: d.ratio(at(SyncStatic), at(Static), quantile(0.999))},
			}}
		}}
}

func quantile(share float64) metric { return func(s Sample) float64 { return s.Quantile(share) } }

// tail is the share of the replies that took longer, by the median of the rounds.
func tail(d Data, c Cell) (all []chart.Point) {
	if !d.has(c) {
		return nil
	}
	for _, p := range d[c][0].Quantiles {
		if p.Share < 1 {
			ms := d.spread(c, quantile(p.Share)).Median
			all = append(all, chart.Point{X: ms, Y: 1 - p.Share, Low: 1 - p.Share, High: 1 - p.Share})
		}
	}
	return all
}

func last(l []Load) Load { return l[len(l)-1] }
