package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/ftgw/ftgw/internal/lab"
	"github.com/ftgw/ftgw/internal/lab/client"
	"github.com/ftgw/ftgw/internal/lab/labtest"
)

// program is the ftgw under test, built once for the whole package.
var program string

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	code, done, err := lab.Reexec()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	if done {
		return code
	}
	dir, err := os.MkdirTemp("", "ftgw-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	program = filepath.Join(dir, "ftgw")
	build := exec.Command("go", "build", "-o", program, "github.com/ftgw/ftgw/cmd/ftgw")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "build ftgw:", err)
		return 1
	}
	return m.Run()
}

// cluster is a pair in duplex in a lab of its own.
type cluster struct {
	*testing.T
	*lab.Lab
	nodes  map[*lab.Host]*lab.Process
	client *client.Client
	report client.Report
	loads  int // calls of busy
}

// start builds a lab with web servers and nodes and waits until they are in duplex.
func start(t *testing.T, o lab.Options, c lab.Config) *cluster {
	t.Helper()
	x := prepare(t, o, c)
	x.node(x.A)
	x.node(x.B)
	x.duplex()
	return x
}

// prepare builds a lab with web servers and without nodes.
func prepare(t *testing.T, o lab.Options, c lab.Config) *cluster {
	t.Helper()
	labtest.Require(t)
	l, err := lab.New(o)
	if err != nil {
		t.Fatal(err)
	}
	x := &cluster{T: t, Lab: l, nodes: map[*lab.Host]*lab.Process{},
		client: &client.Client{Namespace: l.Client, Target: lab.Advertised, Timeout: 30 * time.Second}}
	t.Cleanup(func() {
		if t.Failed() {
			l.Logs(os.Stderr)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	x.must(l.WriteConfig(c))
	for _, h := range []*lab.Host{l.A, l.B} {
		x.app(h)
	}
	return x
}

func (x *cluster) must(err error) {
	x.Helper()
	if err != nil {
		x.Fatal(err)
	}
}

func (x *cluster) app(h *lab.Host) {
	x.Helper()
	_, err := h.StartApp(program)
	x.must(err)
}

// node starts the daemon on a host.
func (x *cluster) node(h *lab.Host) {
	x.Helper()
	p, err := h.StartNode(program)
	x.must(err)
	x.nodes[h] = p
}

// until waits for a condition of the nodes.
func (x *cluster) until(what string, within time.Duration, ok func() bool) {
	x.Helper()
	deadline := time.Now().Add(within)
	for !ok() {
		if time.Now().After(deadline) {
			x.Fatalf("not within %v: %s", within, what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// service returns what a node says of the service; zero while it does not answer.
func (x *cluster) service(h *lab.Host) lab.ServiceStatus {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	st, err := h.Status(ctx)
	if err != nil || len(st.Services) == 0 {
		return lab.ServiceStatus{}
	}
	return st.Services[0]
}

// duplex waits until both nodes are in duplex.
func (x *cluster) duplex() {
	x.Helper()
	x.until("both nodes in duplex", 20*time.Second, func() bool {
		a, b := x.service(x.A), x.service(x.B)
		return a.InSync && b.InSync && a.Mode == "duplex" && b.Mode == "duplex" && a.Owner == b.Owner && a.Owner != ""
	})
}

// whole fails the test unless every reply so far was whole.
func (x *cluster) whole() {
	x.Helper()
	s := x.report.Summary()
	x.Logf("client: %+v", s)
	if err := x.report.Err(); err != nil {
		x.Errorf("the client saw it: %v", err)
	}
}
