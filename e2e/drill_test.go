package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ftgw/ftgw/config"
	"github.com/ftgw/ftgw/internal/lab/client"
	"github.com/ftgw/ftgw/internal/lab/drill"
	"github.com/ftgw/ftgw/internal/lab/labtest"
)

// large are the groups of which the suite plays a part, for the sake of its time, and how many
// rounds. `ftgw drill` plays them all.
var large = map[string]map[string]int{
	"table1": {"client-data-to-backup": 2, "client-data-to-primary": 2, "server-ack": 1, "server-data": 2,
		"client-ack-to-backup": 1, "client-ack-to-primary": 1},
	"link":    {"loss-5-backup": 1, "reorder-hosts": 1, "corrupt-primary": 1},
	"network": {"cable-primary": 1, "partition": 1, "partition-witness": 1, "deaf-backup": 1, "replication-cut-short": 1},
	"process": {"paused-300ms": 2, "queue-overflow": 1, "little-memory": 1, "upstream-killed": 1, "upstream-hung": 1,
		"upstream-cut": 1, "killer-request": 1, "full-disk": 3, "pause-during-takeover": 2, "crash-during-takeover": 1,
		"rejoined-crashes": 2, "lost-connections": 1},
	"client": {"window-of-one-segment": 1, "zero-window": 1, "no-options": 1, "mss-536": 1, "one-byte-writes": 1,
		"half-close": 1, "abort": 1, "port-reused": 1, "syn-flood": 1, "path-mtu": 1},
}

// TestDrill plays the scenarios as `ftgw drill` does.
func TestDrill(t *testing.T) {
	labtest.Require(t)
	for _, s := range drill.All() {
		group, name, _ := strings.Cut(s.Name, "/")
		part, is := large[group]
		rounds := part[name] // 0 of another group: as many as it says
		if is && rounds == 0 {
			continue
		}
		t.Run(s.Name, func(t *testing.T) {
			report, err := drill.Run(t.Context(), drill.Options{Scenarios: []drill.Scenario{s}, Rounds: rounds, Seed: 1,
				FtgwPath: program, Progress: t.Output()})
			if err != nil || !report.Passed {
				t.Error(err)
			}
		})
	}
}

// inOtherSettings are the scenarios that the suite plays in the other modes and in dual-role, and how
// many rounds: those that differ most there.
var inOtherSettings = []struct {
	setting drill.Setting
	rounds  map[string]int
}{
	{drill.Setting{Mode: config.SyncStatic}, map[string]int{"table2/primary-likeness-unanswered": 2, "table2/primary-reply-stored-unseen": 1,
		"crash-random": 2, "network/replication-cut-short": 1}},
	{drill.Setting{Mode: config.Static}, map[string]int{"table2/primary-likeness-unanswered": 2, "table2/primary-reply-partly-sent": 1,
		"crash-random": 1, "process/backup-behind": 2, "process/backup-cannot": 1}},
	{drill.Setting{Mode: config.Deferred}, map[string]int{"table2/primary-reply-partly-sent": 1, "crash-random": 2}},
	{drill.Setting{DualRole: true}, map[string]int{"table2/primary-reply-stored": 1, "crash-random": 2, "network/deaf-backup": 1}},
	{drill.Setting{Mode: config.Static, DualRole: true}, map[string]int{"crash-random": 2}},
}

// TestDrillSettings plays them as `ftgw drill --mode --dual-role` does.
func TestDrillSettings(t *testing.T) {
	labtest.Require(t)
	for _, x := range inOtherSettings {
		for _, s := range drill.All() {
			rounds := x.rounds[s.Name]
			if rounds == 0 {
				continue
			}
			t.Run(fmt.Sprintf("%v/%s", x.setting, s.Name), func(t *testing.T) {
				report, err := drill.Run(t.Context(), drill.Options{Scenarios: []drill.Scenario{s}, Rounds: rounds, Seed: 1,
					Setting: x.setting, FtgwPath: program, Progress: t.Output()})
				if err != nil || !report.Passed || report.Scenarios[0].Never != "" {
					t.Error(err)
				}
			})
		}
	}
}

// TestDrillThatFails shows that a broken promise is noticed, and what explains it kept.
func TestDrillThatFails(t *testing.T) {
	labtest.Require(t)
	t.Setenv("TMPDIR", t.TempDir())
	s := drill.Scenario{Name: "test/wrong", Run: func(ctx context.Context, r *drill.Round) error {
		q := client.Status("wrong", 500)
		q.Status = 200
		r.Report.Add(r.Client.Once(ctx, q))
		return r.Inject("nothing", func() error { return nil })
	}}
	report, err := drill.Run(t.Context(), drill.Options{Scenarios: []drill.Scenario{s}, FtgwPath: program, Progress: t.Output()})
	if !errors.Is(err, drill.ErrBroken) {
		t.Fatal(err)
	}
	r := report.Scenarios[0].Rounds[0]
	if report.Passed || r.Passed || r.Client.ErrorStatuses != 1 || len(r.Reasons) != 1 {
		t.Errorf("%+v", r)
	}
	for _, name := range []string{"a.pcap", "b.pcap", "a.journal", "result.json", "merged.log"} {
		if i, err := os.Stat(filepath.Join(r.Evidence, name)); err != nil || i.Size() == 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
	log, err := os.ReadFile(filepath.Join(r.Evidence, "merged.log"))
	for _, part := range []string{"a/ftgw[", "b/ftgw[", "drill", "FAILED: status"} {
		if err != nil || !strings.Contains(string(log), part) {
			t.Errorf("the log has no %q: %v", part, err)
		}
	}
}
