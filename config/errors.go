package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Error is one mistake in the file.
type Error struct {
	Line    int    // counted from 1; 0: unknown, as for a key that is missing
	Key     string // such as service[0].upstream; elements are counted from 0
	Problem string
	Remedy  string
}

// Error returns one line of text.
func (e Error) Error() string {
	var b strings.Builder
	if e.Line > 0 {
		fmt.Fprintf(&b, "line %d: ", e.Line)
	}
	if e.Key != "" {
		b.WriteString(e.Key + ": ")
	}
	b.WriteString(e.Problem)
	if e.Remedy != "" {
		b.WriteString("; " + e.Remedy)
	}
	return b.String()
}

// Errors lists every mistake of a file in the order of its lines. It is never empty when it
// is returned as an error.
type Errors []Error

// Error returns one line of text per mistake.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, one := range e {
		lines[i] = one.Error()
	}
	return strings.Join(lines, "\n")
}

// findings collects mistakes and knows the line of each key.
type findings struct {
	lines map[string]int
	errs  Errors
}

// add notes a mistake. The line is the key's own, else that of the nearest table around it.
func (f *findings) add(key, remedy, format string, args ...any) {
	e := Error{Key: key, Problem: fmt.Sprintf(format, args...), Remedy: remedy}
	for at := key; at != ""; at = parent(at) {
		if line, ok := f.lines[at]; ok {
			e.Line = line
			break
		}
	}
	f.errs = append(f.errs, e)
}

// err returns what was collected, or nil. Mistakes without a line come last.
func (f *findings) err() error {
	if len(f.errs) == 0 {
		return nil
	}
	slices.SortStableFunc(f.errs, func(a, b Error) int {
		switch {
		case a.Line == 0 && b.Line != 0:
			return 1
		case b.Line == 0 && a.Line != 0:
			return -1
		}
		return cmp.Compare(a.Line, b.Line)
	})
	return f.errs
}

// has reports whether the key was found wrong already, so that no check speaks of it twice.
func (f *findings) has(key string) bool {
	return slices.ContainsFunc(f.errs, func(e Error) bool { return e.Key == key })
}

// parent returns the key of the table or array around key: a[0].b, a[0], a, then "".
func parent(key string) string {
	return key[:max(0, strings.LastIndexAny(key, ".["))]
}
