package config

import (
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func parse(t *testing.T, text string) *Config {
	t.Helper()
	c, err := Parse([]byte(text), "web-a")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// edit changes the good file in one place.
func edit(t *testing.T, from, to string) string {
	t.Helper()
	if !strings.Contains(good, from) {
		t.Fatalf("no %q to edit", from)
	}
	return strings.Replace(good, from, to, 1)
}

// TestDigests: what makes nodes refuse each other, and what may differ between them for a while.
func TestDigests(t *testing.T) {
	base := parse(t, good)
	for _, tt := range []struct {
		what, text       string
		digest, settings bool // change
	}{
		{"local keys", edit(t, `name = "web-a"`, "name = 'web-b'\ninterface='eth1'\nsocket='/s'\nstate_dir='/d'\nmetrics=''\nlog_level='warn'\nlog_format='json'"), false, false},
		{"formatting", edit(t, `nodes = ["web-a", "web-b"]`, "nodes = [ 'web-a', # first\n 'web-b' ]"), false, false},
		{"a default", good + "forward = 20_080\nidle_timeout = '1m15s'\n", false, false},
		{"empty lists", good + "route = []\n", false, false},
		{"upstream", edit(t, ":8080", ":8081"), false, true},
		{"a route", good + "[[service.route]]\npath = '/a'\nmode = 'static'\n", false, true},
		{"hooks", good + "[hooks]\ntakeover = 'true'\n", false, true},
		{"pair order", edit(t, `"web-a", "web-b"]`, `"web-b", "web-a"]`), true, false},
		{"timing", good + "[timing]\nlease = '200ms'\n", true, false},
		{"probe", edit(t, "name =", "probe = '192.0.2.1'\nname ="), true, false},
	} {
		c := parse(t, tt.text)
		if got := c.Digest() != base.Digest(); got != tt.digest {
			t.Errorf("%s: another digest: %t", tt.what, got)
		}
		if got := c.Settings() != base.Settings(); got != tt.settings {
			t.Errorf("%s: other settings: %t", tt.what, got)
		}
	}
	routes := func(a, b string) uint64 {
		return parse(t, good+"[[service.route]]\n"+a+"\n[[service.route]]\n"+b+"\n").Settings()
	}
	a, b := "path = '/a'\nmethods = ['GET', 'HEAD']\nmode = 'static'", "path = '/b'\nmode = 'logged'"
	if routes(a, b) != routes(b, strings.Replace(a, "'GET', 'HEAD'", "'HEAD', 'GET'", 1)) {
		t.Error("the order of routes and methods says something")
	}
}

func TestChanges(t *testing.T) {
	more := "[[node]]\nname = 'web-c'\naddress = '192.0.2.13'\n[[service]]\nname = 'blog'\nadvertised = '192.0.2.100:81'\nnodes = ['web-a', 'web-b']\nupstream = '127.0.0.1:8082'\n"
	routes := "[[service.route]]\npath = '/a'\nmode = 'static'\n[[service.route]]\nsuffix = '.css'\nmethods = ['HEAD', 'GET']\nmode = 'logged'\n"
	for _, tt := range []struct {
		what, old, new string
		want           []string // those that need a restart end with '!'
	}{
		{"nothing", good, good + "idle_timeout = '75s'\n", nil},
		{"live keys", good, edit(t, ":8080", ":8081") + "idle_timeout = '1m'\n[limits]\nmax_reply = '1MiB'\n[service.forwarding]\nfor = 'off'\n", []string{
			`service.shop.upstream: "127.0.0.1:8080" → "127.0.0.1:8081"`,
			`service.shop.idle_timeout: "1m15s" → "1m0s"`,
			`service.shop.forwarding.for: "replace" → "off"`,
			`limits.max_reply: "64MiB" → "1MiB"`}},
		{"routes", good + routes, good + strings.ReplaceAll(strings.ReplaceAll(routes, "'/a'", "'/b'"), "'logged'", "'sync-static'"), []string{
			`service.shop.route[path = "/b"]: absent → "static"`,
			`service.shop.route[suffix = ".css", methods = ["GET", "HEAD"]]: "logged" → "sync-static"`,
			`service.shop.route[path = "/a"]: "static" → absent`}},
		{"what a running node keeps", good, edit(t, "192.0.2.100:80", "192.0.2.101:80") + "[timing]\nlease = '200ms'\n", []string{
			`service.shop.advertised: "192.0.2.100:80" → "192.0.2.101:80"!`,
			`timing.lease: "300ms" → "200ms"!`}},
		{"more of all", good, good + more, []string{
			`node: ["web-a", "web-b"] → ["web-a", "web-b", "web-c"]!`,
			`service: ["shop"] → ["blog", "shop"]!`}},
		{"less of all", good + more, good, []string{
			`node: ["web-a", "web-b", "web-c"] → ["web-a", "web-b"]!`,
			`service: ["blog", "shop"] → ["shop"]!`}},
	} {
		var got []string
		for _, c := range Changes(parse(t, tt.old), parse(t, tt.new)) {
			line := c.String()
			if c.Restart {
				line += "!"
			}
			got = append(got, line)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.what, diff)
		}
	}
}

// TestExampleMarksWhatAReloadTakes: a star stands in the reference file where the tag stands in the
// types, or above the table.
func TestExampleMarksWhatAReloadTakes(t *testing.T) {
	text, err := os.ReadFile("ftgw.example.toml")
	if err != nil {
		t.Fatal(err)
	}
	var visit func(reflect.Type)
	visit = func(table reflect.Type) {
		for i := range table.NumField() {
			field := table.Field(i)
			inner := field.Type
			if inner.Kind() == reflect.Slice {
				inner = inner.Elem()
			}
			live, key := field.Tag.Get("reload") == "true", field.Tag.Get("toml")
			if inner.Kind() == reflect.Struct && inner.PkgPath() == table.PkgPath() {
				if !live {
					visit(inner)
					continue
				}
				key = `\[+(service\.)?` + key + `\]+`
			}
			line := regexp.MustCompile(`(?m)^(# )?` + key + ` +[^\n]*`).FindString(string(text))
			if marked := strings.Contains(line, "# * "); marked != live {
				t.Errorf("%s: a reload takes it: %t, the example has %q", key, live, line)
			}
		}
	}
	visit(reflect.TypeFor[Config]())
}
