package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/ftgw/ftgw/internal/lab"
	"github.com/ftgw/ftgw/internal/lab/drill"
)

// drillFlags are the flags of one drill.
type drillFlags struct {
	only         []string
	rounds       int
	seed         uint64
	asJSON, list bool
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

The wire is captured and judged too: one voice for each connection, no reset, and nothing
acknowledged that the backup did not hold. Of a round that failed, the capture of each
host and the merged log of all processes are kept and their place is printed; the same
seed plays the same rounds again. It needs root or user namespaces and disturbs nothing
outside them.

Exit codes: 0 every promise kept; 1 one broken, or the drill could not be played; 2 the
command line is wrong.`,
		Example: `  ftgw drill                                   every scenario
  ftgw drill --list                            what there is
  ftgw drill --only table2                     the rows of Table 2
  ftgw drill --only 'table2/primary-*' --json
  ftgw drill --only crash-random --rounds 200  a long soak
  ftgw drill --only crash-random --seed 42     the same moments as last time`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runDrill(cmd, f) },
	}
	cmd.Flags().StringArrayVar(&f.only, "only", nil, "play the scenarios whose name contains `NAME` or matches it as a glob; may be repeated")
	cmd.Flags().IntVar(&f.rounds, "rounds", 0, "play each scenario `N` times instead of as often as it says itself")
	cmd.Flags().Uint64Var(&f.seed, "seed", 0, "choose what is random by `S`; without it, another each time")
	cmd.Flags().BoolVar(&f.asJSON, "json", false, "print one JSON object at the end, and progress to standard error")
	cmd.Flags().BoolVar(&f.list, "list", false, "print the scenarios and play none")
	return cmd
}

func runDrill(cmd *cobra.Command, f drillFlags) error {
	scenarios, err := drill.Choose(drill.All(), f.only)
	if err == nil && f.rounds < 0 {
		err = errors.New("--rounds must be 1 or more")
	}
	if err != nil {
		return codedError{exitUsage, err}
	}
	if f.list {
		return listScenarios(cmd.OutOrStdout(), scenarios)
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
	o := drill.Options{Scenarios: scenarios, Rounds: f.rounds, Seed: f.seed, Progress: cmd.OutOrStdout()}
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

func listScenarios(out io.Writer, scenarios []drill.Scenario) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, s := range scenarios {
		fmt.Fprintf(w, "%s\t%s\n", s.Name, s.About)
	}
	return w.Flush()
}
