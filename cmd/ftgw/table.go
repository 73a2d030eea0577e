package main

import (
	"bytes"
	"fmt"
	"io"
	"text/tabwriter"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// table aligns columns for a reader. What it is given may hold text that a client, a web server or
// another host chose: see visible.
type table struct{ *tabwriter.Writer }

func newTable(out io.Writer) table { return table{tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)} }

// Write implements io.Writer. b ends at the end of a character.
func (t table) Write(b []byte) (int, error) {
	if _, err := t.Writer.Write(visible(b)); err != nil {
		return 0, err
	}
	return len(b), nil
}

// visible replaces what a terminal might obey, or hide, by an escape: every character that is not
// printable, the 8-bit control characters (ECMA-48) and those that turn the direction of writing
// among them. Tab and newline stay. JSON means the same after it.
func visible(b []byte) []byte {
	if !bytes.ContainsFunc(b, hidden) {
		return b
	}
	var out []byte
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		switch {
		case r == utf8.RuneError && n == 1:
			out = fmt.Appendf(out, `\x%02x`, b[0])
		case r == utf8.RuneError || !hidden(r):
			out = append(out, b[:n]...)
		default:
			for _, unit := range utf16.Encode([]rune{r}) {
				out = fmt.Appendf(out, `\u%04x`, unit)
			}
		}
		b = b[n:]
	}
	return out
}

// hidden reports whether a character is written as an escape; utf8.RuneError may stand for a byte
// that is none.
func hidden(r rune) bool {
	return r != '\n' && r != '\t' && !unicode.IsPrint(r) || r == utf8.RuneError
}
