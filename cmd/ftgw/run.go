package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/ftgw/ftgw/config"
)

func runCommand() *cobra.Command {
	var file fileFlags
	var level, format string
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Serve the advertised addresses of this node",
		Long: `Run is the node: it takes its place in the cluster, serves the advertised addresses and
takes over from its peer. On a witness it serves nothing and grants takeovers. It runs until
SIGINT or SIGTERM. SIGHUP has it read its config file again, see ftgw reload; SIGUSR1 has it open
its access logs anew, as after log rotation moved them away.

It logs to standard error, one line for each change of its state. Where that is the journal, lines
have their priority and no time. What clients can cause as often as they like is written five
times in a minute at most; the next line says how many were suppressed.
It needs root, or the capabilities NET_ADMIN, NET_RAW and NET_BIND_SERVICE.

Exit codes: 0 ended by a signal or by drain --force; 1 failed; others as in ftgw --help.`,
		Example: `  ftgw run
  ftgw run --config ./ftgw.toml --name web-b --log-level debug`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := file.load()
			if err != nil {
				return err
			}
			l, err := newLogging(cfg, level, format)
			if err != nil {
				return codedError{exitUsage, err}
			}
			// They never end a node, which handles them once it is there.
			early := make(chan os.Signal, 1)
			signal.Notify(early, syscall.SIGUSR1, syscall.SIGHUP)
			defer signal.Stop(early)
			run := runNode
			if cfg.Self().Witness {
				run = runWitness
			}
			from := source{path: file.path, log: l, read: func() (*config.Config, error) { return config.Load(file.path, file.name) }}
			if err := run(cmd.Context(), cfg, from, loggerTo(l, cmd.ErrOrStderr())); err != nil {
				return fmt.Errorf("run node %s: %w", cfg.Name, err)
			}
			return nil
		},
	}
	file.add(cmd)
	cmd.Flags().StringVar(&level, "log-level", "", "what is logged, whatever the file says: debug, info, warn or error `level` and above")
	cmd.Flags().StringVar(&format, "log-format", "", "text or json `format`, whatever the file says")
	return cmd
}

// loggerTo returns a logger that suits what it writes to.
func loggerTo(l *logging, w io.Writer) *slog.Logger {
	f, ok := w.(*os.File)
	return l.logger(w, ok && isJournal(f, os.Getenv("JOURNAL_STREAM")))
}
