package chart

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"math"
)

// Plot is lines over two axes.
type Plot struct {
	Name   string // of the file, without .svg
	Title  string
	X, Y   string // what the axes are, with units
	LogX   bool
	LogY   bool // zero and what is below are then left out
	Series []Series
}

// Series is one line.
type Series struct {
	Name   string
	Points []Point
	Dashed bool
}

// Point is one point, with the extremes of its Y where they differ.
type Point struct{ X, Y, Low, High float64 }

// At returns a point of a spread.
func At(x float64, s Spread) Point { return Point{x, s.Median, s.Low, s.High} }

// The drawing's measures, in pixels.
const (
	width, height           = 760, 470
	left, right, top, below = 70, 200, 40, 50
)

// colours of the series, in turn; they can be told apart by most who do not see all colours.
var colours = []string{"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999999"}

// axis maps values to pixels.
type axis struct {
	low, high float64 // of the values, their logarithms where log
	from, to  float64 // pixels
	log       bool
}

func (a axis) shows(v float64) bool {
	return !math.IsNaN(v) && !math.IsInf(v, 0) && (!a.log || v > 0)
}

func (a axis) at(v float64) float64 {
	if a.log {
		v = math.Log10(v)
	}
	return a.from + (v-a.low)/(a.high-a.low)*(a.to-a.from)
}

// axisOf returns an axis that holds the values, with round ends.
func axisOf(log bool, from, to float64, values []float64) axis {
	a := axis{log: log, from: from, to: to, low: math.Inf(1), high: math.Inf(-1)}
	for _, v := range values {
		if !a.shows(v) {
			continue
		}
		if log {
			v = math.Log10(v)
		}
		a.low, a.high = min(a.low, v), max(a.high, v)
	}
	if a.low > a.high {
		a.low, a.high = 0, 1
	}
	if log {
		a.low, a.high = math.Floor(a.low), math.Ceil(a.high)
	} else {
		a.low = min(a.low, 0)
		step := tick(a.high - a.low)
		a.high = math.Ceil(a.high/step) * step
	}
	if a.high <= a.low {
		a.high = a.low + 1
	}
	return a
}

// tick returns a round distance that divides the span into four to ten parts.
func tick(span float64) float64 {
	if span <= 0 {
		return 1
	}
	unit := math.Pow(10, math.Floor(math.Log10(span)))
	for _, f := range []float64{0.1, 0.2, 0.5} {
		if span/(unit*f) <= 10 {
			return unit * f
		}
	}
	return unit
}

// ticks returns the values that are marked.
func (a axis) ticks() (all []float64) {
	if a.log {
		for e := a.low; e <= a.high; e++ {
			all = append(all, math.Pow(10, e))
		}
		return all
	}
	for step, k := tick(a.high-a.low), 0; ; k++ {
		if v := a.low + float64(k)*step; v <= a.high*1.0001 {
			all = append(all, v)
		} else {
			return all
		}
	}
}

// SVG draws the plot.
func (p Plot) SVG() []byte {
	var xs, ys []float64
	for _, s := range p.Series {
		for _, q := range s.Points {
			xs, ys = append(xs, q.X), append(ys, q.Y, q.High)
			if p.LogY {
				ys = append(ys, q.Low)
			}
		}
	}
	d := &drawing{x: axisOf(p.LogX, left, width-right, xs), y: axisOf(p.LogY, height-below, top, ys)}
	d.put(`<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">`+"\n", width, height, width, height)
	d.put(`<rect width="%d" height="%d" fill="white"/>`+"\n", width, height)
	d.text(left, 22, "start", p.Title, ` font-size="15"`)
	d.axes(p)
	for i, s := range p.Series {
		d.series(s, colours[i%len(colours)], top+10+20*i)
	}
	d.put("</svg>\n")
	return d.b.Bytes()
}

type drawing struct {
	b    bytes.Buffer
	x, y axis
}

func (d *drawing) put(format string, args ...any) { fmt.Fprintf(&d.b, format, args...) }

func (d *drawing) text(x, y float64, anchor, text, more string) {
	d.put(`<text x="%.1f" y="%.1f" text-anchor="%s"%s>`, x, y, anchor, more)
	xml.EscapeText(&d.b, []byte(text)) // a buffer takes everything
	d.put("</text>\n")
}

func (d *drawing) line(x1, y1, x2, y2 float64, colour string) {
	d.put(`<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="%s"/>`+"\n", x1, y1, x2, y2, colour)
}

func (d *drawing) axes(p Plot) {
	for _, v := range d.y.ticks() {
		d.line(left, d.y.at(v), width-right, d.y.at(v), "#dddddd")
		d.text(left-8, d.y.at(v)+4, "end", short(v), "")
	}
	for _, v := range d.x.ticks() {
		d.line(d.x.at(v), height-below, d.x.at(v), height-below+5, "#000000")
		d.text(d.x.at(v), height-below+19, "middle", short(v), "")
	}
	d.line(left, height-below, width-right, height-below, "#000000")
	d.line(left, top, left, height-below, "#000000")
	d.text((left+width-right)/2, height-10, "middle", p.X, "")
	d.text(0, 0, "middle", p.Y, fmt.Sprintf(` transform="translate(16 %d) rotate(-90)"`, (top+height-below)/2))
}

func (d *drawing) series(s Series, colour string, legend int) {
	dash := ""
	if s.Dashed {
		dash = ` stroke-dasharray="6 4"`
	}
	d.put(`<polyline fill="none" stroke="%s" stroke-width="2"%s points="`, colour, dash)
	for _, q := range s.Points {
		if d.x.shows(q.X) && d.y.shows(q.Y) {
			d.put("%.1f,%.1f ", d.x.at(q.X), d.y.at(q.Y))
		}
	}
	d.put("\"/>\n")
	for _, q := range s.Points {
		if len(s.Points) > 30 || !d.x.shows(q.X) || !d.y.shows(q.Y) {
			continue // a curve
		}
		d.put(`<circle cx="%.1f" cy="%.1f" r="3" fill="%s"/>`+"\n", d.x.at(q.X), d.y.at(q.Y), colour)
		if q.High > q.Low && d.y.shows(q.Low) {
			d.line(d.x.at(q.X), d.y.at(q.Low), d.x.at(q.X), d.y.at(q.High), colour)
		}
	}
	d.put(`<line x1="%d" y1="%d" x2="%d" y2="%d" stroke="%s" stroke-width="2"%s/>`+"\n",
		width-right+15, legend, width-right+40, legend, colour, dash)
	d.text(width-right+46, float64(legend+4), "start", s.Name, "")
}

// short writes a mark of an axis.
func short(v float64) string {
	if v >= 10_000 {
		return fmt.Sprintf("%gk", math.Round(v/10)/100)
	}
	return fmt.Sprintf("%.6g", v)
}
