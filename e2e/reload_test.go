package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ftgw/ftgw/config"
	"github.com/ftgw/ftgw/internal/lab"
	"github.com/ftgw/ftgw/internal/lab/client"
)

// movedUpstream is where the web application listens after its reload.
const movedUpstream = "127.0.0.1:8081"

// answer is what ftgw reload --json prints.
type answer struct {
	Outcome  string          `json:"outcome"`
	Changes  []config.Change `json:"changes"`
	Errors   []string        `json:"errors"`
	Warnings []string        `json:"warnings"`
	TookMS   float64         `json:"took_ms"`
}

// reload runs ftgw reload on a host and returns its exit code and what it printed, the node's answer
// if it is one.
func (x *cluster) reload(h *lab.Host, words ...string) (code int, a answer, text string) {
	x.Helper()
	argv := append([]string{program, "reload", "--config", h.ConfigPath(), "--name", h.Name}, words...)
	p, err := h.Start("reload", argv...)
	x.must(err)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err, failed := p.Wait(ctx), new(exec.ExitError); errors.As(err, &failed) {
		code = failed.ExitCode()
	} else {
		x.must(err)
	}
	text = p.Log()
	if slices.Contains(words, "--json") && code < 2 {
		if err := json.Unmarshal([]byte(text), &a); err != nil {
			x.Errorf("ftgw reload --json on %s: %v\n%s", h.Name, err, text)
		}
	}
	return code, a, text
}

// secondApp starts the host's web application once more, where it is to move to.
func (x *cluster) secondApp(h *lab.Host) {
	x.Helper()
	_, err := h.StartApp(program, "--listen", movedUpstream, "--host", h.Name+"-moved")
	x.must(err)
}

// executed counts what the application of a name has executed on a host.
func (x *cluster) executed(h *lab.Host, name string) (n int) {
	x.Helper()
	for _, e := range x.journal(h) {
		if e.Host == name {
			n++
		}
	}
	return n
}

// uploads loads the service with requests that take a while to come.
func (x *cluster) uploads(name string) (wait func()) {
	stop, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		x.client.Repeat(x.Context(), time.Millisecond, func(i int) (client.Request, bool) {
			select {
			case <-stop:
				return client.Request{}, false
			default:
				return client.Upload(fmt.Sprintf("%s-%d", name, i), 2<<20), true
			}
		}, &x.report)
	}()
	return func() { close(stop); <-ended }
}

// differs reports whether a node warns that another one has other settings.
func (x *cluster) differs(h *lab.Host) bool {
	return slices.ContainsFunc(x.warnings(h), func(w string) bool { return strings.Contains(w, "has other settings") })
}

// The web servers move to another port, a static route and other limits come, on one node after the
// other and under load, with a death of either host in between: while the two differ, the survivor
// goes on by its own settings, and nothing leans on what the other one does not know. Connections
// that were there before have the new settings as well. No client notices anything.
func TestReload(t *testing.T) {
	x := start(t, lab.Options{CongestionControl: "cubic"}, lab.Config{})
	x.secondApp(x.A)
	x.secondApp(x.B)
	waits := []func(){x.fixed("fixed", "&plain=1"), x.uploads("upload")}
	x.until("load", 10*time.Second, func() bool { return x.executed(x.A, "a") > 100 })
	for _, h := range []*lab.Host{x.A, x.B} {
		x.rewrite(t, h, replaced(`upstream = "`+lab.Upstream+`"`, `upstream = "`+movedUpstream+`"
upstream_timeout = "50s"
[[service.route]]
exact = "/bytes"
mode = "static"
[limits]
max_reply = "128KiB"
max_flows = 1000
`))
	}

	code, a, _ := x.reload(x.A, "--dry-run", "--json")
	if code != 0 || a.Outcome != "would reload" || len(a.Changes) != 5 || x.executed(x.A, "a-moved") > 0 {
		t.Errorf("dry run: %d, %+v", code, a)
	}
	code, a, _ = x.reload(x.A, "--json")
	t.Logf("reload of a: %+v", a)
	if code != 0 || a.Outcome != "reloaded" || len(a.Changes) != 5 || len(a.Warnings) != 1 || !strings.Contains(a.Warnings[0], "node b has other settings") {
		t.Errorf("reload: %d, %+v", code, a)
	}
	x.until("b warns as well", 10*time.Second, func() bool { return x.differs(x.B) })
	x.until("a has moved", 10*time.Second, func() bool { return x.executed(x.A, "a-moved") > 100 })
	if s := x.service(x.A); s.Modes.Static > 0 || !s.InSync || x.executed(x.B, "b")+x.executed(x.B, "b-moved") > 0 {
		t.Errorf("replies lean on b, which has no such route: %+v", s)
	}
	x.must(x.A.Crash())
	x.until("b serves alone, as before", 10*time.Second, func() bool { return x.service(x.B).Role == "sole" && x.executed(x.B, "b") > 100 })
	x.must(x.A.Reboot())
	x.app(x.A)
	x.secondApp(x.A)
	x.node(x.A)
	x.duplex()
	x.until("both warn", 10*time.Second, func() bool { return x.differs(x.A) && x.differs(x.B) })

	x.must(x.nodes[x.B].Signal(syscall.SIGHUP))
	x.until("they agree", 10*time.Second, func() bool { return !x.differs(x.A) && !x.differs(x.B) })
	x.until("b has moved, and its static replies are compared", 10*time.Second, func() bool {
		return x.executed(x.B, "b-moved") > 100 && x.service(x.B).Modes.Static > 100 && x.service(x.A).Modes.Mirrored > 100
	})
	// At the moment of the reload b may lean on a before a has heard that both are the same.
	if a := x.service(x.A); a.Modes.Differed > 20 || len(x.warnings(x.A))+len(x.warnings(x.B)) > 0 {
		t.Errorf("%+v, %q, %q", a.Modes, x.warnings(x.A), x.warnings(x.B))
	}
	old := x.executed(x.B, "b")
	for _, h := range []*lab.Host{x.A, x.B} { // where nothing is asked any more
		for _, p := range h.Processes() {
			if p.Name == "app" && !p.Exited() {
				x.must(p.Kill())
				break
			}
		}
	}
	x.until("it goes on", 10*time.Second, func() bool { return x.executed(x.B, "b-moved") > 300 })
	if n := x.executed(x.B, "b"); n != old {
		t.Errorf("the former web server was asked %d times after the reload", n-old)
	}
	x.must(x.B.Crash())
	x.until("a serves alone", 10*time.Second, func() bool { return x.service(x.A).Role == "sole" && x.executed(x.A, "a-moved") > 600 })
	for _, wait := range waits {
		wait()
	}
	x.whole()
	if st := x.service(x.A); st.Exchanges.Failed > 0 {
		t.Errorf("%+v", st.Exchanges)
	}
}

// What cannot be reloaded is named, and nothing changes; a file with mistakes is told from that.
func TestReloadRefuses(t *testing.T) {
	x := start(t, lab.Options{}, lab.Config{})
	good, err := os.ReadFile(x.A.ConfigPath())
	x.must(err)
	for _, tt := range []struct {
		name   string
		change func(*testing.T, *cluster, string) string
		code   int
		says   []string
	}{
		{"mistakes", replaced(`upstream = "`, "idle_timeout = \"soon\"\nlog_level = 3\nupstream = \""), 78,
			[]string{`service[0].idle_timeout: "soon" is not a duration`, "service[0].log_level: unknown key"}},
		{"a restart is needed", replaced(`upstream = "`, "idle_timeout = \"9s\"\nforward = 20081\nupstream = \""), 1,
			[]string{"service.web.forward: 20080 → 20081", "restart needed: ftgw drain, then restart"}},
		{"another secret", func(t *testing.T, x *cluster, text string) string {
			return secret(strings.Repeat("another!", 8), 0o600)(t, x, text)
		}, 1, []string{"secret_file: ", "restart needed"}},
		{"a log that does not open", replaced(`upstream = "`, "idle_timeout = \"9s\"\naccess_log = \"/nowhere/at/all\"\nupstream = \""), 1,
			[]string{"service web: access log: ", "make its directory"}},
		{"nothing", func(_ *testing.T, _ *cluster, text string) string { return text }, 0, []string{"nothing has changed"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			x.rewrite(t, x.A, tt.change)
			defer func() { x.must(os.WriteFile(x.A.ConfigPath(), good, 0o600)) }()
			code, _, text := x.reload(x.A, "--socket", x.A.Socket())
			if code != tt.code {
				t.Errorf("exit code %d, want %d", code, tt.code)
			}
			for _, s := range tt.says {
				if !strings.Contains(text, s) {
					t.Errorf("it does not say %q:\n%s", s, text)
				}
			}
		})
	}
	if n := strings.Count(x.nodes[x.A].Log(), "msg=reload"); n != 5 {
		t.Errorf("%d lines of the log tell of five reloads:\n%s", n, x.nodes[x.A].Log())
	}
	if code, _, text := x.reload(x.A, "--dry-run"); code != 0 || !strings.Contains(text, "nothing has changed") {
		t.Errorf("%d: %s", code, text)
	}
	if code, _, text := x.reload(x.A, "--socket", x.A.Socket()+".none"); code != 69 || !strings.Contains(text, "no ftgw answers") {
		t.Errorf("%d: %s", code, text)
	}
}
