package load

import "slices"

// shares are the points of a distribution that are told, denser towards its slow end.
var shares = []float64{0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9995, 0.9999, 1}

// outcome sums up. Shares that so few replies cannot show are left out, but for the slowest.
func (m *meter) outcome(cpu map[string]float64) Outcome {
	o := Outcome{From: m.from.Round(0), Requests: len(m.took), Seconds: m.to.Sub(m.from).Seconds(), Series: m.series, CPU: cpu}
	all := slices.Sorted(slices.Values(m.took))
	for _, ms := range all {
		o.Mean += ms / float64(len(all))
	}
	for _, share := range shares {
		if n := len(all); n > 0 && (share == 1 || (1-share)*float64(n) >= 1) {
			o.Quantiles = append(o.Quantiles, Point{share, rank(all, share)})
		}
	}
	if len(m.late) > 0 {
		slices.Sort(m.late)
		o.LateMS = rank(m.late, 0.5)
	}
	return o
}

// rank returns the value that the share of the sorted values does not exceed (nearest rank).
func rank(sorted []float64, share float64) float64 {
	i := int(share*float64(len(sorted))+0.9999999) - 1
	return sorted[min(max(i, 0), len(sorted)-1)]
}

// Quantile returns the latency that the share of the replies did not exceed, in milliseconds: of the
// points that are told, the first that is not below; 0 where there is none.
func (o Outcome) Quantile(share float64) float64 {
	for _, p := range o.Quantiles {
		if p.Share >= share {
			return p.MS
		}
	}
	return 0
}

// PerSecond returns the replies a second.
func (o Outcome) PerSecond() float64 { return float64(o.Requests) / o.Seconds }
