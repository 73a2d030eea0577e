package main

import (
	"bytes"
	"context"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestVisible(t *testing.T) {
	for text, want := range map[string]string{
		"":                        "",
		"a\tb\nµ — 漢 \ufffd":      "a\tb\nµ — 漢 \ufffd",
		"\x1b[31m\x07\x7f":        `\u001b[31m\u0007\u007f`,
		"/\u009b31m\u202e/\u2028": `/\u009b31m\u202e/\u2028`,
		"/\x9b31m/\xff":           `/\x9b31m/\xff`,
		"\U000e0001\u00a0é":       `\udb40\udc01\u00a0é`,
	} {
		if got := string(visible([]byte(text))); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func FuzzVisible(f *testing.F) {
	f.Add([]byte("/\u009b31m\x9b\x1b"))
	f.Fuzz(func(t *testing.T, b []byte) {
		shown := visible(b)
		if !utf8.Valid(shown) || bytes.ContainsFunc(shown, func(r rune) bool { return hidden(r) && r != utf8.RuneError }) {
			t.Errorf("%q: %q", b, shown)
		}
		asJSON, err := json.Marshal(string(b))
		if err != nil {
			t.Fatal(err)
		}
		var want, got string
		if json.Unmarshal(asJSON, &want) != nil || json.Unmarshal(visible(asJSON), &got) != nil || got != want {
			t.Errorf("%q: as JSON %q, want %q", b, got, want)
		}
	})
}

// A client chooses the path, and may write any octet beyond ASCII in it.
func TestLedgerShowsNoControlCharacters(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ftgw.sock")
	l, err := listenSocket(path)
	if err != nil {
		t.Fatal(err)
	}
	const hostile = "/\u009b2J\u202eknil"
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- serveSocket(ctx, l, answers{ledger: func(bool, int) Ledger {
			return Ledger{Services: []ServiceLedger{{Name: "shop", Exchanges: []LedgerEntry{{Method: "GET", Path: hostile}}}}}
		}})
	}()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	for _, args := range [][]string{{"ledger", "--socket", path}, {"ledger", "--socket", path, "--json"}} {
		var out, errOut bytes.Buffer
		if code := execute(t.Context(), args, &out, &errOut); code != 0 {
			t.Fatalf("%s: exit code %d: %s", args, code, &errOut)
		}
		if !strings.Contains(out.String(), `/\u009b2J\u202eknil`) || strings.ContainsAny(out.String(), hostile[1:3]+"\u202e") {
			t.Errorf("%s: %q", args, &out)
		}
	}
	var errOut bytes.Buffer
	if execute(t.Context(), []string{"status\u009b31m"}, new(bytes.Buffer), &errOut); strings.Contains(errOut.String(), "\u009b") {
		t.Errorf("an error: %q", &errOut)
	}
}
