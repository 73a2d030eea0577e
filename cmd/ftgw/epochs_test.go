package main

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ftgw/ftgw/takeover"
)

// The epochs of all groups come back as they were written, each write keeping the others; a file
// that is not one of ours is refused.
func TestEpochFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state", "epochs")
	f, err := openEpochs(path)
	if err != nil || len(f.last) != 0 {
		t.Fatalf("no file yet: %v, %v", f.last, err)
	}
	want := map[string]takeover.Epoch{}
	for _, w := range []map[string]takeover.Epoch{{"a,b": 7}, {"b,a": 2, "a,b,c": 9}, {"a,b": maxEpoch}} {
		maps.Copy(want, w)
		if err := f.write(w); err != nil {
			t.Fatal(err)
		}
		if f, err = openEpochs(path); err != nil || !maps.Equal(f.last, want) {
			t.Errorf("%v, %v; want %v", f.last, err, want)
		}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"", "ftgw-epochs-2\n", string(text[:len(text)-2]), string(text) + "x\n", epochsFormat + "\"a\" 07\n",
		epochsFormat + "\"a\" 7\n\"a\" 8\n", epochsFormat + "\"a\" 9223372036854775807\n"} {
		if err := os.WriteFile(path, []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if f, err := openEpochs(path); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%q: %v, %v", bad, f.last, err)
		}
	}
}

func FuzzEpochs(f *testing.F) {
	f.Add(epochsFormat + "\"a,b\" 7\n\"a,b,c\" 12\n")
	f.Fuzz(func(t *testing.T, text string) {
		if e, err := parseEpochs(text); err == nil && formatEpochs(e) != text {
			t.Errorf("%q became %v", text, e)
		}
	})
}
