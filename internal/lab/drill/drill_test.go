package drill

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ftgw/ftgw/internal/lab/capture"
	"github.com/ftgw/ftgw/internal/lab/client"
	"github.com/ftgw/ftgw/internal/lab/webapp"
	"github.com/ftgw/ftgw/rewrite"
)

func TestScenariosAreWellFormed(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range All() {
		if s.Name == "" || s.About == "" || s.Run == nil || seen[s.Name] || strings.ContainsAny(s.Name, " *?[") {
			t.Errorf("scenario %q (%q)", s.Name, s.About)
		}
		seen[s.Name] = true
	}
}

func TestChoose(t *testing.T) {
	all := []Scenario{{Name: "table2/primary-idle"}, {Name: "table2/backup-idle"}, {Name: "crash-random"}}
	for _, row := range []struct {
		patterns []string
		want     string // names, joined
	}{
		{nil, "table2/primary-idle table2/backup-idle crash-random"},
		{[]string{"idle"}, "table2/primary-idle table2/backup-idle"},
		{[]string{"table2/p*"}, "table2/primary-idle"},
		{[]string{"crash", "backup"}, "table2/backup-idle crash-random"},
		{[]string{"crash", "nothing"}, ""},
		{[]string{"["}, ""},
	} {
		chosen, err := Choose(all, row.patterns)
		var names []string
		for _, s := range chosen {
			names = append(names, s.Name)
		}
		if got := strings.Join(names, " "); got != row.want || (err != nil) != (row.want == "") {
			t.Errorf("%q: %q, %v", row.patterns, got, err)
		}
	}
}

func mustAddr(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

var t0 = time.Unix(1_700_000_000, 0)

func at(ms int) time.Time { return t0.Add(time.Duration(ms) * time.Millisecond) }

func TestOutcomes(t *testing.T) {
	for _, row := range []struct {
		name  string
		x     client.Result
		hosts string // that executed, in order
		dead  string
		want  Outcome // empty: was not interrupted
	}{
		{"over before", client.Result{Start: at(0), End: at(90)}, "a", "a", ""},
		{"begun later", client.Result{Start: at(110), End: at(300)}, "b", "a", ""},
		{"ended before the claim", client.Result{Start: at(0), End: at(120)}, "a", "a", Delivered},
		{"replayed", client.Result{Start: at(0), End: at(300)}, "a", "a", Replayed},
		{"first by the survivor", client.Result{Start: at(0), End: at(300)}, "b", "a", Executed},
		{"again", client.Result{Start: at(0), End: at(300)}, "a b", "a", Reexecuted},
		{"the backup died", client.Result{Start: at(0), End: at(300)}, "a", "", Delivered},
		{"502", client.Result{Start: at(0), End: at(300), Failure: client.BadState}, "a", "a", Refused},
		{"reset", client.Result{Start: at(0), End: at(300), Failure: client.Reset}, "a", "a", Failed},
	} {
		runs := map[string][]webapp.Entry{}
		for h := range strings.FieldsSeq(row.hosts) {
			runs[""] = append(runs[""], webapp.Entry{Host: h})
		}
		got := interrupted([]client.Result{row.x}, runs, at(100), row.dead, at(150))
		if row.want == "" && len(got) == 0 {
			continue
		}
		if len(got) != 1 || got[0].Outcome != row.want {
			t.Errorf("%s: %+v", row.name, got)
		}
	}
}

func TestOnce(t *testing.T) {
	runs := map[string][]webapp.Entry{"x": {{Execution: "1"}, {Execution: "2"}}}
	for _, row := range []struct {
		has  string
		fine bool
	}{{"2", true}, {"1", false}, {"3", false}} {
		if got := once([]client.Result{{ID: "x", Execution: row.has}}, runs); (got == nil) != row.fine {
			t.Errorf("the reply of %s: %v", row.has, got)
		}
	}
	if got := once([]client.Result{{ID: "y", Execution: "1"}}, runs); got == nil {
		t.Error("a reply that nobody made passes")
	}
}

func TestPhaseOf(t *testing.T) {
	const local = "198.51.100.2:40000"
	toServer := func(ms int, seq rewrite.Seq, n int) capture.Segment {
		return capture.Segment{Time: at(ms), Src: mustAddr(local), Dst: advertised, Seq: seq, Ack: 500, Len: n}
	}
	toClient := func(ms int, ack, seq rewrite.Seq, n int) capture.Segment {
		return capture.Segment{Time: at(ms), Src: advertised, Dst: mustAddr(local), Seq: seq, Ack: ack, Len: n}
	}
	isn := ^rewrite.Seq(0) - 50 // wraps within the request
	s := Seen{
		Results: []client.Result{{ID: "x", Local: local, Start: at(10), End: at(100)}},
		Wire: []capture.Segment{
			toServer(5, isn-100, 100), // of the request before
			toServer(11, isn, 100), toClient(20, isn+100, 500, 0),
			toServer(30, isn+100, 200), toClient(40, isn+300, 500, 0),
			toClient(50, isn+300, 500, 1000), toClient(60, isn+300, 1500, 1000),
		},
	}
	for _, row := range []struct {
		ms   int
		want Phase
	}{
		{10, Phase{Request: 300}},
		{15, Phase{Request: 300, Sent: 100}},
		{35, Phase{Request: 300, Sent: 300, Acked: 100}},
		{45, Phase{Request: 300, Sent: 300, Acked: 300}},
		{55, Phase{Request: 300, Sent: 300, Acked: 300, Replied: 1000}},
	} {
		if got := s.PhaseOf("x", at(row.ms)); got != row.want {
			t.Errorf("after %d ms: %+v, want %+v", row.ms, got, row.want)
		}
	}
}

func TestDistribution(t *testing.T) {
	var v []float64
	for i := range 200 {
		v = append(v, float64(200-i))
	}
	if got := distribution(v); got != (Distribution{P50: 100, P99: 198, Max: 200}) {
		t.Errorf("%+v", got)
	}
	if got := distribution([]float64{7}); got != (Distribution{7, 7, 7}) {
		t.Errorf("%+v", got)
	}
	if got := distribution(nil); got != (Distribution{}) {
		t.Errorf("%+v", got)
	}
}

func TestRoundsAreDrawnAlone(t *testing.T) {
	draw := func(seed uint64, name string, n int) uint64 { return roundRand(seed, name, n).Uint64() }
	first := draw(1, "x", 3)
	if again := draw(1, "x", 3); again != first {
		t.Error("the same round differs")
	}
	all := []uint64{draw(1, "x", 3), draw(2, "x", 3), draw(1, "y", 3), draw(1, "x", 4)}
	slices.Sort(all)
	if len(slices.Compact(all)) != 4 {
		t.Error("other rounds are alike")
	}
}
