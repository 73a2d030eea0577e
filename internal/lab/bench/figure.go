package bench

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/ftgw/ftgw/internal/lab/bench/chart"
)

// Figure is one table or drawing of a paper.
type Figure struct {
	Name  string // as --only takes it
	Paper string // where it stands
	About string
	Cells []Cell // what it needs; those of systems that are not available have no data
	// Show makes tables, plots and ratios of the data. It is pure.
	Show func(Data) Shown
}

// Shown is a figure as it came out.
type Shown struct {
	Tables []chart.Table
	Plots  []chart.Plot
	Ratios []Ratio
}

// The papers.
const (
	first  = "Client-Transparent Fault-Tolerant Web Service"
	second = "Performance Optimizations for Transparent Fault-Tolerant Web Service"
)

// All returns every figure, in the papers' order.
func All() []Figure {
	return []Figure{table3(), table4(), table5(), figure2(), figure3(), figure4(), figure5(), figure6()}
}

// Choose returns the figures that the words name, separated by commas and as globs; all if there
// are none.
func Choose(all []Figure, words []string) ([]Figure, error) {
	var names []string
	for _, w := range words {
		for name := range strings.SplitSeq(w, ",") {
			names = append(names, strings.TrimSpace(name))
		}
	}
	if len(names) == 0 {
		return all, nil
	}
	chosen := make([]bool, len(all))
	for _, name := range names {
		found := false
		for i, f := range all {
			match, err := path.Match(name, f.Name)
			if err != nil {
				return nil, fmt.Errorf("--only %q: %w", name, err)
			}
			chosen[i] = chosen[i] || match
			found = found || match
		}
		if !found {
			return nil, fmt.Errorf("there is no figure %q; there are %s", name, strings.Join(figureNames(all), ", "))
		}
	}
	var out []Figure
	for i, f := range all {
		if chosen[i] {
			out = append(out, f)
		}
	}
	return out, nil
}

func figureNames(all []Figure) []string {
	var names []string
	for _, f := range all {
		names = append(names, f.Name)
	}
	return names
}

// cells makes the cells of systems, one for each load.
func cells(site Site, systems []string, loads ...Load) (all []Cell) {
	for _, s := range systems {
		for _, l := range loads {
			all = append(all, Cell{site, s, l})
		}
	}
	return all
}

// loads makes a load of each size.
func loads(k Kind, fresh bool, kb ...int) (all []Load) {
	for _, n := range kb {
		all = append(all, Load{k, n, fresh})
	}
	return all
}

// lines makes a line of each system: the metric by the size.
func lines(d Data, site Site, systems []string, kind []Load, m metric) (all []chart.Series) {
	for _, s := range systems {
		line := chart.Series{Name: s}
		for _, l := range kind {
			if c := (Cell{site, s, l}); d.has(c) {
				line.Points = append(line.Points, chart.At(float64(l.KB), d.spread(c, m)))
			}
		}
		if len(line.Points) > 0 {
			all = append(all, line)
		}
	}
	return all
}

// grid is a table with a row for each system and a column for each load.
func grid(d Data, title string, site Site, systems []string, kind []Load, m metric) chart.Table {
	t := chart.Table{Title: title, Columns: []string{""}}
	for _, l := range kind {
		t.Columns = append(t.Columns, fmt.Sprintf("%d KB", l.KB))
	}
	for _, s := range systems {
		row := []string{s}
		for _, l := range kind {
			row = append(row, d.spread(Cell{site, s, l}, m).String())
		}
		if slices.ContainsFunc(kind, func(l Load) bool { return d.has(Cell{site, s, l}) }) {
			t.Add(row...)
		} else {
			t.Notes = append(t.Notes, s+": not available")
		}
	}
	return t
}
