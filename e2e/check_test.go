package e2e

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/ftgw/ftgw/internal/lab"
)

// Check asks the other nodes: one that is not there yet is no mistake, one that would never be a
// pair with this one is.
func TestCheckAsksTheOthers(t *testing.T) {
	x := prepare(t, lab.Options{}, lab.Config{})
	x.check(nil, 0, "no mistakes", "node b: ", "ftgw does not run there")
	x.node(x.B)
	x.until("b runs", 10*time.Second, func() bool { return x.service(x.B).Role != "" })
	x.check(nil, 0, "no mistakes", "node b: answers")
	x.check(replaced("[[service]]", "[[service]]\nidle_timeout = \"9s\""), 1, "the peer has another config")
	x.check(secret(strings.Repeat("another!", 8), 0o600), 1, "node b: ", "secret")
	x.check(secret(strings.Repeat("another!", 8), 0o644), 2, "chmod")
	if b := x.service(x.B); b.Role != "joining" && b.Role != "sole" {
		t.Errorf("b is %s after it was asked", b.Role)
	}
}

// check runs ftgw check on host a with a changed config file.
func (x *cluster) check(change func(*testing.T, *cluster, string) string, code int, says ...string) {
	x.Helper()
	text, err := os.ReadFile(x.A.ConfigPath())
	x.must(err)
	path := x.A.ConfigPath() + ".check"
	if change != nil {
		text = []byte(change(x.T, x, string(text)))
	}
	x.must(os.WriteFile(path, text, 0o600))
	p, err := x.A.Start("check", program, "check", "--config", path, "--name", "a")
	x.must(err)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	got, failed := 0, new(exec.ExitError)
	if err := p.Wait(ctx); errors.As(err, &failed) {
		got = failed.ExitCode()
	} else if err != nil {
		x.Fatal(err)
	}
	if got != code {
		x.Errorf("check exits with %d, want %d:\n%s", got, code, p.Log())
	}
	for _, s := range says {
		if !strings.Contains(p.Log(), s) {
			x.Errorf("check does not say %q:\n%s", s, p.Log())
		}
	}
}
