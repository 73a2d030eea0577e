package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

func switchoverCommand() *cobra.Command {
	var file fileFlags
	var socket string
	cmd := &cobra.Command{
		Use:   "switchover",
		Short: "Make the peer primary, with no connection lost",
		Long: `Switchover moves the primary's part from the node on this host to its peer: the voice at once,
the exchanges of each connection between two requests. No connection is reset and nothing is
executed twice. It returns when the last exchange that runs here has ended. Connections that only
this node holds are turned over first: they end at their next reply, or when they have idled.

Exit codes: 0 done; 1 not or not wholly done, with the reason; 2 the config file or the command
line is wrong; 3 no ftgw answers at the socket.`,
		Example: `  ftgw switchover
  ftgw switchover --timeout 10m      where replies take long`,
		Args: noArgs,
	}
	handOverFlags(cmd, &file, &socket, false)
	return cmd
}

func drainCommand() *cobra.Command {
	var file fileFlags
	var socket string
	cmd := &cobra.Command{
		Use:   "drain",
		Short: "Give the peer all that this node does, before maintenance",
		Long: `Drain hands the voice, the exchanges and the advertised address of the node on this host to its
peer, with no connection lost. The node stays as backup and can be stopped without a client
noticing; stopping a node by SIGTERM drains it first. A node that serves alone has nobody to give
to: drain refuses, and stopping it ends the service.

Exit codes: 0 done; 1 not or not wholly done, with the reason; 2 the config file or the command
line is wrong; 3 no ftgw answers at the socket.`,
		Example: `  ftgw drain && systemctl stop ftgw`,
		Args:    noArgs,
	}
	handOverFlags(cmd, &file, &socket, true)
	return cmd
}

// handOverFlags gives a command the flags and the work of switchover and drain.
func handOverFlags(cmd *cobra.Command, file *fileFlags, socket *string, address bool) {
	var timeout time.Duration
	file.add(cmd)
	cmd.Flags().StringVar(socket, "socket", "", "the node's socket `file`, instead of the config file's")
	cmd.Flags().DurationVar(&timeout, "timeout", time.Minute, "how long to wait for exchanges that run here")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if *socket == "" {
			cfg, err := file.load()
			if err != nil {
				return err
			}
			*socket = cfg.Socket
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
		defer cancel()
		began := time.Now()
		s, err := handOver(ctx, *socket, address)
		if err != nil {
			return err
		}
		for _, v := range s.Services {
			fmt.Fprintf(cmd.OutOrStdout(), "%s: %s is %s, %s answers for %s\n", v.Name, s.Node, v.Role, v.Owner, v.Advertised)
		}
		fmt.Fprintf(cmd.OutOrStdout(), "handed over in %v\n", time.Since(began).Round(time.Millisecond))
		return nil
	}
}

// handOver asks the node at the socket and waits until it is done.
func handOver(ctx context.Context, socket string, address bool) (Status, error) {
	at := "http://ftgw/handover?" + url.Values{"address": {strconv.FormatBool(address)}}.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, at, nil)
	if err != nil {
		return Status{}, err
	}
	client := socketClient(socket)
	client.Timeout = 0 // ctx bounds it
	resp, err := client.Do(req)
	if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ENOENT) {
		return Status{}, codedError{exitNoReply, fmt.Errorf("no ftgw answers at %s (is it running? see ftgw run)", socket)}
	}
	if err != nil {
		return Status{}, fmt.Errorf("hand over: %w (what has moved stays moved; ask again)", err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err == nil && resp.StatusCode != http.StatusOK {
		err = errors.New(strings.TrimSpace(string(text)))
	}
	var s Status
	if err == nil {
		err = json.Unmarshal(text, &s)
	}
	if err != nil {
		return Status{}, fmt.Errorf("hand over: %w", err)
	}
	return s, nil
}
