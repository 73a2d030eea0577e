package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/ftgw/ftgw/config"
	"github.com/ftgw/ftgw/internal/lab"
	"github.com/ftgw/ftgw/internal/lab/drill"
)

// drillFlags are the flags of one drill.
type drillFlags struct {
	only         []string
	rounds       int
	seed         uint64
	asJSON, list bool
	mode         string
	dualRole     bool
}

func drillCommand() *cobra.Command {
	var f drillFlags
	cmd := &cobra.Command{
		Use:   "drill",
		Short: "Prove every promised recovery, failure by failure, on this machine",
		Long: `Drill builds a client, a router and two hosts out of network namespaces, runs ftgw and a
small web application on both hosts, and plays failures: each row of the papers' failure
tables, hit exactly in its phase, and crashes at random moments. After each round it says
what was injected and when, what the clients saw, how every exchange ended that was
interrupted, and whether the promise was kept:

  delivered    by the host that had it from the beginning
  replayed     the dead host executed it, the survivor sent its stored reply
  executed     by the survivor, for the first time
  re-executed  by the dead host, whose reply was not stored yet, and again by the survivor
  refused      the client got an error reply; failed: a reset, a hang or wrong bytes

Each scenario can be played in each mode of routes and with two addresses:

  --mode logged       every reply is stored on the backup before it goes out (the default)
  --mode sync-static  both hosts make each reply and compare before it goes out; some differ
  --mode static       both make it and compare afterwards; the web servers reply alike
  --mode deferred     of long replies the backup has digests, and makes them after a failure
  --dual-role         each host is primary of one address and backup of the other; clients use
                      both, a fault hits a host, and both addresses are judged

What does not occur in a mode is not played; --list says why.

The wire is captured and judged too: one voice for each connection, no reset, and nothing
acknowledged that the backup did not hold. Of a round that failed, the capture of each
host and the merged log of all processes are kept and their place is printed; the same
seed plays the same rounds again. It needs root or user namespaces and disturbs nothing
outside them.

Exit codes: 0 every promise kept; 1 one broken, or the drill could not be played; others as in
ftgw --help.`,
		Example: `  ftgw drill                                   every scenario
  ftgw drill --list                            what there is
  ftgw drill --only table2                     the rows of Table 2
  ftgw drill --only 'table2/primary-*' --json
  ftgw drill --only crash-random --rounds 200  a long soak
  ftgw drill --only crash-random --seed 42     the same moments as last time
  ftgw drill --mode static --dual-role         every scenario, on two addresses
  ftgw drill --mode static --list              what there is in that mode`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runDrill(cmd, f) },
	}
	cmd.Flags().StringArrayVar(&f.only, "only", nil, "play the scenarios whose name contains `NAME` or matches it as a glob; may be repeated")
	cmd.Flags().IntVar(&f.rounds, "rounds", 0, "play each scenario `N` times instead of as often as it says itself")
	cmd.Flags().Uint64Var(&f.seed, "seed", 0, "choose what is random by `S`; without it, another each time")
	cmd.Flags().BoolVar(&f.asJSON, "json", false, "print one JSON object at the end, and progress to standard error")
	cmd.Flags().StringVar(&f.mode, "mode", string(config.Logged), "the `MODE` of all routes: "+modeWords())
	cmd.Flags().BoolVar(&f.dualRole, "dual-role", false, "two addresses: each host is primary of one and backup of the other")
	cmd.Flags().BoolVar(&f.list, "list", false, "print the scenarios and play none")
	return cmd
}

func runDrill(cmd *cobra.Command, f drillFlags) error {
	scenarios, err := drill.Choose(drill.All(), f.only)
	if err == nil && f.rounds < 0 {
		err = errors.New("--rounds must be 1 or more")
	}
	if err == nil && f.list && f.asJSON {
		err = errListJSON
	}
	setting := drill.Setting{Mode: config.Mode(f.mode), DualRole: f.dualRole}
	if bad := setting.Check(); err == nil && bad != nil {
		err = fmt.Errorf("--mode: %w", bad)
	}
	if never := setting.Never; err == nil && !f.list && !slices.ContainsFunc(scenarios, func(s drill.Scenario) bool { return never(s.Name) == "" }) {
		err = fmt.Errorf("nothing to play: %s does not occur in %v: %s", scenarios[0].Name, setting, never(scenarios[0].Name))
	}
	if err != nil {
		return codedError{exitUsage, err}
	}
	if f.list {
		return listScenarios(cmd.OutOrStdout(), scenarios, setting)
	}
	code, done, err := lab.Reexec()
	if err != nil {
		return err
	}
	if done {
		return exitWith(code)
	}
	if !cmd.Flags().Changed("seed") {
		f.seed = rand.Uint64N(1_000_000)
	}
	o := drill.Options{Scenarios: scenarios, Rounds: f.rounds, Seed: f.seed, Setting: setting, Progress: cmd.OutOrStdout()}
	if f.asJSON {
		o.Progress = cmd.ErrOrStderr()
	}
	report, err := drill.Run(cmd.Context(), o)
	if f.asJSON {
		enc := json.NewEncoder(cmd.OutOrStdout())
		enc.SetIndent("", "  ")
		err = errors.Join(err, enc.Encode(report))
	}
	return err
}

// errListJSON is told by the commands that play or measure in the lab.
var errListJSON = errors.New("--list goes without --json: it prints lines")

func listScenarios(out io.Writer, scenarios []drill.Scenario, setting drill.Setting) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, s := range scenarios {
		about := s.About
		if why := setting.Never(s.Name); why != "" {
			about = "not played: " + why
		}
		fmt.Fprintf(w, "%s\t%s\n", s.Name, about)
	}
	return w.Flush()
}

// modeWords are the modes of this version that a drill can be played in.
func modeWords() string {
	var words []string
	for _, m := range drill.Modes() {
		words = append(words, string(m))
	}
	return strings.Join(words, ", ")
}
