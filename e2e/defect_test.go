package e2e

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ftgw/ftgw/internal/crashpoint"
	"github.com/ftgw/ftgw/internal/defect"
	"github.com/ftgw/ftgw/internal/lab"
	"github.com/ftgw/ftgw/internal/lab/client"
)

// TestDefect: a panic anywhere in the daemon, with its locks held or not, is for clients the death
// of a host like any other, and for the operator one line. The stack is in a file.
func TestDefect(t *testing.T) {
	x := prepare(t, lab.Options{}, lab.Config{})
	x.node(x.B)
	for _, tt := range []struct {
		point crashpoint.Point
		code  int
	}{
		{crashpoint.SegmentIn, defect.ExitCode},   // a packet worker
		{crashpoint.ReplyStored, defect.ExitCode}, // a connection
		{crashpoint.StoredIn, defect.ExitCode},    // the session
	} {
		file := filepath.Join(x.A.Dir, "arm")
		p, err := x.A.StartNodeEnv(program, []string{crashpoint.Env + "=@" + file})
		x.must(err)
		x.duplex()
		if x.service(x.A).Role != "primary" {
			x.command(x.B, "switchover")
			x.duplex()
		}
		x.must(os.WriteFile(file, []byte("!"+string(tt.point)), 0o600))
		x.report.Add(x.client.Once(context.Background(), client.Bytes(string(tt.point), 1<<20)))
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		err = p.Wait(ctx)
		cancel()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != tt.code {
			t.Errorf("%s: ended with %v", tt.point, err)
		}
		if log := p.Log(); strings.Contains(log, "goroutine ") || strings.Count(log, "a defect of ftgw: ordered at "+string(tt.point)) != 1 {
			t.Errorf("%s: not one line:\n%s", tt.point, log)
		}
		if report, err := os.ReadFile(filepath.Join(x.A.StateDir(), "crash")); err != nil || !strings.Contains(string(report), "goroutine ") {
			t.Errorf("%s: report %q, %v", tt.point, report, err)
		}
		x.must(os.Remove(file))
	}
	x.whole()
}
