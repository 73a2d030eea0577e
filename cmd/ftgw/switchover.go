// The commands switchover and drain: what operators ask of a node before maintenance.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/ftgw/ftgw/state"
)

// handOverFlags are the flags of switchover and drain.
type handOverFlags struct {
	askFlags
	timeout time.Duration
}

func (f *handOverFlags) add(cmd *cobra.Command) {
	f.askFlags.add(cmd)
	cmd.Flags().DurationVar(&f.timeout, "timeout", time.Minute, "how long to wait for exchanges that run here")
}

func switchoverCommand() *cobra.Command {
	var f handOverFlags
	cmd := &cobra.Command{
		Use:   "switchover [SERVICE]",
		Short: "Make the peer primary, with no connection lost",
		Long: `Switchover moves the primary's part in a service from the node on this host to its peer: the
voice at once, the exchanges of each connection between two requests. Services with the same list
of nodes go together. Without a SERVICE it is about all services of the node, if they have the
same list. No connection is reset and nothing is executed twice. It returns when the last
exchange that runs here has ended. Connections that only this node holds are turned over first:
they end at their next reply, or when they have idled. Replies of deferred routes that are under
way are waited for, too, for the peer does not have them.

Exit codes: 0 done; 1 not or not wholly done, with the reason; others as in ftgw --help.`,
		Example: `  ftgw switchover
  ftgw switchover shop
  ftgw switchover --timeout 10m      where replies take long`,
		Args: atMostOne,
		RunE: func(cmd *cobra.Command, args []string) error {
			query := url.Values{}
			if len(args) > 0 {
				query.Set("service", args[0])
			}
			return f.run(cmd, "switchover", query, "handed over", 0)
		},
	}
	f.add(cmd)
	return cmd
}

func drainCommand() *cobra.Command {
	var f handOverFlags
	var force bool
	cmd := &cobra.Command{
		Use:   "drain",
		Short: "Give the peers all that this node does, before maintenance",
		Long: `Drain hands the voice, the exchanges and the advertised addresses of the node on this host to
its peers, all services at once, with no connection lost. The node stays as backup and can be
stopped without a client noticing; stopping a node by SIGTERM drains it first.

A node that serves alone has nobody to give to, so drain refuses. With --force it stops the
service: no connection begins any more, each that is there is closed after the reply in progress,
or when it has idled for turn_over, all within --timeout; then the node ends, with exit code 0.
Interrupting the command does not call that off.

Exit codes: 0 done; 1 not or not wholly done, with the reason; others as in ftgw --help.`,
		Example: `  ftgw drain && systemctl stop ftgw
  ftgw drain --force                 the last node: nobody serves after it`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			query := url.Values{"force": {strconv.FormatBool(force)}, "timeout": {f.timeout.String()}}
			slack := time.Duration(0)
			if force { // the node keeps the time
				slack = 5 * time.Second
			}
			return f.run(cmd, "drain", query, "drained", slack)
		},
	}
	f.add(cmd)
	cmd.Flags().BoolVar(&force, "force", false, "on a node that serves alone: stop the service, then the node")
	return cmd
}

// run asks the node, waits until it is done, slack beyond the timeout at most, and prints what
// the node is then.
func (f *handOverFlags) run(cmd *cobra.Command, what string, query url.Values, done string, slack time.Duration) error {
	if f.timeout <= 0 {
		return codedError{exitUsage, fmt.Errorf("--timeout must be more than 0, not %v", f.timeout)}
	}
	socket, err := f.at()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), f.timeout+slack)
	defer cancel()
	began := time.Now()
	s, err := askNode(ctx, socket, what, query)
	if err != nil {
		return err
	}
	for _, v := range s.Services {
		fmt.Fprintf(cmd.OutOrStdout(), "%s: %s is %s, %s answers for %s\n", v.Name, s.Node, v.Role, orDash(v.Owner), v.Advertised)
	}
	fmt.Fprintf(cmd.OutOrStdout(), "%s in %v\n", done, time.Since(began).Round(time.Millisecond))
	return nil
}

// askNode asks the node at the socket and waits until it is done.
func askNode(ctx context.Context, socket, what string, query url.Values) (s state.Status, err error) {
	text, err := ask(ctx, socket, what, query)
	if err == nil {
		err = json.Unmarshal(text, &s)
	}
	return s, err
}
