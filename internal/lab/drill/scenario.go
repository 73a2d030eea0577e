package drill

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/ftgw/ftgw/internal/lab"
)

// Scenario is one kind of failure.
type Scenario struct {
	Name  string // "group/what-fails", unique
	Paper string // the row of the paper that promises recovery; empty: beyond the papers
	About string // one line: what is injected, and what must come of it

	Rounds  int // when none are asked for; 0 means 1
	Options lab.Options
	Config  lab.Config
	Once    bool // the web applications share a store and execute each transaction once
	// Fresh begins each round with two hosts that have just booted, so that a is primary and b
	// backup and owner as in the paper. Otherwise the pair goes on as the last round left it:
	// what died is started again and joins.
	Fresh bool
	// Untapped leaves out the tap of what the backup's kernel is handed, which a flush of the rules
	// would end; Rules.Input cannot be judged then.
	Untapped bool
	// Run plays one round. An error says why the round could not be played or what broke the
	// promise, beside what the Rules find. It returns when its traffic has ended.
	Run func(ctx context.Context, r *Round) error
}

// All returns every scenario, in the order in which they are run.
func All() []Scenario {
	return slices.Concat(table1(), badLinks(), table2(), networkFaults(), transactions(), randomCrashes(), processFaults(), clients(), oneVoices())
}

// Choose returns the scenarios of which a pattern is part of the name or matches it as a glob;
// no patterns choose all. A pattern that chooses nothing is an error.
func Choose(all []Scenario, patterns []string) ([]Scenario, error) {
	if len(patterns) == 0 {
		return all, nil
	}
	chosen := make([]bool, len(all))
	for _, p := range patterns {
		found := false
		for i, s := range all {
			glob, err := path.Match(p, s.Name)
			if err != nil {
				return nil, fmt.Errorf("choose scenarios: %w: %q", err, p)
			}
			if glob || strings.Contains(s.Name, p) {
				chosen[i], found = true, true
			}
		}
		if !found {
			return nil, fmt.Errorf("no scenario is named like %q (ftgw drill --list shows all)", p)
		}
	}
	var out []Scenario
	for i, s := range all {
		if chosen[i] {
			out = append(out, s)
		}
	}
	return out, nil
}
