package main

import (
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

func runCommand() *cobra.Command {
	var file fileFlags
	var level slog.Level
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Serve the advertised addresses of this node",
		Long: `Run is the node: it takes its place in the cluster, serves the advertised addresses and
takes over from its peer. On a witness it serves nothing and grants takeovers. It runs until
SIGINT or SIGTERM and logs to standard error. SIGUSR1 has it open its access logs anew, as after
log rotation moved them away.
It needs root, or the capabilities NET_ADMIN, NET_RAW and NET_BIND_SERVICE.

Exit codes: 0 ended by a signal; 1 failed; 2 the config file or the command line is wrong.`,
		Example: `  ftgw run
  ftgw run --config ./ftgw.toml --name web-b --log-level debug`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := file.load()
			if err != nil {
				return err
			}
			log := slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: level}))
			rotated := make(chan os.Signal, 1) // never ends a node that has no logs, or none yet
			signal.Notify(rotated, syscall.SIGUSR1)
			defer signal.Stop(rotated)
			run := runNode
			if cfg.Self().Witness {
				run = runWitness
			}
			if err := run(cmd.Context(), cfg, log); err != nil {
				return fmt.Errorf("run node %s: %w", cfg.Name, err)
			}
			return nil
		},
	}
	file.add(cmd)
	cmd.Flags().TextVar(&level, "log-level", slog.LevelInfo, "what is logged: debug, info, warn or error `level` and above")
	return cmd
}
