package main

import (
	"github.com/spf13/cobra"

	"github.com/ftgw/ftgw/internal/lab/bench/load"
	"github.com/ftgw/ftgw/internal/lab/bench/relay"
)

// labLoadCommand is the measuring client of a bench.
func labLoadCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "lab-load SPEC",
		Short:  "Measure a web server as ftgw bench does",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return load.Main(cmd.Context(), args[0], cmd.OutOrStdout())
		},
	}
}

// labRelayCommand runs the papers' null proxies.
func labRelayCommand() *cobra.Command {
	var o relay.Options
	cmd := &cobra.Command{
		Use:    "lab-relay",
		Short:  "Relay packets and requests without doing anything for them",
		Hidden: true,
		Args:   noArgs,
		RunE:   func(cmd *cobra.Command, _ []string) error { return relay.Run(cmd.Context(), o) },
	}
	cmd.Flags().StringVar(&o.Listen, "listen", "", "`address` and port to listen on")
	cmd.Flags().StringVar(&o.Upstream, "upstream", "127.0.0.1:8080", "`address` of the web server")
	return cmd
}
