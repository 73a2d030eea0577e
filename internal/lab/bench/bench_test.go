package bench

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ftgw/ftgw/internal/lab/bench/chart"
	"github.com/ftgw/ftgw/internal/lab/bench/load"
	"github.com/ftgw/ftgw/internal/lab/capture"
)

func TestChoose(t *testing.T) {
	for _, tt := range []struct {
		words []string
		want  string // names, or part of the error
	}{
		{nil, "table3 table4 table5 figure2 figure3 figure4 figure5 figure6"},
		{[]string{"figure4", "table3"}, "table3 figure4"},
		{[]string{"table3, figure4"}, "table3 figure4"},
		{[]string{"table*"}, "table3 table4 table5"},
		{[]string{"figure7"}, `there is no figure "figure7"; there are table3`},
		{[]string{""}, `there is no figure ""`},
		{[]string{"[", "table3"}, "syntax error"},
	} {
		figures, err := Choose(All(), tt.words)
		got := strings.Join(figureNames(figures), " ")
		if err != nil {
			got = err.Error()
		}
		if err == nil && got != tt.want || !strings.Contains(got, tt.want) {
			t.Errorf("%q: %s, want %s", tt.words, got, tt.want)
		}
	}
}

func TestPlace(t *testing.T) {
	for _, tt := range []struct {
		all  []int
		want placement
	}{
		{[]int{3}, placement{3, 3, []int{3}, true}},
		{[]int{0, 1}, placement{0, 1, []int{0, 1}, true}},
		{[]int{2, 4, 6, 7}, placement{2, 4, []int{6, 7}, false}},
	} {
		if got := place(tt.all); !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%v: %+v, want %+v", tt.all, got, tt.want)
		}
	}
}

// The only reason for there being no duplex-mi is that the config does not know it.
func TestNoDedicated(t *testing.T) {
	if why := noDedicated(); why != "" && !strings.Contains(why, "replication_address: unknown key") {
		t.Error(why)
	}
}

// Every cell belongs to a system and is measured once however many figures need it.
func TestGroups(t *testing.T) {
	all := union(All())
	groups, missing := grouped(all)
	measured := 0
	for _, g := range groups {
		for i, c := range g.cells {
			if c.Site != g.site || c.System != g.sys.name || slices.Contains(g.cells[:i], c) {
				t.Errorf("%+v stands with %s on %s", c, g.sys.name, g.site)
			}
			measured++
		}
	}
	for _, c := range all {
		if len(missing) > 0 && c.System == DuplexMI {
			measured++
		}
	}
	if measured != len(all) {
		t.Errorf("%d cells are measured of %d; missing: %v", measured, len(all), missing)
	}
}

// invented are samples in which system number i is 1+i times as slow as the first, in two rounds of
// which the second is slower in everything.
func invented(cells []Cell) Data {
	d := Data{}
	var names []string
	for _, s := range systems() {
		names = append(names, s.name)
	}
	for _, c := range cells {
		for round := range 2 {
			slow := float64(1+slices.Index(names, c.System)) * float64(1+round) * float64(c.Load.KB)
			s := Sample{Outcome: load.Outcome{Requests: 1000, Seconds: slow, Mean: slow, Series: []float64{slow, slow},
				Quantiles: []load.Point{{Share: 0.5, MS: slow}, {Share: 0.99, MS: 2 * slow}, {Share: 0.999, MS: 3 * slow}, {Share: 1, MS: 9 * slow}},
				CPU:       map[string]float64{hostA: slow, hostB: slow / 4, load.Client: slow / 10, load.All: 2 * slow}},
				Parts: map[string]float64{partClient: 8, partPackets: 4, partProxy: 2, partServer: 1},
				Modes: map[string]uint64{"static": 99, "stored_instead": 1}}
			d[c] = append(d[c], s)
		}
	}
	return d
}

// Every figure can be shown, of a full run and of one in which nothing was available, and its ratios
// are those of the same round.
func TestFigures(t *testing.T) {
	for _, f := range All() {
		t.Run(f.Name, func(t *testing.T) {
			for _, d := range []Data{{}, invented(f.Cells)} {
				s := f.Show(d)
				if len(s.Tables) == 0 || len(s.Ratios) == 0 {
					t.Error("there is nothing to see")
				}
				for _, x := range s.Tables {
					for _, row := range x.Rows {
						if len(row) != len(x.Columns) {
							t.Errorf("%s: row %q has not the columns %q", x.Title, row, x.Columns)
						}
					}
				}
				for _, r := range s.Ratios {
					if len(d) == 0 && r.Ours.Rounds != 0 || len(d) > 0 && r.Ours.Low != r.Ours.High {
						t.Errorf("%s: %+v", r.What, r.Ours)
					}
				}
				for _, p := range s.Plots {
					isXML(t, p.SVG())
				}
			}
		})
	}
}

func TestRatio(t *testing.T) {
	spread := chart.Spread{Median: 1.7, Low: 1.5, High: 1.9, Rounds: 5}
	for _, tt := range []struct {
		r              Ratio
		bound, verdict string
	}{
		{Ratio{Ours: spread}, "", ""},
		{Ratio{Ours: spread, Least: 1.67}, "≥ 1.67", "yes"},
		{Ratio{Ours: spread, Least: 1.8}, "≥ 1.8", "NO"},
		{Ratio{Ours: spread, Most: 1.6}, "≤ 1.6", "NO"},
		{Ratio{Ours: spread, Least: 1, Most: 2}, "1 to 2", "yes"},
		{Ratio{Least: 1}, "≥ 1", "not measured"},
	} {
		if tt.r.Bound() != tt.bound || tt.r.Verdict() != tt.verdict {
			t.Errorf("%+v: %q %q, want %q %q", tt.r, tt.r.Bound(), tt.r.Verdict(), tt.bound, tt.verdict)
		}
	}
	a, b := Cell{System: "a"}, Cell{System: "b"}
	d := Data{a: {{Outcome: load.Outcome{Mean: 6}}, {Outcome: load.Outcome{Mean: 4}}}, b: {{Outcome: load.Outcome{Mean: 2}}, {}}}
	if got := d.ratio(a, b, mean); got != (chart.Spread{Median: 3, Low: 3, High: 3, Rounds: 1}) {
		t.Errorf("a round without a divisor counts: %+v", got)
	}
}

func TestReport(t *testing.T) {
	figures := All()
	r := &runner{options: Options{Figures: figures, Program: "ftgw test"}, begin: time.Unix(1_750_000_000, 0).UTC(), data: invented(union(figures)),
		pace: pace{rounds: 2}, remarks: []string{"a remark"}}
	p := r.report()
	dir := filepath.Join(t.TempDir(), "deep", "er")
	if err := errors.Join(Prepare(dir), p.Save(dir)); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "bench.json"))
	if err != nil {
		t.Fatal(err)
	}
	var back Report
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatal(err)
	}
	for i := range p.Figures {
		p.Figures[i].drawn = nil // is in files
	}
	if !reflect.DeepEqual(p, back) {
		t.Error("the JSON file says something else than the report")
	}
	for _, f := range p.Figures {
		for _, name := range f.Plots {
			svg, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				t.Error(err)
			}
			isXML(t, svg)
		}
	}
	var out bytes.Buffer
	if err := p.WriteText(&out); err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile(filepath.Join(dir, "bench.txt"))
	if err != nil || !bytes.Equal(file, out.Bytes()) {
		t.Errorf("the text file differs: %v", err)
	}
	for _, want := range []string{"figure6: ", "a remark", "ftgw test", "rounds: 2; medians", "asked for"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the text has no %q", want)
		}
	}
}

func TestPrepareRefuses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{file, filepath.Join(file, "below"), "/proc/none"} {
		if err := Prepare(dir); err == nil || !strings.Contains(err.Error(), "choose another --out") {
			t.Errorf("%s: %v", dir, err)
		}
	}
}

func TestMissingTools(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	err := need([]Cell{{Site: Dynamic, System: Duplex}})
	if err != nil {
		t.Errorf("what needs no tools: %v", err)
	}
	tools["ftgw-no-such-tool"] = "a-package"
	defer delete(tools, "ftgw-no-such-tool")
	if _, err := find("ftgw-no-such-tool"); err == nil || !strings.Contains(err.Error(), "apt-get install a-package") {
		t.Errorf("the error names no package: %v", err)
	}
}

func TestOnWire(t *testing.T) {
	at, client := netip.MustParseAddrPort("192.0.2.100:80"), netip.MustParseAddrPort("198.51.100.2:40000")
	other, early := netip.MustParseAddrPort("198.51.100.2:40001"), netip.MustParseAddrPort("198.51.100.2:40002")
	seg := func(ms int, src, dst netip.AddrPort, flags capture.Flags, n int) capture.Segment {
		return capture.Segment{Time: time.UnixMilli(int64(1000 + ms)), Src: src, Dst: dst, Flags: flags, Len: n}
	}
	got := onWire([]capture.Segment{
		seg(-9, early, at, capture.SYN, 0), seg(7, at, early, capture.ACK, 10), // in the warm-up
		seg(0, client, at, capture.SYN, 0), seg(1, at, client, capture.SYN|capture.ACK, 0), seg(2, client, at, capture.ACK, 100),
		seg(3, client, at, capture.SYN, 0), // sent again
		seg(5, at, client, capture.ACK, 1000), seg(8, at, client, capture.ACK, 24), seg(9, at, client, capture.FIN|capture.ACK, 0),
		seg(10, other, at, capture.SYN, 0), seg(12, at, other, capture.ACK, 10), seg(20, at, netip.MustParseAddrPort("198.51.100.2:1"), capture.ACK, 10),
	}, at, time.UnixMilli(1000))
	if got != 5 {
		t.Errorf("%v ms, want the mean of 8 and 2", got)
	}
	if got := onWire(nil, at, time.Time{}); got != 0 {
		t.Errorf("%v ms of nothing", got)
	}
}

func TestResent(t *testing.T) {
	n, err := resent("Ip: Forwarding\nIp: 1\nTcp: RtoAlgorithm RetransSegs InErrs\nTcp: 1 42 0\n")
	if err != nil || n != 42 {
		t.Errorf("%d %v", n, err)
	}
	for _, bad := range []string{"", "Tcp: RetransSegs\n", "Tcp: A\nTcp: 1\n", "Tcp: A RetransSegs\nTcp: 1 x\n"} {
		if _, err := resent(bad); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}

func isXML(t *testing.T, text []byte) {
	t.Helper()
	for d := xml.NewDecoder(bytes.NewReader(text)); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatal(err)
		}
	}
}
