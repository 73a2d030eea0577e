package hook

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 20 * time.Second

func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

func command(text string, env ...string) Command {
	return Command{Name: "a hook", Text: text, Env: env, Limit: patience, Key: "hook_timeout"}
}

func TestRun(t *testing.T) {
	if err := command(`test "$FTGW_EVENT" = takeover && test -n "$PATH"`, "FTGW_EVENT=takeover").Run(t.Context()); err != nil {
		t.Error(err)
	}
	err := command("echo no answer >&2; exit 3").Run(t.Context())
	var status *exec.ExitError
	if !errors.As(err, &status) || status.ExitCode() != 3 || !strings.Contains(err.Error(), `a hook: exit status 3: "no answer" (try it by hand: echo`) {
		t.Error(err)
	}
	err = command("head -c 10000000 /dev/zero | tr '\\0' x; exit 1").Run(t.Context())
	if err == nil || len(err.Error()) > 2*maxOutput || !strings.Contains(err.Error(), strings.Repeat("x", maxOutput)) {
		t.Errorf("%.100v", err)
	}
}

// A command that hangs is killed with what it has started, and so is one whose caller has gone.
func TestRunIsBounded(t *testing.T) {
	for _, tt := range []struct {
		name  string
		limit time.Duration
		end   time.Duration
		says  string
	}{
		{"limit", 300 * time.Millisecond, patience, "did not end within hook_timeout, 300ms"},
		{"caller", patience, 300 * time.Millisecond, "signal: killed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			pid := filepath.Join(t.TempDir(), "pid")
			ctx, stop := context.WithCancel(t.Context())
			defer time.AfterFunc(tt.end, stop).Stop()
			defer stop()
			c := command(fmt.Sprintf("trap '' TERM INT; sleep 1000 & echo $! > %s; wait", pid))
			c.Limit = tt.limit
			begin := time.Now()
			err := c.Run(ctx)
			if err == nil || !strings.Contains(err.Error(), tt.says) || time.Since(begin) > patience/2 {
				t.Errorf("%v after %v", err, time.Since(begin))
			}
			text, err := os.ReadFile(pid)
			if err != nil {
				t.Fatal(err)
			}
			var child int
			fmt.Sscan(string(text), &child)
			eventually(t, "the child is gone", func() bool {
				stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", child))
				return err != nil || strings.Contains(string(stat), ") Z ") || unix.Kill(child, 0) != nil
			})
		})
	}
}

// Commands run in order, one that hangs holds up only those behind it, and what finds no room is
// counted. Nobody who adds waits.
func TestQueue(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out")
	var mu sync.Mutex
	var log bytes.Buffer
	q := NewQueue(slog.New(slog.NewTextHandler(lockedWriter{&mu, &log}, nil)))
	hangs := command("echo hangs >> " + out + "; sleep 1000")
	hangs.Limit = 300 * time.Millisecond
	q.Add(hangs)
	begin := time.Now()
	for i := range waiting + 10 {
		q.Add(command(fmt.Sprintf("echo %d >> %s", i, out)))
	}
	if d := time.Since(begin); d > patience/4 {
		t.Errorf("adding took %v", d)
	}
	if q.Dropped() != 11 {
		t.Errorf("%d dropped", q.Dropped())
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- q.Run(ctx) }()
	want := "hangs\n"
	for i := range waiting - 1 {
		want += fmt.Sprintln(i)
	}
	eventually(t, "all have run", func() bool {
		text, _ := os.ReadFile(out)
		return len(text) == len(want)
	})
	if text, _ := os.ReadFile(out); string(text) != want {
		t.Errorf("ran in another order:\n%s", text)
	}
	cancel()
	if err := <-done; err != nil || q.Failed() != 1 {
		t.Errorf("%v, %d failed", err, q.Failed())
	}
	mu.Lock()
	defer mu.Unlock()
	if !strings.Contains(log.String(), "did not end within hook_timeout") || !strings.Contains(log.String(), "too many wait") {
		t.Error(log.String())
	}
}

type lockedWriter struct {
	mu *sync.Mutex
	w  *bytes.Buffer
}

func (l lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}
