package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ftgw/ftgw/config"
	"github.com/ftgw/ftgw/inspect"
	"github.com/ftgw/ftgw/inspect/host"
	"github.com/ftgw/ftgw/replication"
)

const checkHelp = `Check looks at everything that ftgw needs, before run or while it runs: the config file and the
secret, with every mistake, its line, its key and the remedy; then this host, its network and the
other nodes. It changes nothing, leaves nothing behind and disturbs no node. Each finding is a
line with its level (ok, skipped, warning or fail), the check, what was found, and behind a dash what
to do. Skipped is what could not be looked at, mostly for want of rights: run it as root.

  config      the file                        secret     the shared secret's file
  privileges  of this process                 daemon     the ftgw that runs here
  kernel      nftables, NFQUEUE, raw sockets  interface  of this node's address
  lro         offloads that join segments     sysctl     TCP, ARP, rp_filter
  address     in the subnet, no stranger's    gateway    that it answers
  port        free, or the running ftgw's     state_dir  can be written
  upstream    that it takes connections       peer       same secret, config and version
  alike       MTU and sysctls on both hosts   clock      how far the nodes' differ
  firewall    nftables rules that drop what ftgw takes out of connection tracking, or sessions

A node that is not running yet is a warning. Nodes whose digests are equal up to the dash
can be a pair; behind it is a hash of what ftgw reload changes, which should be equal, too.
With --files only the config file and the secret are read, on any machine. With --url it says
instead which mode a request would get, and by which route; ftgw routes shows whether a running node
has that route logged, for its replies differ.

With --json it prints one object: node, config (the file), digest, level (the worst) and findings,
a list of objects with check, level, what and, where something is to be done, remedy. Names and
levels are as above; more may be added.

Exit codes: 0 all is ok, or skipped, or a warning; 1 something fails; 78 mistakes in the files;
others as in ftgw --help.`

// report is what check says, as --json prints it.
type report struct {
	Node     string            `json:"node,omitempty"`
	Config   string            `json:"config"`
	Digest   string            `json:"digest,omitempty"` // of the settings that nodes must share
	Level    inspect.Level     `json:"level"`
	Findings []inspect.Finding `json:"findings"`
}

func checkCommand() *cobra.Command {
	var file fileFlags
	var url, method string
	var asJSON, onlyFiles bool
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Look for whatever would keep this node from serving, with remedies",
		Long:  checkHelp,
		Example: `  ftgw check
  ftgw check --json | jq -r '.findings[] | select(.level == "fail") | .remedy'
  ftgw check --files --config ./ftgw.toml --name web-b
  ftgw check --url /img/logo.png --method GET`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch asks := cmd.Flags().Changed("url"); {
			case asks && (asJSON || onlyFiles):
				return codedError{exitUsage, errors.New("--url goes without --json and --files: it looks at nothing and prints a line for each service")}
			case !asks && cmd.Flags().Changed("method"):
				return codedError{exitUsage, errors.New("--method goes with --url")}
			}
			out := cmd.OutOrStdout()
			cfg, err := file.load()
			switch {
			case err != nil && asJSON:
				return errors.Join(writeJSONReport(out, mistakes(file.path, err)), err)
			case err != nil:
				return err
			case cmd.Flags().Changed("url"):
				return showMode(out, cfg, method, url)
			}
			r, keys, wrong := checkFiles(cfg, file.path)
			if !onlyFiles {
				r.Findings = append(r.Findings, inspect.Judge(factsOf(cmd.Context(), cfg, keys))...)
			}
			r.Level = inspect.Worst(r.Findings)
			if asJSON {
				err = writeJSONReport(out, r)
			} else {
				err = writeReport(out, cfg, r)
			}
			return errors.Join(err, wrong, verdict(r.Findings, wrong))
		},
	}
	file.add(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	cmd.Flags().BoolVar(&onlyFiles, "files", false, "read the files only, and look at neither this host nor the others")
	cmd.Flags().StringVar(&url, "url", "", "say only which mode a request for this `path` would get")
	cmd.Flags().StringVar(&method, "method", http.MethodGet, "the request's `method`")
	return cmd
}

// mistakes is the report on a config file that cannot be used.
func mistakes(path string, err error) report {
	r := report{Config: path, Level: inspect.Fail}
	var all config.Errors
	if !errors.As(err, &all) {
		what, remedy := inspect.Split(err.Error())
		r.Findings = []inspect.Finding{{Check: inspect.Config, Level: inspect.Fail, What: what, Remedy: remedy}}
	}
	for _, e := range all {
		remedy := e.Remedy
		e.Remedy = ""
		r.Findings = append(r.Findings, inspect.Finding{Check: inspect.Config, Level: inspect.Fail, What: e.Error(), Remedy: remedy})
	}
	return r
}

// checkFiles reads the secret; keys is nil where that fails.
func checkFiles(cfg *config.Config, path string) (r report, keys *replication.Keys, wrong error) {
	r = report{Node: cfg.Name, Config: path, Digest: digestText(cfg),
		Findings: []inspect.Finding{{Check: inspect.Config, What: path + ": no mistakes"}}}
	derived, err := readKeys(cfg)
	if err != nil {
		what, remedy := inspect.Split(err.Error())
		level := inspect.Fail
		if lacks, _ := host.Lacks(false); denied(err, lacks) {
			level, err = inspect.Skipped, nil
		}
		r.Findings = append(r.Findings, inspect.Finding{Check: inspect.Secret, Level: level, What: what, Remedy: remedy})
		return r, nil, err
	}
	r.Findings = append(r.Findings, inspect.Finding{Check: inspect.Secret, What: cfg.SecretFile + " can be used"})
	return r, &derived, nil
}

// denied reports whether an error is this user's, and need not be that of who runs the node.
func denied(err error, lacks []string) bool {
	return errors.Is(err, fs.ErrPermission) && len(lacks) > 0
}

// digestText is what people compare of a config's digest.
func digestText(cfg *config.Config) string {
	digest := cfg.Digest()
	return fmt.Sprintf("%x-%08x", digest[:8], uint32(cfg.Settings()))
}

// verdict is the error that ends check, if anything but the files fails.
func verdict(all []inspect.Finding, said error) error {
	fails := 0
	for _, f := range all {
		if f.Level == inspect.Fail {
			fails++
		}
	}
	if fails == 0 || said != nil {
		return nil
	}
	return fmt.Errorf("%d of %d checks failed, see above", fails, len(all))
}

func writeJSONReport(out io.Writer, r report) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(r); err != nil {
		return err
	}
	_, err := out.Write(visible(b.Bytes()))
	return err
}

// writeReport prints what the config says, then the findings.
func writeReport(out io.Writer, cfg *config.Config, r report) error {
	w := newTable(out)
	fmt.Fprintf(w, "node %s, %s\n", cfg.Name, cfg.Self().Address)
	for _, s := range cfg.Services {
		fmt.Fprintf(w, "service %s: %s, primary %s, backup %s", s.Name, s.Advertised, s.Primary(), s.Backup())
		for _, spare := range s.Spares() {
			fmt.Fprintf(w, ", spare %s", spare)
		}
		fmt.Fprintf(w, "\n  %s\n", httpLine(cfg, s))
	}
	if witness, there := cfg.Witness(); there {
		fmt.Fprintf(w, "witness %s: takeovers need its grant\n", witness.Name)
	}
	fmt.Fprintf(w, "digest %s\n\n", r.Digest)
	for _, f := range r.Findings {
		remedy := ""
		if f.Remedy != "" {
			remedy = "  — " + f.Remedy
		}
		// An error of several lines stays one finding.
		fmt.Fprintf(w, "%s\t%s\t%s%s\n", f.Level, f.Check, strings.ReplaceAll(f.What, "\n", "; "), remedy)
	}
	return w.Flush()
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
		if _, err := fmt.Fprintf(out, "service %s: %s %s: %s (%s)\n", s.Name, method, path, s.Mode(method, path), why); err != nil {
			return err
		}
	}
	return nil
}
