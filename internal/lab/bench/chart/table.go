package chart

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// Table is rows of text under a title.
type Table struct {
	Title   string     `json:"title"`
	Columns []string   `json:"columns"`
	Rows    [][]string `json:"rows"`
	Notes   []string   `json:"notes,omitempty"` // lines below the table
}

// Add appends a row.
func (t *Table) Add(cells ...string) { t.Rows = append(t.Rows, cells) }

// WriteText writes the table in columns, the first to the left and the others to the right.
func (t Table) WriteText(w io.Writer) error {
	widths := make([]int, len(t.Columns))
	lines := append([][]string{t.Columns}, t.Rows...)
	for _, row := range lines {
		for i, cell := range row {
			if i < len(widths) {
				widths[i] = max(widths[i], utf8.RuneCountInString(cell))
			}
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\n", t.Title)
	for k, row := range lines {
		var line strings.Builder
		for i := range widths {
			cell := ""
			if i < len(row) {
				cell = row[i]
			}
			gap := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if i == 0 {
				line.WriteString(cell + gap)
			} else {
				line.WriteString("  " + gap + cell)
			}
		}
		b.WriteString("  " + strings.TrimRight(line.String(), " ") + "\n")
		if k == 0 {
			b.WriteString("  " + strings.Repeat("-", sum(widths)+2*(len(widths)-1)) + "\n")
		}
	}
	for _, n := range t.Notes {
		b.WriteString("  " + n + "\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func sum(v []int) (n int) {
	for _, x := range v {
		n += x
	}
	return n
}
