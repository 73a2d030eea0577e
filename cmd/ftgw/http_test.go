package main

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ftgw/ftgw/accesslog"
	"github.com/ftgw/ftgw/config"
	"github.com/ftgw/ftgw/proxy"
)

// withHTTP returns a group of one service whose file says so of HTTP.
func withHTTP(t *testing.T, keys, limits string) (*group, *service) {
	t.Helper()
	cfg, err := config.Parse([]byte(`state_dir = "`+t.TempDir()+`"
node = [{name = "web-a", address = "192.0.2.11"}, {name = "web-b", address = "192.0.2.12"}]
[[service]]
name = "shop"
advertised = "192.0.2.100:80"
nodes = ["web-a", "web-b"]
upstream = "unix:/run/app.sock"
`+keys+"\n[limits]\n"+limits), "web-a")
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	return &group{quiet: log, n: &node{reloader: reloader{cfg: cfg, log: log}, access: accessLogs{log: log}}}, &service{cfg: cfg.Services[0]}
}

// TestHTTPConfig: what the file says is what the proxy gets.
func TestHTTPConfig(t *testing.T) {
	g, v := withHTTP(t, `head_timeout = "1s"
body_timeout = "2s"
idle_timeout = "3s"
body_rate = "4"
via = "edge"
proxy_protocol = true
[service.forwarding]
for = "append"
proto = "remove"
host = "off"
forwarded = "replace"
`, "request_line = \"5KiB\"\nrequest_head = \"6KiB\"\nrequest_fields = 17\nrequest_body = \"8\"\n")
	c, err := g.proxyConfig(v, g.n.cfg, v.cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	if c.HeaderTimeout != time.Second || c.BodyTimeout != 2*time.Second || c.IdleTimeout != 3*time.Second || c.BodyRate != 4 ||
		c.Via != "edge" || !c.ProxyProtocol || c.MaxLine != 5<<10 || c.MaxHeader != 6<<10 || c.MaxFields != 17 || c.MaxBody != 8 {
		t.Errorf("%+v", c)
	}
	if want := (proxy.Forwarding{For: proxy.Append, Proto: proxy.Remove, Host: proxy.Off, Forwarded: proxy.Replace}); c.Forwarding != want {
		t.Errorf("%+v", c.Forwarding)
	}
	if c.Access != nil || c.Connect == nil || c.Upstream != "unix:/run/app.sock" {
		t.Errorf("%+v", c)
	}
	if line := httpLine(g.n.cfg, v.cfg); line != "requests: head 6KiB, body 8; X-Forwarded-For append, -Proto remove, -Host off, Forwarded replace; no access log" {
		t.Error(line)
	}
}

// TestZeroIsAny: the file's 0 is no limit, where the proxy's is a default.
func TestZeroIsAny(t *testing.T) {
	g, v := withHTTP(t, `body_rate = "0"`, `request_body = "0"`)
	if c, err := g.proxyConfig(v, g.n.cfg, v.cfg, nil); err != nil || c.BodyRate >= 0 || c.MaxBody >= 0 {
		t.Errorf("%+v, %v", c, err)
	}
}

// TestFormats: every format of the file is one of the log.
func TestFormats(t *testing.T) {
	for _, name := range []string{"common", "combined", "extended", "json"} {
		g, _ := withHTTP(t, "access_log = \"a\"\naccess_log_format = \""+name+"\"", "")
		if _, err := g.n.access.prepare(g.n.cfg, g.n.cfg.Services); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestAccessLogs: services may share a file; it is below the state directory, and is opened anew
// when that is asked for. What does not open ends the start.
func TestAccessLogs(t *testing.T) {
	g, v := withHTTP(t, `access_log = "access.log"`, "")
	logs := &g.n.access
	all, err := logs.prepare(g.n.cfg, []config.Service{v.cfg, v.cfg})
	if err != nil || len(all) != 1 {
		t.Fatal(all, err)
	}
	logs.adopt(all)
	again := all.of(g.n.cfg, v.cfg)
	c, err := g.proxyConfig(v, g.n.cfg, v.cfg, again)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(g.n.cfg.StateDir, "access.log")
	lines := func(of string) int {
		text, _ := os.ReadFile(of)
		return strings.Count(string(text), "\n")
	}
	written := func(n uint64) {
		t.Helper()
		for end := time.Now().Add(10 * time.Second); again.Stats().Written < n; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%+v", again.Stats())
			}
		}
	}
	end := logs.write(t.Context())
	c.Access(&accesslog.Entry{Method: "GET"})
	written(1)
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	again.Reopen()
	again.Write(&accesslog.Entry{Method: "GET"})
	end()
	again.Write(&accesslog.Entry{Method: "GET"}) // too late
	if lines(path) != 1 || lines(path+".1") != 1 {
		t.Errorf("%d and %d lines", lines(path), lines(path+".1"))
	}
	drops := map[string]uint64{}
	if logs.drops(drops); drops["access-log-full"] != 1 || drops["access-log-unwritten"] != 0 {
		t.Errorf("%v", drops)
	}
	v.cfg.AccessLog = filepath.Join(path, "no-directory")
	if _, err := logs.prepare(g.n.cfg, []config.Service{v.cfg}); err == nil || !strings.Contains(err.Error(), "make its directory") {
		t.Errorf("%v", err)
	}
}
