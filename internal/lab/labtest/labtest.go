// Package labtest gates tests that need real network namespaces.
package labtest

import (
	"os"
	"testing"

	"github.com/ftgw/ftgw/internal/lab"
)

// Require skips the test where network namespaces cannot be made, saying the remedy. In CI
// (CI=true) it fails instead, so that nothing is left out in silence.
func Require(t testing.TB) {
	t.Helper()
	err := lab.Allowed()
	switch {
	case err == nil:
	case os.Getenv("CI") == "true":
		t.Fatalf("kernel test cannot run: %v", err)
	default:
		t.Skipf("kernel test cannot run: %v", err)
	}
}

// Missing skips the test because the kernel lacks something, which the reason names with the
// remedy; in CI it fails.
func Missing(t testing.TB, reason string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(reason)
	}
	t.Skip(reason)
}

// NS returns a namespace that is closed when the test ends.
func NS(t testing.TB, name string) *lab.NS {
	t.Helper()
	n, err := lab.NewNS(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	return n
}
