package e2e

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ftgw/ftgw/internal/lab"
)

// noted is a hook that notes what it was told; more follows in the shell.
func noted(event, more string) string {
	return event + " = '''echo $FTGW_EVENT $FTGW_SERVICE $FTGW_ADVERTISED $FTGW_NODE $FTGW_PEER $FTGW_ROLE $FTGW_EPOCH: $FTGW_REASON >> hooks" + more + "'''\n"
}

// hooks returns what a host's hooks have noted.
func (x *cluster) hooks(h *lab.Host) []string {
	text, err := os.ReadFile(filepath.Join(h.Dir, "hooks"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		x.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
}

// told waits until a host's hooks have noted a line that begins so.
func (x *cluster) told(h *lab.Host, line string) {
	x.Helper()
	defer func() {
		if x.Failed() {
			x.Logf("%s has noted %q", h.Name, x.hooks(h))
		}
	}()
	x.until("the hook of "+h.Name+": "+line, 10*time.Second, func() bool {
		return slices.ContainsFunc(x.hooks(h), func(s string) bool { return strings.HasPrefix(s, line) })
	})
}

// Each event runs its hook, with the facts, in order. One that hangs is killed with all it has
// started, and neither it nor any other holds up a takeover.
func TestHooks(t *testing.T) {
	x := start(t, lab.Options{}, lab.Config{Tail: "[timing]\nhook_timeout = \"1500ms\"\n[hooks]\n" +
		noted("takeover", "; sleep 60 & echo $! > hanging; wait") + noted("simplex", "") + noted("duplex", "") +
		noted("fenced", "") + noted("upstream_down", "; echo it is down; exit 3") + noted("upstream_up", "")})
	x.told(x.A, "duplex web 192.0.2.100:80 a b primary 0: in duplex with the peer")
	x.told(x.B, "duplex web 192.0.2.100:80 b a backup 0: in duplex with the peer")

	for _, p := range x.B.Processes() {
		if p.Name == "app" {
			x.must(p.Kill())
		}
	}
	x.told(x.B, "upstream_down web 192.0.2.100:80 b a backup 0: ")
	x.until("the log has what the failing hook printed", 10*time.Second, func() bool {
		return strings.Contains(x.nodes[x.B].Log(), "it is down")
	})
	x.app(x.B)
	x.told(x.B, "upstream_up web 192.0.2.100:80 b a backup 0: it answers")

	wait := x.busy()
	x.must(x.A.Crash())
	x.told(x.B, "takeover web 192.0.2.100:80 b a sole 1: the peer's host does not answer")
	last := x.service(x.B).LastTakeover
	if last == nil || len(last.Steps) == 0 || last.Steps[len(last.Steps)-1].AtMS > 1000 {
		t.Errorf("the takeover took its time: %+v", last)
	}
	if slices.ContainsFunc(x.hooks(x.B), func(s string) bool { return strings.HasPrefix(s, "simplex") }) {
		t.Error("a hook did not wait for the one before")
	}
	x.told(x.B, "simplex web 192.0.2.100:80 b a sole 1: the peer's host does not answer")
	if !strings.Contains(x.nodes[x.B].Log(), "did not end within hook_timeout, 1.5s") || x.drops(x.B, "hook-failed") != 2 {
		t.Errorf("%d hooks have failed:\n%s", x.drops(x.B, "hook-failed"), x.nodes[x.B].Log())
	}
	text, err := os.ReadFile(filepath.Join(x.B.Dir, "hanging"))
	x.must(err)
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	x.must(err)
	x.until("what the hanging hook has started is gone", 10*time.Second, func() bool {
		stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
		return err != nil || strings.Contains(string(stat), ") Z ")
	})

	x.must(x.A.Reboot())
	x.app(x.A)
	x.node(x.A)
	x.duplex()
	x.told(x.B, "duplex web 192.0.2.100:80 b a primary 1: in duplex with the peer")
	wait()
	x.whole()
	x.must(x.nodes[x.B].Stop())
	x.until("a serves alone", 10*time.Second, func() bool { return x.service(x.A).Role == "sole" })
	x.must(x.nodes[x.B].Cont())
	x.told(x.B, "fenced web 192.0.2.100:80 b a ")
	x.duplex()
	before := len(x.hooks(x.B))
	x.must(x.nodes[x.B].Signal(syscall.SIGTERM))
	x.must(x.nodes[x.B].Wait(t.Context()))
	if after := x.hooks(x.B)[before:]; len(after) > 1 || len(after) == 1 && !strings.HasPrefix(after[0], "duplex") {
		t.Errorf("a node that ends in good order has noted %q", after)
	}
}
