package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"

	papers "github.com/ftgw/ftgw/internal/lab/bench"
	"github.com/ftgw/ftgw/internal/lab/labtest"
)

// `ftgw bench` can set up each of its systems and measures it: one short load on each, which says
// nothing of how fast they are.
func TestBench(t *testing.T) {
	labtest.Require(t)
	tool(t, "nginx", "nginx")
	tool(t, "haproxy", "haproxy")
	var all []papers.Cell
	for _, f := range papers.All() {
		for _, c := range f.Cells {
			c.Load.KB = min(c.Load.KB, 1)
			if !slices.ContainsFunc(all, func(o papers.Cell) bool { return o.System == c.System }) {
				all = append(all, c)
			}
		}
	}
	figure := papers.Figure{Name: "each", Cells: all, Show: func(papers.Data) papers.Shown { return papers.Shown{} }}
	report, err := papers.Run(t.Context(), papers.Options{Figures: []papers.Figure{figure}, Quick: true, FtgwPath: program, Progress: t.Output()})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range all {
		i := slices.IndexFunc(report.Measurements, func(m papers.Measurement) bool { return m.Cell == c })
		if i < 0 {
			if c.System != papers.DuplexMI {
				t.Errorf("%+v was not measured", c)
			}
			continue
		}
		x := report.Measurements[i].Rounds[0]
		if x.Requests < 5 || x.Quantile(0.5) <= 0 || x.CPU["a"] <= 0 || x.CPU["client"] <= 0 {
			t.Errorf("%+v: %+v", c, x)
		}
		for _, mode := range []string{papers.Static, papers.SyncStatic} {
			counted := map[string]string{papers.Static: "static", papers.SyncStatic: "sync_static"}[mode]
			if c.System == mode && x.Modes[counted] < uint64(x.Requests)*9/10 {
				t.Errorf("%s: of %d replies %v", mode, x.Requests, x.Modes)
			}
		}
		if c.System == papers.Timed && !(x.Parts["client"] > x.Parts["packet layer"] && x.Parts["packet layer"] > x.Parts["proxy"] && x.Parts["proxy"] > x.Parts["server"]) {
			t.Errorf("the parts of a request do not hold each other: %v", x.Parts)
		}
	}
	dir := t.TempDir()
	if err := report.Save(dir); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "bench.json"))
	var back papers.Report
	if err != nil || json.Unmarshal(text, &back) != nil || len(back.Measurements) != len(report.Measurements) {
		t.Errorf("bench.json: %v", err)
	}
}
