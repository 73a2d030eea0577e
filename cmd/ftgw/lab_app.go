package main

import (
	"github.com/spf13/cobra"

	"github.com/ftgw/ftgw/internal/lab/webapp"
)

// labAppCommand runs the web application that stands behind the nodes of a lab.
func labAppCommand() *cobra.Command {
	var o webapp.Options
	cmd := &cobra.Command{
		Use:    "lab-app",
		Short:  "Run the lab's web application",
		Hidden: true,
		Args:   noArgs,
		RunE:   func(cmd *cobra.Command, _ []string) error { return webapp.Run(cmd.Context(), o) },
	}
	cmd.Flags().StringVar(&o.Listen, "listen", "127.0.0.1:8080", "`address` and port to listen on")
	cmd.Flags().StringVar(&o.Host, "host", "", "`name` of the host, told in every reply")
	cmd.Flags().StringVar(&o.Journal, "journal", "", "`file` to note every execution in")
	cmd.Flags().StringVar(&o.Once, "once", "", "`file` shared by both hosts, standing for their database: each transaction ID is executed once")
	cmd.Flags().StringVar((*string)(&o.Alike), "alike", "", "`what` the replies to one request have in common on all hosts: body, or reply, which is all but Date; empty: nothing")
	return cmd
}
