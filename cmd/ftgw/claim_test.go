package main

import (
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/ftgw/ftgw/config"
	"github.com/ftgw/ftgw/takeover"
)

// Exit status 0 in time is the only proof that a node is off.
func TestRunFence(t *testing.T) {
	dir := t.TempDir()
	for _, tt := range []struct{ command, wrong string }{
		{"test $FTGW_NODE = web-b && test $FTGW_ADDRESS = 192.0.2.12", ""},
		{"echo no such outlet; exit 1", "no such outlet"},
		{"/no/such/program", "web-b"},
		{"sleep 60 & sleep 60", "fence_timeout"},
		{"touch " + dir + "/done", ""},
	} {
		began := time.Now()
		err := fenceCommand(config.Node{Name: "web-b", Address: netip.MustParseAddr("192.0.2.12"), Fence: tt.command}, 300*time.Millisecond).Run(t.Context())
		if (err == nil) != (tt.wrong == "") || err != nil && !strings.Contains(err.Error(), tt.wrong) {
			t.Errorf("%s: %v", tt.command, err)
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("%s: took %v", tt.command, took)
		}
	}
	if _, err := os.Stat(dir + "/done"); err != nil {
		t.Error(err)
	}
}

// The grants come back as they were written; a file that is not one of ours is refused.
func TestGrantFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state", "grants")
	var f grantFile
	if held, err := f.open(path); err != nil || len(held) != 0 {
		t.Fatalf("no file yet: %v, %v", held, err)
	}
	want := map[string]takeover.Grant{
		"a,b": {Epoch: 7, Floor: 5, Node: "b", Boot: takeover.Boot{1, 2, 3}},
		"c,d": {Epoch: 1 << 62, Floor: 1 << 62},
	}
	if err := f.write(want); err != nil {
		t.Fatal(err)
	}
	got, err := f.open(path)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"", "ftgw-grants-2\n", string(text[:len(text)-4]), string(text) + "x\n", grantsFormat + "\"a\" 1 1 00 \"a\"\n"} {
		if err := os.WriteFile(path, []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := f.open(path); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func FuzzGrants(f *testing.F) {
	f.Add(grantsFormat + "\"a,b\" 7 5 01020300000000000000000000000000 \"b\"\n")
	f.Fuzz(func(t *testing.T, text string) {
		if g, err := parseGrants(text); err == nil && g == nil {
			t.Error("neither grants nor an error")
		}
	})
}
