package labtest

import (
	"testing"

	"github.com/ftgw/ftgw/internal/lab"
)

// Lab returns a lab that is closed when the test ends. The logs of its processes are printed
// if the test failed.
func Lab(t testing.TB, o lab.Options) *lab.Lab {
	t.Helper()
	Require(t)
	l, err := lab.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			l.Logs(t.Output())
		}
		if err := l.Close(); err != nil {
			t.Errorf("close lab: %v", err)
		}
	})
	return l
}
