package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ftgw/ftgw/internal/lab"
)

// startFenced starts a pair in which each node's fence command is a script of that name in a
// directory of its own; it gets the node's name.
func startFenced(t *testing.T, script func(x *cluster) string) *cluster {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "off")
	command := fmt.Sprintf("fence = %q", "/bin/sh "+path)
	x := start(t, lab.Options{}, lab.Config{Nodes: map[string]string{"a": command, "b": command}})
	x.must(os.WriteFile(path, []byte(script(x)), 0o600))
	return x
}

// kills is a fence command: it ends the daemon of the node it is asked to power off.
func kills(x *cluster) string {
	return fmt.Sprintf("sleep 0.2\ncase $FTGW_NODE in\na) pid=%d;;\nb) pid=%d;;\n*) exit 3;;\nesac\n"+
		"kill -9 $pid\nwhile kill -0 $pid; do sleep 0.01; done\n",
		x.nodes[x.A].PID(), x.nodes[x.B].PID())
}

// Two hosts that lose each other while both see the gateway: without a witness the fence
// command decides. The owner powers the other one off before it speaks, and is not powered off
// itself.
func TestFenceCommandSettlesPartition(t *testing.T) {
	x := startFenced(t, kills)
	w := x.watch()
	wait := x.busy()
	time.Sleep(400 * time.Millisecond)
	x.must(x.A.Part())
	x.must(x.B.Part())
	x.until("b serves alone", 10*time.Second, func() bool { return x.service(x.B).Role == "sole" })
	x.until("a is off", 2*time.Second, x.nodes[x.A].Exited)
	time.Sleep(1500 * time.Millisecond) // longer than a would have waited for its turn
	if x.nodes[x.B].Exited() {
		t.Fatal("b was powered off as well")
	}
	x.must(x.A.Mend())
	x.must(x.B.Mend())
	x.node(x.A)
	x.duplex()
	wait()
	x.whole()
	x.executions()
	w.check(1, x.service(x.B).LastTakeover.At)
	t.Logf("takeover: %+v", x.service(x.B).LastTakeover)
}

// A fence command that fails, or hangs beyond its limit, leaves the address unclaimed, and the
// log says what to do. When it works again the claim is made.
func TestFenceCommandFails(t *testing.T) {
	x := startFenced(t, func(*cluster) string { return "echo no answer from the power switch\nexit 1\n" })
	wait := x.busy()
	time.Sleep(300 * time.Millisecond)
	x.must(x.A.Crash())
	x.until("b says that it failed", 10*time.Second, func() bool {
		return strings.Contains(x.nodes[x.B].Log(), "no answer from the power switch")
	})
	time.Sleep(time.Second)
	if s := x.service(x.B); s.Role != "backup" {
		t.Errorf("b is %s", s.Role)
	}
	files, err := filepath.Glob(filepath.Join(x.B.Dir, "ftgw.toml"))
	x.must(err)
	text, err := os.ReadFile(files[0])
	x.must(err)
	_, path, _ := strings.Cut(string(text), `fence = "/bin/sh `)
	path, _, _ = strings.Cut(path, `"`)
	x.must(os.WriteFile(path, []byte("exit 0\n"), 0o600))
	x.until("b serves alone", 10*time.Second, func() bool { return x.service(x.B).Role == "sole" })
	wait()
	x.whole()
	x.executions()
}

// A process that dies is no reason to power its host off.
func TestFenceCommandIsNotForDeadProcesses(t *testing.T) {
	x := startFenced(t, kills)
	begin := time.Now()
	x.must(x.nodes[x.A].Kill())
	x.until("b serves alone", 10*time.Second, func() bool { return x.service(x.B).Role == "sole" })
	t.Logf("b serves after %v", x.service(x.B).LastTakeover.At.Sub(begin))
	if strings.Contains(x.nodes[x.B].Log(), "powering the peer off") {
		t.Error("the fence command was run")
	}
}
