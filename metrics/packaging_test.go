package metrics

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/ftgw/ftgw/internal/lab/labtest"
)

const packaging = "../packaging"

func promtool(t *testing.T, dir string, args ...string) {
	t.Helper()
	path, err := exec.LookPath("promtool")
	if err != nil {
		labtest.Missing(t, "promtool is not installed (on Debian, as root: apt-get install prometheus)")
	}
	cmd := exec.Command(path, args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func TestAlertRules(t *testing.T) {
	dir := filepath.Join(packaging, "prometheus")
	promtool(t, dir, "check", "rules", "ftgw.rules.yml")
	promtool(t, dir, "test", "rules", "ftgw.rules_test.yml")
	rules, err := os.ReadFile(filepath.Join(dir, "ftgw.rules.yml"))
	if err != nil {
		t.Fatal(err)
	}
	tests, err := os.ReadFile(filepath.Join(dir, "ftgw.rules_test.yml"))
	if err != nil {
		t.Fatal(err)
	}
	exist(t, string(rules))
	exist(t, string(tests))
	for _, m := range regexp.MustCompile(`- alert: (\w+)`).FindAllStringSubmatch(string(rules), -1) {
		if !regexp.MustCompile(`alertname: ` + m[1] + `\n\s+eval_time: \w+\n\s+exp_alerts:\n`).Match(tests) {
			t.Errorf("no test has %s go off", m[1])
		}
	}
}

// exist fails the test for each metric of ftgw's in a text, and each value of a label that has a
// fixed set of them, that no node gives.
func exist(t *testing.T, text string) {
	t.Helper()
	names, scraped := New(full).Names(), scrape(t)
	found := 0
	for _, m := range regexp.MustCompile(`\b(ftgw_\w+)(?:\{([^}]*)\})?`).FindAllStringSubmatch(text, -1) {
		found++
		if !slices.Contains(names, m[1]) {
			t.Errorf("there is no metric %s", m[1])
			continue
		}
		for _, l := range regexp.MustCompile(`\b(role|state|fate|outcome|mode|full)!?="([\w-]+)"`).FindAllStringSubmatch(m[2], -1) {
			if !regexp.MustCompile(`(?m)^` + m[1] + `\{.*\b` + l[1] + `="` + l[2] + `"`).MatchString(scraped) {
				t.Errorf("%s has no %s %q", m[1], l[1], l[2])
			}
		}
	}
	if found < 10 {
		t.Errorf("only %d metrics were found", found)
	}
}

// The dashboard can be imported, its queries are PromQL, and what they ask for there is.
func TestDashboard(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(packaging, "grafana", "ftgw.json"))
	if err != nil {
		t.Fatal(err)
	}
	var d struct {
		Title, UID string
		Panels     []struct {
			ID          int
			Type, Title string
			Targets     []struct{ Expr, RefID string }
			GridPos     struct{ X, Y, W, H int }
			DataSource  struct{ UID string }
		}
		Templating struct {
			List []struct {
				Name, Type string
				Definition string
			}
		}
	}
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	var rules, all strings.Builder
	rules.WriteString("groups:\n- name: dashboard\n  rules:\n")
	taken := map[[2]int]string{}
	ids := map[int]bool{}
	for _, p := range d.Panels {
		if ids[p.ID] {
			t.Errorf("panel %q: another one has the number %d", p.Title, p.ID)
		}
		ids[p.ID] = true
		for x := range p.GridPos.W {
			for y := range p.GridPos.H {
				at := [2]int{p.GridPos.X + x, p.GridPos.Y + y}
				if taken[at] != "" || at[0] >= 24 {
					t.Errorf("panel %q is over %q at %v", p.Title, taken[at], at)
				}
				taken[at] = p.Title
			}
		}
		if p.Type == "row" {
			continue
		}
		if len(p.Targets) == 0 || p.DataSource.UID != "${datasource}" {
			t.Errorf("panel %q asks for nothing, or not the source that was chosen", p.Title)
		}
		for _, q := range p.Targets {
			expr := strings.NewReplacer("$__rate_interval", "5m", "$__range", "1h", "$service", ".*", "$instance", ".*").Replace(q.Expr)
			fmt.Fprintf(&rules, "  - record: panel:%d:%s\n    expr: %q\n", p.ID, q.RefID, expr)
			all.WriteString(expr + "\n")
		}
	}
	for _, v := range d.Templating.List {
		all.WriteString(v.Definition + "\n")
	}
	exist(t, string(text))
	exist(t, all.String())
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "rules.yml"), []byte(rules.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	promtool(t, dir, "check", "rules", "--lint=all", "rules.yml")
	for _, name := range New(full).Names() {
		if !strings.Contains(all.String(), name) && !slices.Contains(unplotted, name) {
			t.Errorf("%s is on no panel", name)
		}
	}
}

// unplotted are the metrics that the dashboard leaves out: they are for alerts or for a closer look.
var unplotted = []string{
	"ftgw_rules_in_force", "ftgw_rules_restored_total", "ftgw_peer_state", "ftgw_peer_problem", "ftgw_peer_sessions_total", "ftgw_peer_messages_dropped_total", "ftgw_duplex",
	"ftgw_lease_held", "ftgw_lease_renewals_total", "ftgw_lease_failures_total", "ftgw_last_takeover_timestamp_seconds",
	"ftgw_fenced_total", "ftgw_unprotected_flows", "ftgw_exchanges_running", "ftgw_comparisons_total", "ftgw_replication_unstored_records",
	"ftgw_replication_refused_records_total", "ftgw_unknown_connections_total", "ftgw_upstream_checks_total", "ftgw_upstream_connects_total",
	"ftgw_upstream_failed_connects_total", "ftgw_upstream_idle_connections_total", "ftgw_queue_packets_total",
}
