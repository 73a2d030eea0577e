package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/ftgw/ftgw/internal/lab"
	"github.com/ftgw/ftgw/internal/lab/bench"
)

// benchFlags are the flags of one bench.
type benchFlags struct {
	only                []string
	out                 string
	rounds              int
	quick, asJSON, list bool
}

func benchCommand() *cobra.Command {
	var f benchFlags
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Repeat the papers' measurements on this machine",
		Long: `Bench builds the lab out of network namespaces and repeats the experiments of the two papers:
ftgw in its modes beside the same web server alone, beside proxies that only relay, and beside
HAProxy, all in one run. It prints the tables, with each paper's ratio beside ours, and writes them
with plots (SVG) and all samples (JSON) into a directory. On a machine with much else to do the
figures mean little; ratios mean more than figures, and the spread tells how much.

Each host's processes have a processor of their own; the client has what is left, and its share is
told. It needs nginx and HAProxy as Debian packages them, and root or user namespaces; as root of the
whole system each host also receives its packets on its own processor. It disturbs nothing outside.

Exit codes: 0 measured, whatever came out; 1 it could not be measured; others as in
ftgw --help.`,
		Example: `  ftgw bench                                   all figures, in about 20 minutes
  ftgw bench --quick                           all figures in two minutes, for a look
  ftgw bench --list                            what there is
  ftgw bench --only table3,figure4 --out /tmp/b
  ftgw bench --only figure3 --rounds 9 --json`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runBench(cmd, f) },
	}
	cmd.Flags().StringSliceVar(&f.only, "only", nil, "measure the figures of these `NAMES`, separated by commas, or as globs")
	cmd.Flags().StringVar(&f.out, "out", "ftgw-bench", "write tables, plots and samples into this `DIR`")
	cmd.Flags().IntVar(&f.rounds, "rounds", 0, "measure everything `N` times, instead of 5 times or once with --quick")
	cmd.Flags().BoolVar(&f.quick, "quick", false, "end within two minutes")
	cmd.Flags().BoolVar(&f.asJSON, "json", false, "print one JSON object instead of tables")
	cmd.Flags().BoolVar(&f.list, "list", false, "print the figures and measure none")
	return cmd
}

func runBench(cmd *cobra.Command, f benchFlags) error {
	figures, err := bench.Choose(bench.All(), f.only)
	if err == nil && f.rounds < 0 {
		err = errors.New("--rounds must be 1 or more")
	}
	if err == nil && f.list && f.asJSON {
		err = errListJSON
	}
	if err != nil {
		return codedError{exitUsage, err}
	}
	if f.list {
		return listFigures(cmd.OutOrStdout(), figures)
	}
	if err := bench.Prepare(f.out); err != nil {
		return codedError{exitUsage, err}
	}
	code, done, err := lab.Reexec()
	if err != nil {
		return err
	}
	if done {
		return exitWith(code)
	}
	report, err := bench.Run(cmd.Context(), bench.Options{Figures: figures, Rounds: f.rounds, Quick: f.quick, Program: "ftgw " + version(),
		Progress: cmd.ErrOrStderr()})
	if err != nil {
		return err
	}
	if err := report.Save(f.out); err != nil {
		return err
	}
	if f.asJSON {
		enc := json.NewEncoder(cmd.OutOrStdout())
		enc.SetIndent("", "  ")
		return enc.Encode(report)
	}
	return report.WriteText(cmd.OutOrStdout())
}

func listFigures(out io.Writer, figures []bench.Figure) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, f := range figures {
		fmt.Fprintf(w, "%s\t%s\t(%s)\n", f.Name, f.About, f.Paper)
	}
	return w.Flush()
}
