package metrics

import (
	"os"
	"regexp"
	"slices"
	"testing"
)

// TestRunbookHasEveryAlarm: docs/operations.md says what to do about each, and about no other.
func TestRunbookHasEveryAlarm(t *testing.T) {
	names := func(file, pattern string) (all []string) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(pattern).FindAllSubmatch(text, -1) {
			all = append(all, string(m[1]))
		}
		return all
	}
	alarms := names("../packaging/prometheus/ftgw.rules.yml", `(?m)^\s*- alert: (\w+)$`)
	rows := names("../docs/operations.md", `(?m)^\| (Ftgw\w+) \|`)
	if len(alarms) == 0 || !slices.Equal(alarms, rows) {
		t.Errorf("the rules have %q, the runbook %q", alarms, rows)
	}
}
