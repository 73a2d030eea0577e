package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/ftgw/ftgw/config"
)

// TestManual: each command that a user sees has a page, and the file's page every key of the example.
func TestManual(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("SOURCE_DATE_EPOCH", "1767225600")
	var out bytes.Buffer
	if code := execute(t.Context(), []string{"manual", dir}, &out, &out); code != 0 {
		t.Fatalf("exit code %d: %s", code, &out)
	}
	read := func(name string) string {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	for _, c := range rootCommand().Commands() {
		if page := "ftgw-" + c.Name() + ".1"; !c.Hidden && !strings.Contains(read(page), ".SH") {
			t.Errorf("%s is empty", page)
		}
	}
	page := read("ftgw.toml.5")
	keys := regexp.MustCompile(`(?m)^(?:# )?([a-z_]+) *= `).FindAllStringSubmatch(config.Example, -1)
	for _, key := range keys {
		if !strings.Contains(page, "\n.BR "+key[1]+" ") {
			t.Errorf("ftgw.toml(5) does not name %s", key[1])
		}
	}
	if len(keys) < 50 || !strings.HasPrefix(page, `.TH FTGW.TOML 5 "2026-01-01"`) {
		t.Errorf("%d keys, %.40s", len(keys), page)
	}
	if code := execute(t.Context(), []string{"manual", "/nonexistent"}, &out, &out); code != exitFailed {
		t.Errorf("a directory that is not there: exit code %d", code)
	}
}

// TestExitCodesInHelp: a command's help names no code that the table lacks.
func TestExitCodesInHelp(t *testing.T) {
	var known []string
	for _, e := range exitCodes {
		known = append(known, strconv.Itoa(e.code))
	}
	var walk func(*cobra.Command)
	walk = func(c *cobra.Command) {
		if _, codes, found := strings.Cut(c.Long, "Exit codes: "); found {
			for _, m := range regexp.MustCompile(`(?:^|[;,] |[;,]\n)(\d+) `).FindAllStringSubmatch(codes, -1) {
				if !slices.Contains(known, m[1]) {
					t.Errorf("%s: the help names exit code %s, which is not in the table of ftgw --help", c.CommandPath(), m[1])
				}
			}
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(rootCommand())
}
