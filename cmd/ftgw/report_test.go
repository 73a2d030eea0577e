package main

import (
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/ftgw/ftgw/metrics"
	"github.com/ftgw/ftgw/rewrite"
	"github.com/ftgw/ftgw/state"
	"github.com/ftgw/ftgw/takeover"
)

func TestForecast(t *testing.T) {
	c := rewrite.Count{Duplex: 12, Simplex: 3, Relay: 2, Elsewhere: 4, HalfOpen: 9, Closing: 9}
	for _, tt := range []struct {
		role     takeover.Role
		mayClaim bool
		want     state.Forecast
	}{
		{takeover.Backup, true, state.Forecast{Survive: 15, Lost: 6, Reexecute: 5}},
		{takeover.Primary, true, state.Forecast{Survive: 15, Lost: 6, Reexecute: 5}},
		{takeover.Primary, false, state.Forecast{Lost: 21}},
		{takeover.Sole, true, state.Forecast{Survive: 15}},
		{takeover.Sole, false, state.Forecast{Survive: 15}},
		{takeover.Joining, true, state.Forecast{}},
		{takeover.Fenced, true, state.Forecast{}},
	} {
		if got := forecast(&takeover.Status{View: takeover.View{Role: tt.role}}, c, 5, tt.mayClaim); got != tt.want {
			t.Errorf("%v, may claim %v: %+v, want %+v", tt.role, tt.mayClaim, got, tt.want)
		}
	}
}

// Every reason that a packet can have is a label from the start, so that a rate of it can be asked
// for before it has come up.
func TestEveryReasonIsALabel(t *testing.T) {
	d := newDatapath([]byte("key"), rewriteLimits, slog.New(slog.DiscardHandler))
	source := func() state.Status {
		s := state.Status{Node: "web-a"}
		s.Accepted, s.Drops = d.verdicts()
		return s
	}
	w := httptest.NewRecorder()
	metrics.NewHandler(source, slog.New(slog.DiscardHandler)).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	n := 0
	for r := range rewrite.Reasons {
		name := "ftgw_drops_total"
		if r.Accepts() {
			name = "ftgw_packets_accepted_total"
		}
		if line := "\n" + name + `{reason="` + r.String() + `"} 0` + "\n"; !strings.Contains(w.Body.String(), line) {
			t.Errorf("no line %q", line)
		}
		n++
	}
	if n < 20 {
		t.Errorf("there are %d reasons only", n)
	}
}
