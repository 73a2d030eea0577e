package upstream

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestJudge reads transcripts: + is a good check and - a bad one, one second apart. Each is
// followed by the verdict: u(nknown), H(ealthy), U(nhealthy).
func TestJudge(t *testing.T) {
	for _, tt := range []struct{ name, checks, verdicts string }{
		{"the first good check decides", "+", "H"},
		{"bad ones must be three", "---+", "uuUU"},
		{"a good one among them ends doubt", "--+", "uuH"},
		{"one or two bad ones do nothing", "+--+--+", "HHHHHHH"},
		{"three in a row do", "+---", "HHHU"},
		{"two good ones lead back", "+---++", "HHHUUH"},
		{"in a row", "+---+-+-++", "HHHUUUUUUH"},
		{"a flap doubles what is needed", "+---++---++++", "HHHUUHHHUUUUH"},
	} {
		j := judge{rise: 2, fall: 3, settle: 30 * time.Second}
		var got strings.Builder
		at := time.Unix(0, 0)
		for _, c := range tt.checks {
			failure := ""
			if c == '-' {
				failure = "no"
			}
			before := j.state
			changed := j.step(at, failure)
			if changed != (j.state.Verdict != before.Verdict) || changed && j.state.Since != at {
				t.Errorf("%s: changed is %v, %+v", tt.name, changed, j.state)
			}
			got.WriteString([]string{"u", "H", "U"}[j.state.Verdict])
			at = at.Add(time.Second)
		}
		if got.String() != tt.verdicts {
			t.Errorf("%s: %s gave %s, want %s", tt.name, tt.checks, got.String(), tt.verdicts)
		}
	}
}

// TestJudgeDamps: what falls again soon needs ever more good checks, up to a bound, and health
// that lasts undoes it.
func TestJudgeDamps(t *testing.T) {
	j := judge{rise: 2, fall: 1, settle: 30 * time.Second}
	now := time.Unix(0, 0)
	j.step(now, "")
	recover := func() (n int) {
		t.Helper()
		for j.state.Verdict != Healthy {
			now = now.Add(time.Second)
			j.step(now, "")
			if n++; n > 1000 {
				t.Fatal("never healthy again")
			}
		}
		return n
	}
	var needed []int
	for range 7 {
		now = now.Add(time.Second)
		j.step(now, "down")
		needed = append(needed, recover())
	}
	if got := fmt.Sprint(needed); got != "[2 4 8 16 32 64 64]" {
		t.Errorf("good checks needed: %s", got)
	}
	now = now.Add(95 * time.Second) // three times settle
	j.step(now, "")
	j.step(now, "down")
	if n := recover(); n != 2<<2 {
		t.Errorf("after quiet: %d", n)
	}
	now = now.Add(time.Hour)
	j.step(now, "")
	j.step(now, "down")
	if n := recover(); n != 2 {
		t.Errorf("after long quiet: %d", n)
	}
}

func TestJudgeReasons(t *testing.T) {
	j := judge{rise: 1, fall: 2, settle: time.Second}
	for i, tt := range []struct{ failure, reason string }{
		{"refused", "refused"}, // unknown still, but why is worth showing
		{"reset", "reset"},
		{"slow", "slow"},
		{"", "it answers"},
		{"slow", "it answers"}, // one is no change
	} {
		j.step(time.Unix(int64(10*i), 0), tt.failure)
		if j.state.Reason != tt.reason {
			t.Errorf("%d: %q", i, j.state.Reason)
		}
	}
}
