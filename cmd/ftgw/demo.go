package main

import (
	"github.com/spf13/cobra"

	"github.com/ftgw/ftgw/internal/lab"
	"github.com/ftgw/ftgw/internal/lab/demo"
)

func demoCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Show both hosts die, on this machine, in under a minute",
		Long: `Demo builds a client, a router and two hosts out of network namespaces, runs ftgw and a
small web application on both hosts, and crashes first the primary, then, with a fresh pair,
the backup, in the middle of a download, slow requests and a series on one connection. It
prints what the client saw and every step of the takeover. It needs root or user namespaces,
ends by itself and leaves nothing behind, on Ctrl-C too.

Exit codes: 0 every byte arrived and no connection was lost; 1 otherwise.`,
		Example: `  ftgw demo
  ftgw demo --json`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			code, done, err := lab.Reexec()
			if err != nil {
				return err
			}
			if done {
				return exitWith(code)
			}
			return demo.Run(cmd.Context(), demo.Options{Out: cmd.OutOrStdout(), JSON: asJSON})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object at the end")
	return cmd
}
