package chart

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"strings"
	"testing"
)

func TestSpread(t *testing.T) {
	for _, tt := range []struct {
		values []float64
		want   Spread
		text   string
	}{
		{nil, Spread{}, "—"},
		{[]float64{3}, Spread{3, 3, 3, 1}, "3.00"},
		{[]float64{9, 1, 4}, Spread{4, 1, 9, 3}, "4.00 (1.00–9.00)"},
		{[]float64{400, 100, 200, 300}, Spread{250, 100, 400, 4}, "250 (100–400)"},
		{[]float64{0.05, math.NaN(), math.Inf(1)}, Spread{0.05, 0.05, 0.05, 1}, "0.0500"},
		{[]float64{2, 2, 2}, Spread{2, 2, 2, 3}, "2.00"},
	} {
		if got := Of(tt.values...); got != tt.want || got.String() != tt.text {
			t.Errorf("%v: %+v %q, want %+v %q", tt.values, got, got, tt.want, tt.text)
		}
	}
	values := []float64{3, 1, 2}
	if Of(values...); values[0] != 3 {
		t.Error("the caller's values were sorted")
	}
}

func TestNumber(t *testing.T) {
	for x, want := range map[float64]string{0: "0", 1234567: "1234567", 999.6: "1000", 12.345: "12.3", 0.00123456: "0.00123", -5.678: "-5.68"} {
		if got := Number(x); got != want {
			t.Errorf("%v: %q, want %q", x, got, want)
		}
	}
}

func TestTable(t *testing.T) {
	x := Table{Title: "A title", Columns: []string{"", "replies", "é"}, Notes: []string{"a note"}}
	x.Add("one", "1", "—")
	x.Add("eleven", "11111111")
	var out strings.Builder
	if err := x.WriteText(&out); err != nil {
		t.Fatal(err)
	}
	const want = "A title\n\n" +
		"           replies  é\n" +
		"  -------------------\n" +
		"  one            1  —\n" +
		"  eleven  11111111\n" +
		"  a note\n"
	if out.String() != want {
		t.Errorf("\n%s\nwant\n%s", out.String(), want)
	}
}

// wellFormed fails the test unless the text is XML, and returns how many elements of a name it has.
func wellFormed(t *testing.T, svg []byte, name string) (n int) {
	t.Helper()
	d := xml.NewDecoder(bytes.NewReader(svg))
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return n
		}
		if err != nil {
			t.Fatalf("%v:\n%s", err, svg)
		}
		if e, ok := token.(xml.StartElement); ok && e.Name.Local == name {
			n++
		}
	}
}

func TestPlot(t *testing.T) {
	p := Plot{Title: `<a> & "b"`, X: "KB", Y: "replies a second", Series: []Series{
		{Name: "one & two", Points: []Point{{1, 10, 8, 12}, {10, 20, 20, 20}, {50, 400, 390, 410}}},
		{Name: "dashed", Dashed: true, Points: []Point{{1, 1, 1, 1}}},
	}}
	svg := p.SVG()
	if got := wellFormed(t, svg, "polyline"); got != 2 {
		t.Errorf("%d lines", got)
	}
	if got := wellFormed(t, svg, "circle"); got != 4 {
		t.Errorf("%d points", got)
	}
	for _, bad := range []string{"NaN", "Inf"} {
		if bytes.Contains(svg, []byte(bad)) {
			t.Errorf("it has %s", bad)
		}
	}
}

// Whatever the values are, a plot can be drawn.
func TestPlotOfOddValues(t *testing.T) {
	odd := []Point{{0, 0, 0, 0}, {-1, -2, -3, -1}, {math.NaN(), 1, 1, 1}, {1, math.Inf(1), 1, math.Inf(1)}, {1e-9, 1e9, 1, 1e12}}
	for _, points := range [][]Point{nil, odd[:1], odd, {{5, 5, 5, 5}}} {
		for _, logs := range [][2]bool{{false, false}, {true, false}, {false, true}, {true, true}} {
			svg := Plot{LogX: logs[0], LogY: logs[1], Series: []Series{{Name: "x", Points: points}}}.SVG()
			wellFormed(t, svg, "line")
			if bytes.Contains(svg, []byte("NaN")) || bytes.Contains(svg, []byte("Inf")) || len(svg) > 20_000 {
				t.Errorf("%v, logs %v:\n%.2000s", points, logs, svg)
			}
		}
	}
}

// Values on a logarithmic axis are placed by their size, and higher values of Y further up.
func TestAxis(t *testing.T) {
	a := axisOf(true, 0, 300, []float64{1, 1000, 0})
	if a.at(1) != 0 || math.Abs(a.at(10)-100) > 1e-9 || a.at(1000) != 300 || len(a.ticks()) != 4 {
		t.Errorf("%+v: %v", a, a.ticks())
	}
	a = axisOf(false, 400, 0, []float64{0, 37})
	if a.high != 40 || a.at(0) != 400 || a.at(40) != 0 || len(a.ticks()) > 11 {
		t.Errorf("%+v: %v", a, a.ticks())
	}
}
