package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/ftgw/ftgw/internal/lab/bench/chart"
)

// Report is a whole run, as the JSON file has it.
type Report struct {
	Version      int           `json:"version"` // of this format, 1
	Begun        time.Time     `json:"begun"`
	TookS        float64       `json:"took_s"`
	Program      string        `json:"program"` // version of ftgw
	Machine      string        `json:"machine"`
	Quick        bool          `json:"quick"`
	Rounds       int           `json:"rounds"`
	Remarks      []string      `json:"remarks"`
	Figures      []Result      `json:"figures"`
	Measurements []Measurement `json:"measurements"`
}

// Result is one figure.
type Result struct {
	Name   string        `json:"name"`
	Paper  string        `json:"paper"`
	About  string        `json:"about"`
	Tables []chart.Table `json:"tables"`
	Ratios []Ratio       `json:"ratios"`
	Plots  []string      `json:"plots"` // files beside the JSON file

	drawn []chart.Plot
}

// Measurement is the rounds of one cell.
type Measurement struct {
	Cell
	Rounds []Sample `json:"rounds"`
}

func (r *runner) report() Report {
	out := Report{Version: 1, Begun: r.begin, TookS: time.Since(r.begin).Seconds(), Program: r.options.Program, Machine: machine(), Quick: r.options.Quick,
		Rounds: r.pace.rounds, Remarks: r.remarks}
	for _, c := range union(r.options.Figures) {
		if r.data.has(c) {
			out.Measurements = append(out.Measurements, Measurement{c, r.data[c]})
		}
	}
	out.show(r.options.Figures, r.data)
	return out
}

// show adds the figures.
func (p *Report) show(figures []Figure, d Data) {
	for _, f := range figures {
		s := f.Show(d)
		x := Result{Name: f.Name, Paper: f.Paper, About: f.About, Tables: s.Tables, Ratios: s.Ratios, drawn: s.Plots}
		for _, plot := range s.Plots {
			x.Plots = append(x.Plots, plot.Name+".svg")
		}
		p.Figures = append(p.Figures, x)
	}
}

// Kept reports whether every ratio that is held to something keeps it, as far as it was measured.
func (p Report) Kept() bool {
	return !slices.ContainsFunc(p.Figures, func(f Result) bool {
		return slices.ContainsFunc(f.Ratios, func(r Ratio) bool { return r.Verdict() == "NO" })
	})
}

// WriteText writes all tables.
func (p Report) WriteText(w io.Writer) error {
	fmt.Fprintf(w, "%s, %s; %s\n", p.Begun.UTC().Format(time.DateOnly), p.Machine, p.Program)
	fmt.Fprintf(w, "rounds: %d; medians (lowest–highest); %.0f s in all", p.Rounds, p.TookS)
	if p.Quick {
		fmt.Fprint(w, "; quick: short and few rounds, for a look only")
	}
	fmt.Fprintln(w)
	for _, r := range p.Remarks {
		fmt.Fprintln(w, r)
	}
	for _, f := range p.Figures {
		fmt.Fprintf(w, "\n%s: %s\n", f.Name, f.Paper)
		for _, t := range append(slices.Clone(f.Tables), ratioTable(f.Ratios)) {
			fmt.Fprintln(w)
			if err := t.WriteText(w); err != nil {
				return err
			}
		}
	}
	_, err := fmt.Fprintln(w)
	return err
}

// The files that Save writes beside the plots.
const (
	jsonFile = "bench.json"
	textFile = "bench.txt"
)

// Save writes the report and its plots into a directory that exists.
func (p Report) Save(dir string) error {
	text, err := json.MarshalIndent(p, "", " ")
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, jsonFile), append(text, '\n'), 0o644)
	}
	for _, f := range p.Figures {
		for _, plot := range f.drawn {
			if err == nil {
				err = os.WriteFile(filepath.Join(dir, plot.Name+".svg"), plot.SVG(), 0o644)
			}
		}
	}
	if err == nil {
		err = p.saveText(filepath.Join(dir, textFile))
	}
	if err != nil {
		return fmt.Errorf("bench: write the results: %w", err)
	}
	return nil
}

func (p Report) saveText(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := p.WriteText(f); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

// Prepare makes the directory for the results, and makes sure that files can be written there,
// before a long run finds out that they cannot.
func Prepare(dir string) error {
	err := os.MkdirAll(dir, 0o755)
	if err == nil {
		var f *os.File
		if f, err = os.CreateTemp(dir, ".probe-"); err == nil {
			f.Close()
			err = os.Remove(f.Name())
		}
	}
	if err != nil {
		return fmt.Errorf("the results cannot be written: %w (choose another --out)", err)
	}
	return nil
}
