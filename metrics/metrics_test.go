package metrics

import (
	"fmt"
	"log/slog"
	"net/http/httptest"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ftgw/ftgw/internal/lab/labtest"
	"github.com/ftgw/ftgw/state"
)

// full is a state in which everything has come up.
func full() state.Status {
	at := time.Unix(1_700_000_000, 500e6)
	return state.Status{Node: "web-a", Version: "1", Warnings: []string{"w"},
		Peers: []state.Peer{{Name: "web-b", State: "suspect", RTT: 90, Sessions: 2, Dropped: 1, Problem: "p"}, {Name: "arbiter", State: "alive", Witness: true}},
		Services: []state.Service{{Name: "shop", Advertised: "192.0.2.100:80", Role: "backup", Mode: "duplex", Owner: "web-a", Epoch: 3, Upstream: "healthy",
			Flows: state.FlowCounts{Duplex: 12, Simplex: 2, Unprotected: 1, Relayed: 3, HalfOpen: 4, Closing: 5}, Claims: 4, Fenced: 1,
			Replication:  state.Replication{Unstored: 2, UnstoredBytes: 300, Lag: 1500, Stored: 10, StoredBytes: 1000, StoreTime: 2_500_000},
			IfDied:       state.Forecast{Survive: 14, Lost: 3, Reexecute: 1},
			LastTakeover: &state.Takeover{At: at, Steps: []state.TakeoverStep{{Name: "promoted", AtMS: .25}, {Name: "announced", AtMS: 1.5}, {Name: "announced", AtMS: 9}}},
		}, {Name: "blog", Role: "sole", Upstream: "unknown"}},
		Drops:    map[string]uint64{"unknown-flow": 7, "rule-fragment": 0},
		Accepted: map[string]uint64{"ok": 100},
		ARP:      map[string]uint64{"answered": 5},
		Rules:    &state.Rules{Restored: 2, Problem: "p"},
		Queues:   []state.Queue{{Number: 26200, Direction: "in", Packets: 9, Waiting: 1, Full: 2, SocketFull: 3}},
	}
}

func scrape(t *testing.T) string {
	t.Helper()
	w := httptest.NewRecorder()
	NewHandler(full, slog.New(slog.DiscardHandler)).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != 200 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	return w.Body.String()
}

func TestScrape(t *testing.T) {
	text := scrape(t)
	for _, line := range []string{
		`ftgw_warnings 1`,
		`ftgw_rules_in_force 0`,
		`ftgw_rules_restored_total 2`,
		`ftgw_peer_up{peer="web-b"} 0`,
		`ftgw_peer_up{peer="arbiter"} 1`,
		`ftgw_peer_state{peer="web-b",state="suspect"} 1`,
		`ftgw_peer_state{peer="web-b",state="dead"} 0`,
		`ftgw_peer_rtt_seconds{peer="web-b"} 9e-05`,
		`ftgw_role{role="backup",service="shop"} 1`,
		`ftgw_role{role="primary",service="shop"} 0`,
		`ftgw_role{role="sole",service="blog"} 1`,
		`ftgw_owner{service="shop"} 1`,
		`ftgw_owner{service="blog"} 0`,
		`ftgw_epoch{service="shop"} 3`,
		`ftgw_flows{service="shop",state="half-open"} 4`,
		`ftgw_flows{service="shop",state="relayed"} 3`,
		`ftgw_forecast_flows{fate="lost",service="shop"} 3`,
		`ftgw_replication_lag_seconds{service="shop"} 0.0015`,
		`ftgw_replication_unstored_bytes{service="shop"} 300`,
		`ftgw_replication_store_seconds_total{service="shop"} 2.5`,
		`ftgw_takeovers_total{service="shop"} 4`,
		`ftgw_last_takeover_timestamp_seconds{service="shop"} 1.7000000005e+09`,
		`ftgw_last_takeover_step_seconds{service="shop",step="announced"} 0.0015`,
		`ftgw_drops_total{reason="unknown-flow"} 7`,
		`ftgw_drops_total{reason="rule-fragment"} 0`,
		`ftgw_packets_accepted_total{reason="ok"} 100`,
		`ftgw_queue_kernel_drops_total{direction="in",full="socket",queue="26200"} 3`,
		`ftgw_upstream_state{service="blog",state="unknown"} 1`,
	} {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("no line %q", line)
		}
	}
	for _, name := range append(New(full).Names(), "go_goroutines", "process_open_fds", "process_start_time_seconds") {
		if !strings.Contains(text, "\n# HELP "+name+" ") && !strings.HasPrefix(text, "# HELP "+name+" ") {
			t.Errorf("%s is missing", name)
		}
	}
	if strings.Contains(text, `ftgw_last_takeover_timestamp_seconds{service="blog"}`) {
		t.Error("a takeover that was not")
	}
}

// A registry that knows the rules of the exposition format takes all of it.
func TestConsistent(t *testing.T) {
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(New(full))
	if _, err := r.Gather(); err != nil {
		t.Error(err)
	}
}

// Prometheus' own linter has nothing to say of names, units and help.
func TestPromtool(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		labtest.Missing(t, "promtool is not installed (on Debian, as root: apt-get install prometheus)")
	}
	// What the Go runtime's collector is called is not ours.
	var own strings.Builder
	for line := range strings.Lines(scrape(t)) {
		if strings.Contains(line, "ftgw_") {
			fmt.Fprint(&own, line)
		}
	}
	check := exec.Command(promtool, "check", "metrics")
	check.Stdin = strings.NewReader(own.String())
	if out, err := check.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("promtool check metrics: %v\n%s", err, out)
	}
}

func BenchmarkScrape(b *testing.B) {
	s := full()
	r := prometheus.NewRegistry()
	r.MustRegister(New(func() state.Status { return s }))
	for b.Loop() {
		if _, err := r.Gather(); err != nil {
			b.Fatal(err)
		}
	}
}
