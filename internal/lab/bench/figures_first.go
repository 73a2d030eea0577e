package bench

import (
	"fmt"

	"github.com/ftgw/ftgw/internal/lab/bench/chart"
)

// The figures of paper 000. Its clients opened a connection for each request, which it counts with
// the request ("connection setup overhead", §4), so these do.

// The parts of a request's time.
const (
	partClient  = "client"
	partPackets = "packet layer"
	partProxy   = "proxy"
	partServer  = "server"
)

var paper3 = map[string]float64{Unreplicated: 1.23, Null: 3.27, Simplex: 4.56, Duplex: 6.05} // ms, Table 3

func table3() Figure {
	systems := []string{Unreplicated, HAProxy, Null, Simplex, Duplex}
	fresh, kept := Load{Latency, 1, true}, Load{Latency, 1, false}
	return Figure{Name: "table3", Paper: first + ", Table 3 and Figure 2",
		About: "the time of a 1 KB request without proxies, with proxies that only relay, in simplex and in duplex",
		Cells: cells(Plain, systems, fresh, kept),
		Show: func(d Data) Shown {
			t := chart.Table{Title: "Request times, 1 KB, milliseconds",
				Columns: []string{"", "median", "mean", "ratio", "paper", "kept alive", "ratio"}}
			t.Notes = []string{"ratio: to unreplicated, which is nginx asked directly; kept alive: all requests on one connection,",
				"which the paper did not measure. null proxy: packets pass the kernel queues unread, requests ftgw's HTTP proxy alone."}
			var out Shown
			plot := chart.Plot{Name: "table3", Title: "Request times, 1 KB", X: "request", Y: "milliseconds", LogY: true}
			base, baseKept := Cell{Plain, Unreplicated, fresh}, Cell{Plain, Unreplicated, kept}
			for _, s := range systems {
				c, k := Cell{Plain, s, fresh}, Cell{Plain, s, kept}
				paper := paper3[s] / paper3[Unreplicated]
				t.Add(s, d.spread(c, median).String(), d.spread(c, mean).String(), d.ratio(c, base, median).String(),
					paperRatio(paper), d.spread(k, median).String(), d.ratio(k, baseKept, median).String())
				if s != Unreplicated {
					out.Ratios = append(out.Ratios, Ratio{What: s + " / unreplicated, latency at 1 KB", Ours: d.ratio(c, base, median), Paper: paper})
				}
				if d.has(c) {
					line := chart.Series{Name: s}
					for i, ms := range d[c][0].Series {
						line.Points = append(line.Points, chart.Point{X: float64(i + 1), Y: ms, Low: ms, High: ms})
					}
					plot.Series = append(plot.Series, line)
				}
			}
			out.Tables, out.Plots = []chart.Table{t}, []chart.Plot{plot}
			return out
		}}
}

func table4() Figure {
	c := Cell{Plain, Timed, Load{Parts, 1, true}}
	papers := map[string]float64{partClient: 6.05, partPackets: 5.42, partProxy: 2.52, partServer: 0.61}
	return Figure{Name: "table4", Paper: first + ", Table 4 and Figure 3",
		About: "where the time of a 1 KB request in duplex goes: client, packet layer, proxy, server",
		Cells: []Cell{c},
		Show: func(d Data) Shown {
			t := chart.Table{Title: "Where the time goes, duplex, 1 KB, mean milliseconds; each line holds the ones below",
				Columns: []string{"", "time", "share", "paper"}}
			t.Notes = []string{"client: from the connect to the reply's last byte; packet layer: on the wire before the hosts, from the",
				"connection's first segment to the last one with data of the reply; proxy: from the whole request to the reply's last",
				"write, as ftgw's access log has it; server: of it, asking nginx. Shares are of the client's time."}
			var out Shown
			for _, name := range []string{partClient, partPackets, partProxy, partServer} {
				share := chart.Of(combine(d.each(c, part(name)), d.each(c, part(partClient)), func(a, b float64) float64 { return a / b })...)
				paper := papers[name] / papers[partClient]
				t.Add(name, d.spread(c, part(name)).String(), share.String(), paperRatio(paper))
				if name != partClient {
					out.Ratios = append(out.Ratios, Ratio{What: name + " / client, time in duplex at 1 KB", Ours: share, Paper: paper})
				}
			}
			out.Tables = []chart.Table{t}
			return out
		}}
}

func table5() Figure {
	systems := []string{Unreplicated, Duplex}
	sizes := loads(Latency, true, 1, 5, 10)
	papers := map[string][]float64{Unreplicated: {1.23, 1.81, 2.34}, Duplex: {6.05, 8.41, 10.85}} // ms
	return Figure{Name: "table5", Paper: first + ", Table 5, Figures 4 and 5",
		About: "the time of requests of 1, 5 and 10 KB, in duplex and without proxies",
		Cells: cells(Plain, systems, sizes...),
		Show: func(d Data) Shown {
			var out Shown
			t := grid(d, "Request times by size, median milliseconds", Plain, systems, sizes, median)
			out.Tables = []chart.Table{t}
			for i, l := range sizes {
				out.Ratios = append(out.Ratios, Ratio{What: fmt.Sprintf("duplex / unreplicated, latency at %d KB", l.KB),
					Ours: d.ratio(Cell{Plain, Duplex, l}, Cell{Plain, Unreplicated, l}, median), Paper: papers[Duplex][i] / papers[Unreplicated][i]})
			}
			for _, s := range systems {
				for i, l := range sizes[1:] {
					out.Ratios = append(out.Ratios, Ratio{What: fmt.Sprintf("%s: %d KB / 1 KB", s, l.KB),
						Ours: d.ratio(Cell{Plain, s, l}, Cell{Plain, s, sizes[0]}, median), Paper: papers[s][i+1] / papers[s][0]})
				}
			}
			out.Plots = []chart.Plot{{Name: "table5", Title: "Request times by size", X: "KB", Y: "milliseconds",
				Series: lines(d, Plain, systems, sizes, median)}}
			return out
		}}
}
