package labtest

import (
	"fmt"
	"os"
	"testing"

	"github.com/ftgw/ftgw/internal/lab"
)

// Main is for TestMain: it runs the tests, without root in a user namespace of their own.
// Where that is refused they run as they are, and Require says what is missing.
func Main(m *testing.M) {
	code, done, err := lab.Reexec()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	if !done {
		code = m.Run()
	}
	os.Exit(code)
}
