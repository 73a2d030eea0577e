// Asking the running node through its socket, as most commands do.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

// maxAnswer bounds what is read from a node, in bytes.
const maxAnswer = 256 << 20

// askFlags are the flags of every command that asks the running node: its socket is the config
// file's, unless one is given.
type askFlags struct {
	file   fileFlags
	socket string
}

func (f *askFlags) add(cmd *cobra.Command) {
	f.file.add(cmd)
	cmd.Flags().StringVar(&f.socket, "socket", "", "the node's socket `file`, instead of the config file's")
}

// at returns the socket.
func (f *askFlags) at() (string, error) {
	if f.socket != "" {
		return f.socket, nil
	}
	cfg, err := f.file.load()
	if err != nil {
		return "", err
	}
	return cfg.Socket, nil
}

// show prints what the node at the socket has of that name: its JSON as it is, or what write makes of
// it.
func show[T any](cmd *cobra.Command, method, socket, what string, query url.Values, asJSON bool, write func(io.Writer, T) error) error {
	text, err := fetch(cmd, method, socket, what, query)
	if err != nil {
		return err
	}
	if asJSON {
		_, err := cmd.OutOrStdout().Write(text)
		return err
	}
	var v T
	if err := json.Unmarshal(text, &v); err != nil {
		return fmt.Errorf("read %s from %s: %w (is the node of the same version?)", what, socket, err)
	}
	return write(cmd.OutOrStdout(), v)
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
		return nil, codedError{exitNoPerm, fmt.Errorf("read %s: %w (run as root, or as a member of the socket's group)", what, err)}
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
		return nil, fmt.Errorf("read %s from %s: %s: %s", what, socket, resp.Status, strings.TrimSpace(string(text)))
	}
	return visible(text), nil
}

// ask has the node at the socket do what is asked for, and returns its answer when it is done.
func ask(ctx context.Context, socket, what string, query url.Values) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://ftgw/"+what+"?"+query.Encode(), nil)
	if err != nil {
		return nil, err
	}
	client := socketClient(socket)
	client.Timeout = 0 // ctx bounds it
	resp, err := client.Do(req)
	if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ENOENT) {
		return nil, codedError{exitNoReply, fmt.Errorf("no ftgw answers at %s (is it running? see ftgw run)", socket)}
	}
	if errors.Is(err, fs.ErrPermission) {
		return nil, codedError{exitNoPerm, fmt.Errorf("%s: %w (run as root, or as a member of the socket's group)", what, err)}
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w (what is done stays done; ask again)", what, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err == nil && resp.StatusCode != http.StatusOK {
		err = errors.New(strings.TrimSpace(string(text)))
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	return visible(text), nil
}
