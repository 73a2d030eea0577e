package chart

import (
	"fmt"
	"math"
	"slices"
)

// Spread is what several rounds gave. The zero value says that there was none.
type Spread struct {
	Median float64 `json:"median"`
	Low    float64 `json:"low"`  // the lowest round
	High   float64 `json:"high"` // the highest
	Rounds int     `json:"rounds"`
}

// Of returns the spread of the values, which may be in any order. Values that are no finite numbers,
// such as a ratio of what was not measured, are left out.
func Of(values ...float64) Spread {
	v := slices.DeleteFunc(slices.Clone(values), func(x float64) bool { return math.IsNaN(x) || math.IsInf(x, 0) })
	if len(v) == 0 {
		return Spread{}
	}
	slices.Sort(v)
	n := len(v)
	return Spread{Median: (v[(n-1)/2] + v[n/2]) / 2, Low: v[0], High: v[n-1], Rounds: n}
}

// String is the median with the extremes behind it, or a dash.
func (s Spread) String() string {
	switch {
	case s.Rounds == 0:
		return "—"
	case Number(s.Low) == Number(s.High):
		return Number(s.Median)
	}
	return fmt.Sprintf("%s (%s–%s)", Number(s.Median), Number(s.Low), Number(s.High))
}

// Number writes three significant digits, and never an exponent.
func Number(x float64) string {
	if x == 0 || math.IsNaN(x) || math.IsInf(x, 0) {
		return fmt.Sprintf("%.3g", x)
	}
	digits := 2 - int(math.Floor(math.Log10(math.Abs(x))))
	return fmt.Sprintf("%.*f", min(max(digits, 0), 6), x)
}
