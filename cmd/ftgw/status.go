package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/ftgw/ftgw/state"
)

func statusCommand() *cobra.Command {
	var asked askFlags
	var asJSON, watch bool
	var every time.Duration
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show what the node on this host serves and how well it is protected",
		Long: `Status asks the running node through its socket. With --json it prints the node's own
words, one JSON object. With --watch it asks again every second until Ctrl-C, through restarts of
the node: in a terminal in place, else one status after another (with --json one object a line).

UNSTORED is what the peer has not stored yet, in so many records; LAG how long the oldest of it
has waited or, when nothing waits, how long storing took since the last look. IF PEER DIED NOW
counts connections, and requests that would be executed again.

Exit codes: 0 shown, or watched until Ctrl-C; 69 no ftgw answers at the socket; others as in
ftgw --help.`,
		Example: `  ftgw status
  ftgw status --json
  ftgw status --watch
  ftgw status --socket /run/ftgw/ftgw.sock`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if every < minEvery || every > time.Hour {
				return codedError{exitUsage, fmt.Errorf("--every must be %v to 1h, not %v", minEvery, every)}
			}
			if !watch && cmd.Flags().Changed("every") {
				return codedError{exitUsage, errors.New("--every goes with --watch")}
			}
			socket, err := asked.at()
			if err != nil {
				return err
			}
			if watch {
				return watchStatus(cmd, socket, every, asJSON)
			}
			return show(cmd, http.MethodGet, socket, "status", nil, asJSON, func(out io.Writer, s state.Status) error {
				return writeStatus(out, s, nil)
			})
		},
	}
	asked.add(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the node's JSON as it is")
	cmd.Flags().BoolVar(&watch, "watch", false, "show it live until Ctrl-C")
	cmd.Flags().DurationVar(&every, "every", time.Second, "with --watch: the `time` between two looks")
	return cmd
}

// writeStatus prints tables for a reader. rates are by service; nil: the columns are left out.
func writeStatus(out io.Writer, s state.Status, rates map[string]state.Rate) error {
	w := newTable(out)
	fmt.Fprintf(w, "node %s, version %s, up %v\n", s.Node, s.Version, s.At.Sub(s.Started).Round(time.Second))
	for _, warning := range s.Warnings {
		fmt.Fprintf(w, "\nWARNING: %s\n", warning)
	}
	fmt.Fprintf(w, "\nPEER\tADDRESS\tSTATE\tRTT\tSESSION\n")
	for _, p := range s.Peers {
		fmt.Fprintf(w, "%s\t%s\t%s\t%v\t%s\n", p.Name, p.Address, p.State, time.Duration(p.RTT)*time.Microsecond, orDash(p.Session))
	}
	for _, p := range s.Peers {
		if p.Problem != "" {
			fmt.Fprintf(w, "\nPROBLEM with %s: %s\n", p.Name, p.Problem)
		}
	}
	fmt.Fprintf(w, "\nSERVICE\tADVERTISED\tROLE\tMODE\tOWNER\tEPOCH\tPEER\tIN SYNC\tUPSTREAM\n")
	for _, v := range s.Services {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%d\t%s\t%s\t%s\n", v.Name, v.Advertised, v.Role, orDash(v.Mode),
			orDash(v.Owner), v.Epoch, orDash(v.Peer), yesNo(v.InSync), orDash(v.Upstream))
	}
	for _, v := range s.Services {
		if v.Why != "" {
			fmt.Fprintf(w, "\nwhy %s is %s: %s\n", v.Name, v.Role, v.Why)
		}
	}
	if slices.ContainsFunc(s.Services, func(v state.Service) bool { return v.Role != "witness" }) {
		writeLoad(w, s, rates)
	}
	if r := s.Rules; r != nil && r.Restored > 0 {
		fmt.Fprintf(w, "\nrules removed or changed by somebody, and restored: %d times, last %s: %s\n", r.Restored, r.LastAt.Format(time.RFC3339), r.Last)
	}
	if dropped := maps.Clone(s.Drops); len(dropped) > 0 {
		maps.DeleteFunc(dropped, func(_ string, n uint64) bool { return n == 0 })
		if len(dropped) > 0 {
			fmt.Fprintf(w, "\nDROPPED\tCOUNT\n")
		}
		for _, reason := range slices.Sorted(maps.Keys(dropped)) {
			fmt.Fprintf(w, "%s\t%d\n", reason, dropped[reason])
		}
	}
	return w.Flush()
}

// writeLoad prints what a node that serves does.
func writeLoad(w io.Writer, s state.Status, rates map[string]state.Rate) {
	fmt.Fprintf(w, "\nSERVICE\tFLOWS\tSIMPLEX\tUNPROTECTED\tUNSTORED\tLAG\tIF PEER DIED NOW\n")
	for _, v := range s.Services {
		r, lag := v.Replication, time.Duration(v.Replication.Lag)*time.Microsecond
		if rate, ok := rates[v.Name]; ok && r.Unstored == 0 {
			lag = rate.Store // of those that were stored since
		}
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%s in %d\t%s\t%d survive, %d lost, %d executed again\n", v.Name, v.Flows.Duplex+v.Flows.Simplex,
			v.Flows.Simplex, v.Flows.Unprotected, byteText(float64(r.UnstoredBytes)), r.Unstored, msText(lag), v.IfDied.Survive, v.IfDied.Lost, v.IfDied.Reexecute)
	}
	perSecond := ""
	if rates != nil {
		perSecond = "\tPER SECOND\tSTORED PER SECOND"
	}
	fmt.Fprintf(w, "\nSERVICE\tDELIVERED\tREPLAYED\tREEXECUTED\tMOVED\tUNPROTECTED\tFAILED%s\n", perSecond)
	for _, v := range s.Services {
		x := v.Exchanges
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%d\t%d", v.Name, x.Delivered, x.Replayed, x.Reexecuted, x.Moved, x.Unprotected, x.Failed)
		if rates != nil {
			fmt.Fprintf(w, "\t%.0f\t%s", rates[v.Name].Exchanges, byteText(rates[v.Name].Bytes))
		}
		fmt.Fprintln(w)
	}
	fmt.Fprintf(w, "\nSERVICE\tLOGGED\tSYNC-STATIC\tSTATIC\tDEFERRED\tUNPROTECTED\tSTATIC STORED INSTEAD\tAS BACKUP THE SAME\tAS BACKUP NOT\n")
	for _, v := range s.Services {
		m := v.Modes
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\n", v.Name, m.Logged, m.SyncStatic, m.Static, m.Deferred, m.Unprotected, m.Instead, m.Mirrored, m.Differed)
	}
	for _, v := range s.Services {
		writeTakeover(w, v)
	}
}

// byteText is a number of bytes for a reader.
func byteText(n float64) string {
	for _, unit := range []string{"B", "KiB", "MiB"} {
		if n < 1024 {
			return fmt.Sprintf("%.3g %s", n, unit)
		}
		n /= 1024
	}
	return fmt.Sprintf("%.4g GiB", n)
}

// msText is a duration in milliseconds; none is a dash.
func msText(d time.Duration) string {
	if d == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f ms", float64(d.Microseconds())/1000)
}

func writeTakeover(w io.Writer, v state.Service) {
	if v.LastTakeover == nil {
		return
	}
	t := v.LastTakeover
	fmt.Fprintf(w, "\nlast takeover of %s: %s, epoch %d, %s\n", v.Name, t.At.Format(time.RFC3339), t.Epoch, t.Reason)
	for _, step := range t.Steps {
		fmt.Fprintf(w, "  %.3f ms\t%s\n", step.AtMS, step.Name)
	}
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
