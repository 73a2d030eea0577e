package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/ftgw/ftgw/config"
	"github.com/ftgw/ftgw/replication"
)

func checkCommand() *cobra.Command {
	var file fileFlags
	cmd := &cobra.Command{
		Use:   "check",
		Short: "List every mistake in the config file, and ask the other nodes",
		Long: `Check reads the config file and the secret as run would, and lists every mistake with its
line, its key and the remedy. Then it asks the other nodes whether they have the same secret,
config and version, and compares clocks; one that is not running yet is no mistake. It changes
nothing. Nodes whose digests are equal have the same settings.

Exit codes: 0 no mistake; 1 another node refuses this one; 2 mistakes in the files.`,
		Example: `  ftgw check
  ftgw check --config ./ftgw.toml --name web-b`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := file.load()
			if err != nil {
				return err
			}
			secret, err := config.ReadSecret(cfg.SecretFile)
			if err != nil {
				return codedError{exitUsage, err}
			}
			keys, err := replication.DeriveKeys(secret)
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			fmt.Fprintf(out, "%s: no mistakes\nnode %s, %s\n", file.path, cfg.Name, cfg.Self().Address)
			for _, s := range cfg.Services {
				fmt.Fprintf(out, "service %s: %s, primary %s, backup %s", s.Name, s.Advertised, s.Primary(), s.Backup())
				for _, spare := range s.Spares() {
					fmt.Fprintf(out, ", spare %s", spare)
				}
				fmt.Fprintf(out, "\n  %s\n", httpLine(cfg, s))
			}
			if w, there := cfg.Witness(); there {
				fmt.Fprintf(out, "witness %s: takeovers need its grant\n", w.Name)
			}
			digest := cfg.Digest()
			fmt.Fprintf(out, "digest %x\n", digest[:8])
			return askNodes(cmd.Context(), out, cfg, keys)
		},
	}
	file.add(cmd)
	return cmd
}
