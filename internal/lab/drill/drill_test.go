package drill

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ftgw/ftgw/config"
	"github.com/ftgw/ftgw/internal/lab"
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
		hosts string // that executed, in order, with :attempt
		dead  string
		want  Outcome     // empty: was not interrupted
		mode  config.Mode // empty: logged
	}{
		{"over before", client.Result{Start: at(0), End: at(90)}, "a", "a", "", ""},
		{"begun later", client.Result{Start: at(110), End: at(300)}, "b", "a", "", ""},
		{"ended before the claim", client.Result{Start: at(0), End: at(120)}, "a", "a", Delivered, ""},
		{"replayed", client.Result{Start: at(0), End: at(300)}, "a", "a", Replayed, ""},
		{"first by the survivor", client.Result{Start: at(0), End: at(300)}, "b", "a", Executed, ""},
		{"again", client.Result{Start: at(0), End: at(300)}, "a b", "a", Reexecuted, ""},
		{"the backup died", client.Result{Start: at(0), End: at(300)}, "a", "", Delivered, ""},
		{"the backup mirrored it", client.Result{Start: at(0), End: at(300)}, "a:1 b:1", "a", Replayed, config.Static},
		{"it could not be mirrored in logged", client.Result{Start: at(0), End: at(300)}, "a:1 b:1", "a", Reexecuted, ""},
		{"mirrored, and executed for the first time", client.Result{Start: at(0), End: at(300)}, "b:1 b:2", "a", Executed, config.SyncStatic},
		{"mirrored, and executed again", client.Result{Start: at(0), End: at(300)}, "b:1 a:1 b:2", "a", Reexecuted, config.SyncStatic},
		{"mirrored, and nothing died but the backup", client.Result{Start: at(0), End: at(300)}, "b:1 a:1", "", Delivered, config.SyncStatic},
		{"502", client.Result{Start: at(0), End: at(300), Failure: client.BadState}, "a", "a", Refused, ""},
		{"reset", client.Result{Start: at(0), End: at(300), Failure: client.Reset}, "a", "a", Failed, ""},
	} {
		runs := map[string][]webapp.Entry{}
		for h := range strings.FieldsSeq(row.hosts) {
			host, attempt, _ := strings.Cut(h, ":")
			runs[""] = append(runs[""], webapp.Entry{Host: host, Attempt: attempt})
		}
		a, b := &lab.Host{Name: "a"}, &lab.Host{Name: "b"}
		r := &Round{Setting: Setting{Mode: row.mode}, Services: []*Service{{At: advertised, Primary: a, Backup: b}}, struck: at(100)}
		if r.dead = b; row.dead == "a" {
			r.dead = a
		}
		got := r.interrupted([]client.Result{row.x}, runs, map[*Service]time.Time{r.Services[0]: at(150)})
		if row.want == "" && len(got) == 0 {
			continue
		}
		if len(got) != 1 || got[0].Outcome != row.want {
			t.Errorf("%s: %+v", row.name, got)
		}
	}
}

func TestOnce(t *testing.T) {
	for _, row := range []struct {
		has, runs string      // host:attempt:execution[:key]
		mode      config.Mode // empty: logged
		fine      bool
	}{
		{"1", "a:1:1", "", true},
		{"2", "a:1:1 b:2:2", "", true},
		{"1", "a:1:1 b:2:2", "", false},
		{"3", "a:1:1 b:2:2", "", false},
		{"1", "", "", false},
		{"2", "a:1:1 b:1:2", "", false}, // nobody mirrors in mode logged
		{"2", "a:1:1 a:1:2", "", false},
		{"2", "a:1:1:k b:2:2:l", "", false},
		{"1", "a:1:1 b:1:2", config.SyncStatic, true},
		{"1", "b:1:2 a:1:1", config.SyncStatic, true},
		{"1", "a:1:1 b:1:2 b:2:3", config.SyncStatic, false}, // the reply was stored
		{"3", "a:1:1 b:1:2 b:2:3", config.SyncStatic, true},
		{"1", "a:1:1 b:1:2 b:1:3", config.SyncStatic, false},
		{"2", "a:1:1 a:2:2 b:2:3", config.SyncStatic, false},
		{"3", "a:1:1 a:2:2 b:2:3", config.SyncStatic, true}, // b does not know what a called its own
		{"2", "a:1:1 b:2:2 b:2:3", config.SyncStatic, false},
		{"1", "a:1:1 b:1:1 b:2:1", config.Static, true}, // the same reply each time
		{"1", "a:1:1 b:1:1 b:1:1", config.Static, false},
		{"2", "a:1:1 b:1:1", config.Static, false}, // that of another request
		{"1", "a:1:1:k b:1:1:l", config.Static, false},
		{"1", "a:1:1 b:2:2", config.Deferred, false}, // too short
	} {
		var all []webapp.Entry
		for run := range strings.FieldsSeq(row.runs) {
			f := append(strings.Split(run, ":"), "k")
			all = append(all, webapp.Entry{Host: f[0], Attempt: f[1], Execution: f[2], Key: f[3]})
		}
		x := []client.Result{{ID: "x", Execution: row.has}}
		if got := (Setting{Mode: row.mode}).promise().once(x, map[string][]webapp.Entry{"x": all}); (got == nil) != row.fine {
			t.Errorf("%s of %q in mode %q: %v", row.has, row.runs, row.mode, got)
		}
	}
}

// Every scenario and row that a mode names is there, and every mode but
// unprotected is promised something.
func TestPromisesNameWhatExists(t *testing.T) {
	all, rows := map[string]bool{}, map[string]bool{}
	for _, s := range All() {
		all[s.Name] = true
		if row, ok := strings.CutPrefix(s.Name, "table2/"); ok {
			rows[row] = true
		}
	}
	for mode, p := range promises {
		for name, why := range p.never {
			if !all[name] || why == "" {
				t.Errorf("%s never has %s (%q)", mode, name, why)
			}
		}
		for name := range p.rows {
			if !rows[name] {
				t.Errorf("%s has no row %s", mode, name)
			}
		}
	}
	for _, m := range config.Modes {
		if err := (Setting{Mode: m}).Check(); (err == nil) != (m != config.Unprotected) {
			t.Errorf("%s: %v", m, err)
		}
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
		Results: []client.Result{{ID: "x", Local: local, Target: lab.Advertised, Start: at(10), End: at(100)}},
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
