package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
)

// maxAnswer bounds what is read from a node, in bytes.
const maxAnswer = 256 << 20

func statusCommand() *cobra.Command {
	var file fileFlags
	var socket string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show what the node on this host serves and how well it is protected",
		Long: `Status asks the running node through its socket. With --json it prints the node's own
words, one JSON object.

Exit codes: 0 shown; 1 failed; 2 the config file or the command line is wrong; 3 no ftgw
answers at the socket.`,
		Example: `  ftgw status
  ftgw status --json
  ftgw status --socket /run/ftgw/ftgw.sock`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if socket == "" {
				cfg, err := file.load()
				if err != nil {
					return err
				}
				socket = cfg.Socket
			}
			text, err := fetch(cmd, http.MethodGet, socket, "status", nil)
			if err != nil {
				return err
			}
			if asJSON {
				_, err := cmd.OutOrStdout().Write(text)
				return err
			}
			var s Status
			if err := json.Unmarshal(text, &s); err != nil {
				return fmt.Errorf("read status from %s: %w (is the node of the same version?)", socket, err)
			}
			return writeStatus(cmd.OutOrStdout(), s)
		},
	}
	file.add(cmd)
	cmd.Flags().StringVar(&socket, "socket", "", "the node's socket `file`, instead of the config file's")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the node's JSON as it is")
	return cmd
}

// fetch returns the JSON that the node at the socket has of that name.
func fetch(cmd *cobra.Command, method, socket, what string, query url.Values) ([]byte, error) {
	req, err := http.NewRequestWithContext(cmd.Context(), method, "http://ftgw/"+what+"?"+query.Encode(), nil)
	if err != nil {
		return nil, err
	}
	resp, err := socketClient(socket).Do(req)
	switch {
	case errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED):
		return nil, codedError{exitNoReply, fmt.Errorf("no ftgw answers at %s (start it with: ftgw run)", socket)}
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("read %s: %w (run as root, or as a member of the socket's group)", what, err)
	case err != nil:
		return nil, codedError{exitNoReply, fmt.Errorf("read %s: %w (the node at %s does not answer)", what, err, socket)}
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("read %s from %s: %w", what, socket, err)
	}
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusConflict: // what was asked cannot be done
		return nil, errors.New(strings.TrimSpace(string(text)))
	default:
		return nil, fmt.Errorf("read %s from %s: %s: %s", what, socket, resp.Status, text)
	}
	return text, nil
}

// writeStatus prints tables for a reader.
func writeStatus(out io.Writer, s Status) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "node %s, version %s\n", s.Node, s.Version)
	for _, warning := range s.Warnings {
		fmt.Fprintf(w, "\nWARNING: %s\n", warning)
	}
	fmt.Fprintf(w, "\nPEER\tSTATE\tRTT\tSESSION\n")
	for _, p := range s.Peers {
		fmt.Fprintf(w, "%s\t%s\t%v\t%s\n", p.Name, p.State, time.Duration(p.RTT)*time.Microsecond, orDash(p.Session))
	}
	for _, p := range s.Peers {
		if p.Problem != "" {
			fmt.Fprintf(w, "\nPROBLEM with %s: %s\n", p.Name, p.Problem)
		}
	}
	fmt.Fprintf(w, "\nSERVICE\tADVERTISED\tROLE\tMODE\tOWNER\tEPOCH\tPEER\tIN SYNC\tUPSTREAM\n")
	for _, v := range s.Services {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%d\t%s\t%s\t%s\n", v.Name, v.Advertised, v.Role, v.Mode,
			orDash(v.Owner), v.Epoch, orDash(v.Peer), yesNo(v.InSync), orDash(v.Upstream))
	}
	fmt.Fprintf(w, "\nSERVICE\tFLOWS\tSIMPLEX\tUNPROTECTED\tDELIVERED\tREPLAYED\tREEXECUTED\tMOVED\tUNPROTECTED\tFAILED\tIF PEER DIED NOW\n")
	for _, v := range s.Services {
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d survive, %d lost, %d executed again\n", v.Name,
			v.Flows.Duplex+v.Flows.Simplex, v.Flows.Simplex, v.Flows.Unprotected, v.Exchanges.Delivered, v.Exchanges.Replayed,
			v.Exchanges.Reexecuted, v.Exchanges.Moved, v.Exchanges.Unprotected, v.Exchanges.Failed, v.IfDied.Survive, v.IfDied.Lost, v.IfDied.Reexecute)
	}
	fmt.Fprintf(w, "\nSERVICE\tLOGGED\tSYNC-STATIC\tSTATIC\tDEFERRED\tUNPROTECTED\tSTATIC STORED INSTEAD\tAS BACKUP THE SAME\tAS BACKUP NOT\n")
	for _, v := range s.Services {
		m := v.Modes
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\n", v.Name, m.Logged, m.SyncStatic, m.Static, m.Deferred, m.Unprotected, m.Instead, m.Mirrored, m.Differed)
	}
	for _, v := range s.Services {
		writeTakeover(w, v)
	}
	if r := s.Rules; r != nil && r.Restored > 0 {
		fmt.Fprintf(w, "\nrules removed or changed by somebody, and restored: %d times, last %s: %s\n", r.Restored, r.LastAt.Format(time.RFC3339), r.Last)
	}
	if len(s.Drops) > 0 {
		fmt.Fprintf(w, "\nDROPPED\tCOUNT\n")
		for _, reason := range slices.Sorted(maps.Keys(s.Drops)) {
			fmt.Fprintf(w, "%s\t%d\n", reason, s.Drops[reason])
		}
	}
	return w.Flush()
}

func writeTakeover(w io.Writer, v ServiceStatus) {
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
