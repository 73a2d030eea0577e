package lab_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/ftgw/ftgw/internal/lab"
	"github.com/ftgw/ftgw/internal/lab/labtest"
)

// A small state directory gets full, and nobody but the lab's processes sees it.
func TestSmallStateDirectory(t *testing.T) {
	labtest.Require(t)
	l, err := lab.New(lab.Options{StateBytes: 64 << 10})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for _, row := range []struct {
		count string
		fits  bool
	}{{"count=8", true}, {"count=32", false}} {
		p, err := l.A.Start("dd", "dd", "if=/dev/zero", "of="+filepath.Join(l.A.StateDir(), "x"), "bs=4096", row.count)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Wait(ctx); (err == nil) != row.fits {
			t.Errorf("%s: %v\n%s", row.count, err, p.Log())
		}
	}
	if _, err := os.Stat(filepath.Join(l.A.StateDir(), "x")); err == nil {
		t.Error("the file can be seen outside")
	}
}
