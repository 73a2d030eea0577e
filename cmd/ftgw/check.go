package main

import (
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ftgw/ftgw/config"
	"github.com/ftgw/ftgw/replication"
)

func checkCommand() *cobra.Command {
	var file fileFlags
	var url, method string
	cmd := &cobra.Command{
		Use:   "check",
		Short: "List every mistake in the config file, and ask the other nodes",
		Long: `Check reads the config file and the secret as run would, and lists every mistake with its
line, its key and the remedy. Then it asks the other nodes whether they have the same secret,
config and version, and compares clocks; one that is not running yet is no mistake. It changes
nothing. Nodes whose digests are equal have the same settings. With --url it says instead which
mode a request would get, and by which route.

Exit codes: 0 no mistake; 1 another node refuses this one; 2 mistakes in the files.`,
		Example: `  ftgw check
  ftgw check --config ./ftgw.toml --name web-b
  ftgw check --url /img/logo.png --method GET`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := file.load()
			if err != nil {
				return err
			}
			if cmd.Flags().Changed("url") {
				return showMode(cmd.OutOrStdout(), cfg, method, url)
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
	cmd.Flags().StringVar(&url, "url", "", "say only which mode a request for this `path` would get")
	cmd.Flags().StringVar(&method, "method", http.MethodGet, "the request's `method`")
	return cmd
}

// showMode says which mode each service has for a request. Of a whole URL the path counts, as it
// is written.
func showMode(out io.Writer, cfg *config.Config, method, url string) error {
	path := url
	if _, rest, absolute := strings.Cut(url, "://"); absolute {
		_, path, _ = strings.Cut(rest, "/")
		path = "/" + path
	}
	path, _, _ = strings.Cut(path, "?")
	path, _, _ = strings.Cut(path, "#")
	if !strings.HasPrefix(path, "/") {
		return codedError{exitUsage, fmt.Errorf("--url %q is no path: write it as in --url /img/logo.png", url)}
	}
	for _, s := range cfg.Services {
		why := "no route matches"
		if r, found := s.Route(method, path); found {
			why = "route " + r.String()
		}
		fmt.Fprintf(out, "service %s: %s %s: %s (%s)\n", s.Name, method, path, s.Mode(method, path), why)
	}
	return nil
}
