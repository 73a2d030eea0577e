package bench

import (
	"fmt"

	"github.com/ftgw/ftgw/internal/lab/bench/chart"
)

// Ratio is one claim of a paper beside what was measured here.
type Ratio struct {
	What  string       `json:"what"`
	Ours  chart.Spread `json:"ours"`
	Paper float64      `json:"paper,omitempty"` // 0: the paper has it in a drawing only
	Least float64      `json:"at_least,omitempty"`
	Most  float64      `json:"at_most,omitempty"`
}

// Bound says what the ratio is held to; empty: to nothing, it is told.
func (r Ratio) Bound() string {
	switch {
	case r.Least > 0 && r.Most > 0:
		return fmt.Sprintf("%g to %g", r.Least, r.Most)
	case r.Least > 0:
		return fmt.Sprintf("≥ %g", r.Least)
	case r.Most > 0:
		return fmt.Sprintf("≤ %g", r.Most)
	}
	return ""
}

// Verdict is "yes" or "NO" by the median, "not measured", or empty where nothing is asked for.
func (r Ratio) Verdict() string {
	switch {
	case r.Bound() == "":
		return ""
	case r.Ours.Rounds == 0:
		return "not measured"
	case r.Least > 0 && r.Ours.Median < r.Least, r.Most > 0 && r.Ours.Median > r.Most:
		return "NO"
	}
	return "yes"
}

func paperRatio(x float64) string {
	if x == 0 {
		return "—"
	}
	return chart.Number(x)
}

// ratioTable shows ratios with the paper's beside them.
func ratioTable(ratios []Ratio) chart.Table {
	t := chart.Table{Title: "Ratios", Columns: []string{"", "here", "paper", "asked for", "kept"}}
	for _, r := range ratios {
		t.Add(r.What, r.Ours.String(), paperRatio(r.Paper), r.Bound(), r.Verdict())
	}
	return t
}
