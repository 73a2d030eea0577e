// The command reload.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

func reloadCommand() *cobra.Command {
	var asked askFlags
	var dry, asJSON bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "reload",
		Short: "Have the node on this host take what has changed in its config file",
		Long: `Reload has the running node read its config file again, as SIGHUP does, and take what has
changed, without touching a connection: an exchange ends as it began, the next one has the new
settings. What it takes is marked * in the reference file: upstreams with their timeouts and
checks, routes, forwarding headers, access logs, most limits, hooks, log_level. It is all or
nothing: if anything else has changed, or the file has a mistake, everything stays as it was.

Each node reads its own file, so install the file and reload on one node after the other. While
two differ, each serves by its own settings, and replies on static and sync-static routes are
stored; reload and status say so.

With --dry-run nothing is changed: it says what would be.

Exit codes: 0 reloaded, or with --dry-run nothing is in the way; 1 not reloaded, as a restart is
needed or the peer does not answer; 78 the config file has mistakes; others as in ftgw --help.`,
		Example: `  ftgw check && ftgw reload
  ftgw reload --dry-run
  ftgw reload --json`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if timeout <= 0 {
				return codedError{exitUsage, fmt.Errorf("--timeout must be more than 0, not %v", timeout)}
			}
			socket, err := asked.at()
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
			defer cancel()
			text, err := ask(ctx, socket, "reload", url.Values{"dry-run": {strconv.FormatBool(dry)}})
			var coded codedError
			if errors.As(err, &coded) && coded.code == exitNoReply {
				return codedError{exitNoReply, fmt.Errorf("%w; if the file names another socket than the running node has, give that by --socket", err)}
			}
			if err != nil {
				return err
			}
			var r Reload
			if err := json.Unmarshal(text, &r); err != nil {
				return fmt.Errorf("read the answer from %s: %w (is the node of the same version?)", socket, err)
			}
			if asJSON {
				_, err = cmd.OutOrStdout().Write(text)
			} else {
				err = writeReload(cmd.OutOrStdout(), cmd.ErrOrStderr(), r)
			}
			if err != nil {
				return err
			}
			return r.exit()
		},
	}
	asked.add(cmd)
	cmd.Flags().DurationVar(&timeout, "timeout", time.Minute, "how long to wait for the node")
	cmd.Flags().BoolVar(&dry, "dry-run", false, "change nothing, say what would be")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the node's JSON as it is")
	return cmd
}

// writeReload prints what came of a reload, and what was wrong to errOut.
func writeReload(out, errOut io.Writer, r Reload) error {
	var b strings.Builder
	if len(r.Errors) == 0 {
		for _, c := range r.Changes {
			fmt.Fprintln(&b, c)
		}
		if len(r.Changes) == 0 {
			fmt.Fprintln(&b, "nothing has changed")
		}
		fmt.Fprintf(&b, "%s: %s from %s in %.1f ms\n", r.Node, r.Outcome, r.File, r.TookMS)
	}
	for _, warning := range r.Warnings {
		fmt.Fprintf(&b, "WARNING: %s\n", warning)
	}
	if _, err := out.Write(visible([]byte(b.String()))); err != nil || len(r.Errors) == 0 {
		return err
	}
	_, err := errOut.Write(visible(fmt.Appendf(nil, "ftgw: node %s keeps its config, %s has: %s\n%s\n", r.Node, r.File, r.Outcome, strings.Join(r.Errors, "\n"))))
	return err
}

// exit is the exit code of the command.
func (r Reload) exit() error {
	switch r.Outcome {
	case Reloaded, WouldReload:
		return nil
	case Invalid:
		return exitWith(exitConfig)
	}
	return exitWith(exitFailed)
}
