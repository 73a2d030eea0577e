package ftgw_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestTransactionsExample: the program in the document compiles as it stands there.
func TestTransactionsExample(t *testing.T) {
	programs := blocks(t, "docs/transactions.md", "go")
	if len(programs) != 1 {
		t.Fatalf("%d programs", len(programs))
	}
	dir := t.TempDir()
	for name, text := range map[string]string{"main.go": programs[0], "go.mod": "module example\n\ngo 1.24\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{{"go", "vet", "."}, {"gofmt", "-l", "."}} {
		cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("%v: %v\n%s", args, err, out)
		}
	}
}
