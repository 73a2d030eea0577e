package main

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// A durable file always has the last text, and a spare beside it that holds room.
func TestReplaceFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state", "epoch")
	if err := reserveFile(path, "first"); err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		text := fmt.Sprint("text ", i*99)
		if i == 0 {
			text = "first"
		} else if err := replaceFile(path, text); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != text {
			t.Fatalf("%q, %v; want %q", got, err, text)
		}
		if i, err := os.Stat(path + spareSuffix); err != nil || i.Size() == 0 {
			t.Fatalf("the spare: %v", err)
		}
		if all, err := os.ReadDir(filepath.Dir(path)); err != nil || len(all) != 2 {
			t.Fatalf("%v, %v", all, err)
		}
	}
	if err := reserveFile(path, "again"); err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(path); string(got) == "again" {
		t.Error("an old file is lost")
	}
}
