package config

import (
	"reflect"
	"strings"
)

// suggest returns the remedy for an unknown key of a table: the table's key that is spelled
// nearly so, else the place where the key belongs, else what the table knows.
func suggest(key string, table reflect.Type) string {
	best, least := "", 1+max(2, len(key)/3)
	for _, known := range keysOf(table) {
		if d := distance(key, known); d < least {
			best, least = known, d
		}
	}
	place, found := placeOf(key, reflect.TypeFor[Config](), "")
	switch {
	case found && place == "":
		return "it belongs at the top of the file, before the first [table]"
	case found:
		return "it belongs in " + place
	case best != "":
		return "did you mean " + best + "?"
	}
	return "known here: " + strings.Join(keysOf(table), ", ")
}

// placeOf returns the header of the table that knows key, empty for the top of the file.
func placeOf(key string, t reflect.Type, header string) (string, bool) {
	for i := range t.NumField() {
		field := t.Field(i)
		name := field.Tag.Get("toml")
		if name == key {
			return header, true
		}
		inner, open, shut := field.Type, "[", "]"
		if inner.Kind() == reflect.Slice {
			inner, open, shut = inner.Elem(), "[[", "]]"
		}
		if inner.Kind() != reflect.Struct || inner.PkgPath() != t.PkgPath() {
			continue
		}
		below := open + join(strings.Trim(header, "[]"), name) + shut
		if place, found := placeOf(key, inner, below); found {
			return place, true
		}
	}
	return "", false
}

// distance is the number of letters to insert, delete or replace that turn a into b
// (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		corner := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replace := corner
			if a[i] != b[j] {
				replace++
			}
			corner = row[j+1]
			row[j+1] = min(replace, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
