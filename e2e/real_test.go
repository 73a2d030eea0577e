package e2e

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ftgw/ftgw/internal/lab"
	"github.com/ftgw/ftgw/internal/lab/labtest"
)

// Servers and clients that this project did not write, as Debian packages them (scripts/need
// installs them), each with a takeover in the middle of what it does.

// tool returns the path of a program and skips the test where it is missing, saying which package
// has it; in CI it fails.
func tool(t testing.TB, name, pkg string) string {
	t.Helper()
	for _, find := range []string{name, filepath.Join("/usr/sbin", name)} { // not on everybody's PATH
		if path, err := exec.LookPath(find); err == nil {
			return path
		}
	}
	labtest.Missing(t, fmt.Sprintf("%s is not installed (on Debian, as root: apt-get install %s)", name, pkg))
	return ""
}

// contained returns the command that runs argv as a user without rights and with a process
// namespace of its own, so that everything it starts ends with it. Servers that were given root
// want to change to a user who may not exist where the tests run.
func contained(t testing.TB, argv ...string) []string {
	t.Helper()
	return append([]string{tool(t, "unshare", "util-linux"), "--user", "--map-user=1000", "--map-group=1000",
		"--pid", "--kill-child", "--"}, argv...)
}

// startReal starts a pair in duplex whose upstream on both hosts is the given server with that content.
func startReal(t *testing.T, s server, files site, routes ...string) *cluster {
	t.Helper()
	labtest.Require(t)
	s.find(t)
	x := &cluster{T: t, Lab: labtest.Lab(t, lab.Options{CongestionControl: "cubic"}), nodes: map[*lab.Host]*lab.Process{}}
	x.must(x.WriteConfig(lab.Config{Service: strings.Join(routes, "")}))
	for _, h := range []*lab.Host{x.A, x.B} {
		x.must(files.write(filepath.Join(h.Dir, "www")))
		p := s.start(x, h)
		x.until(s.name+" listens on "+h.Name, 10*time.Second, func() bool {
			if p.Exited() {
				x.Fatalf("%s on %s has ended: %s", s.name, h.Name, p.Log())
			}
			return h.Do(func() error {
				c, err := net.Dial("tcp", lab.Upstream)
				if err == nil {
					c.Close()
				}
				return err
			}) == nil
		})
		x.node(h)
	}
	x.duplex()
	return x
}

// run starts a client program.
func (x *cluster) run(argv ...string) *lab.Process {
	x.Helper()
	p, err := x.Client.StartEnv(filepath.Base(argv[0]), []string{"HOME=" + x.Client.Dir}, argv...)
	x.must(err)
	return p
}

// strike crashes the victim as soon as the clients are in the middle of what they do, and waits
// until the other host serves alone.
func (x *cluster) strike(victim *lab.Host, middle func() bool, jobs ...*lab.Process) {
	x.Helper()
	survivor := x.A
	if victim == x.A {
		survivor = x.B
	}
	running := func() {
		x.Helper()
		for _, p := range jobs {
			if p.Exited() {
				x.Fatalf("%s has ended before the crash: %s", p.Name, p.Log())
			}
		}
	}
	x.until("the clients are in the middle", 20*time.Second, func() bool { running(); return middle() })
	running()
	x.must(victim.Crash())
	running()
	x.until("the survivor serves alone", 10*time.Second, func() bool { return x.service(survivor).Role == "sole" })
	x.Cleanup(func() {
		if s := x.service(survivor); s.Exchanges.Failed != 0 || s.Role != "sole" {
			x.Errorf("survivor: %+v", s)
		} else {
			x.Logf("%s crashed: %+v, %s", victim.Name, s.Exchanges, s.LastTakeover.Reason)
		}
	})
}

// ended waits for a client program, which must succeed, and returns what it printed.
func (x *cluster) ended(p *lab.Process) string {
	x.Helper()
	ctx, cancel := context.WithTimeout(x.Context(), 30*time.Second)
	defer cancel()
	if err := p.Wait(ctx); err != nil {
		x.Errorf("%s: %v: %s", p.Name, err, p.Log())
	}
	return p.Log()
}

// served returns a condition: the server on the host has answered n requests.
func (x *cluster) served(h *lab.Host, n int) func() bool {
	return func() bool {
		log, err := os.ReadFile(filepath.Join(h.Dir, accessLog))
		return err == nil && bytes.Count(log, []byte("\n")) >= n
	}
}

// received returns a condition: client programs have written so many bytes to each of the files.
func (x *cluster) received(n int64, files ...string) func() bool {
	return func() bool {
		return !slices.ContainsFunc(files, func(file string) bool {
			info, err := os.Stat(filepath.Join(x.Client.Dir, file))
			return err != nil || info.Size() < n
		})
	}
}

// passed returns a condition: so much time has passed since now. For what nobody but the client
// knows; that it is in the middle is checked all the same.
func passed(d time.Duration) func() bool {
	end := time.Now().Add(d)
	return func() bool { return time.Now().After(end) }
}

// same fails the test unless a file of the client has that content.
func (x *cluster) same(file string, want []byte) {
	x.Helper()
	got, err := os.ReadFile(filepath.Join(x.Client.Dir, file))
	if err != nil {
		x.Error(err)
	} else if !bytes.Equal(got, want) {
		x.Errorf("%s has %d bytes, want %d; they differ from byte %d", file, len(got), len(want), differ(got, want))
	}
}

func differ(a, b []byte) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}

// curl starts curl with these arguments. For each reply it prints status, connections that it had
// to open, and bytes; see transfers. It tries nothing twice, but for a request on a connection
// that turns out to be closed, which connections shows.
func (x *cluster) curl(args ...string) *lab.Process {
	x.Helper()
	return x.run(append([]string{tool(x, "curl", "curl"), "-q", "--noproxy", "*", "-sS", "--max-time", "30",
		"-w", `done %{http_code} %{num_connects} %{size_download}\n`}, args...)...)
}

// transfers waits for curl and fails the test unless it had n replies with that status over so many
// connections.
func (x *cluster) transfers(p *lab.Process, n int, status string, connections int) {
	x.Helper()
	log := x.ended(p)
	replies, opened := 0, 0
	for line := range strings.Lines(log) {
		f := strings.Fields(line)
		if len(f) != 4 || f[0] != "done" {
			continue
		}
		if replies++; f[1] != status {
			x.Errorf("curl got status %s, want %s", f[1], status)
		}
		k, err := strconv.Atoi(f[2])
		x.must(err)
		opened += k
	}
	if replies != n || opened != connections {
		x.Errorf("curl got %d replies over %d connections, want %d over %d: %s", replies, opened, n, connections, log)
	}
}

// url returns the address of a path at the advertised address.
func url(path string) string { return "http://" + lab.AdvertisedIP + path }

// unbroken fails the test if any connection of the client was refused or ended by a reset, from
// either side. Only for clients that read all that they asked for.
func (x *cluster) unbroken() {
	x.Helper()
	var text []byte
	x.must(x.Client.Do(func() (err error) {
		text, err = os.ReadFile("/proc/thread-self/net/snmp")
		return err
	}))
	var names []string
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if f[0] != "Tcp:" {
			continue
		}
		for i, name := range names {
			if (name == "EstabResets" || name == "AttemptFails") && f[i] != "0" {
				x.Errorf("client: %s %s", name, f[i])
			}
		}
		names = f
	}
}
