package lab

import (
	"crypto/rand"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// nodeName is the name of ftgw processes on a host.
const nodeName = "ftgw"

// appWait bounds how long the web application takes to listen.
const appWait = 10 * time.Second

// Config is what a test adds to the lab's config file. All parts may be empty.
type Config struct {
	Top     string            // top-level keys, one a line
	List    []string          // nodes of the service, in order; empty: a, b
	Service string            // keys of the service, then its [[service.route]] tables
	More    []Service         // further services
	Tail    string            // further tables
	Witness bool              // name the witness as a node
	Nodes   map[string]string // further keys of a node, by its name
}

// Service is a further service, with the same upstream as the first, "web".
type Service struct {
	Name       string
	Advertised string   // address and port, the address of LAN and no host's
	List       []string // its nodes, in order
	Keys       string   // as Config.Service; forward if the port is that of another service
}

// WriteConfig writes the shared secret and the config file of every node, at
// Host.ConfigPath. The files differ only in keys that are local to a node.
func (l *Lab) WriteConfig(c Config) error {
	secret := filepath.Join(l.dir, "secret")
	if _, err := os.Stat(secret); err != nil {
		key := make([]byte, 32)
		rand.Read(key)
		if err := os.WriteFile(secret, key, 0o600); err != nil {
			return fmt.Errorf("write lab config: %w", err)
		}
	}
	for _, h := range l.Hosts() {
		if err := os.MkdirAll(h.StateDir(), 0o700); err != nil {
			return fmt.Errorf("write lab config: %w", err)
		}
		if err := os.WriteFile(h.ConfigPath(), []byte(l.configText(h, c, secret)), 0o600); err != nil {
			return fmt.Errorf("write lab config: %w", err)
		}
	}
	return nil
}

func (l *Lab) configText(h *Host, c Config, secret string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "secret_file = %q\nsocket = %q\nstate_dir = %q\n%s\n",
		secret, h.Socket(), h.StateDir(), c.Top)
	for _, n := range l.Hosts() {
		if n == l.Witness && !c.Witness {
			continue
		}
		fmt.Fprintf(&b, "[[node]]\nname = %q\naddress = %q\n", n.Name, n.Addr())
		if n == l.Witness {
			b.WriteString("witness = true\n")
		}
		if n.apart() {
			fmt.Fprintf(&b, "replication_address = %q\n", n.ApartAddr())
		}
		b.WriteString(c.Nodes[n.Name] + "\n")
	}
	for _, s := range c.services() {
		fmt.Fprintf(&b, "[[service]]\nname = %q\nadvertised = %q\nnodes = [\"%s\"]\nupstream = %q\n%s\n",
			s.Name, s.Advertised, strings.Join(s.List, `", "`), Upstream, s.Keys)
	}
	b.WriteString(c.Tail + "\n")
	return b.String()
}

// services returns the first service and the further ones.
func (c Config) services() []Service {
	first := Service{"web", Advertised, c.List, c.Service}
	if len(first.List) == 0 {
		first.List = []string{NameA, NameB}
	}
	return append([]Service{first}, c.More...)
}

// serving returns the hosts that serve, by the config.
func (l *Lab) serving(c Config) []*Host {
	return slices.DeleteFunc(l.Hosts(), func(h *Host) bool {
		return !slices.ContainsFunc(c.services(), func(s Service) bool { return slices.Contains(s.List, h.Name) })
	})
}

// StartNode starts `program run` on the host with the host's config file; WriteConfig comes
// first.
func (h *Host) StartNode(program string) (*Process, error) {
	return h.StartNodeEnv(program, nil)
}

// StartNodeEnv is StartNode with more variables in the environment, as "KEY=value", and more
// arguments.
func (h *Host) StartNodeEnv(program string, env []string, args ...string) (*Process, error) {
	argv := append([]string{program, "run", "--config", h.ConfigPath(), "--name", h.Name}, args...)
	return h.StartEnv(nodeName, env, argv...)
}

// StartApp starts the built-in web application (`program lab-app`) as the host's upstream, with
// more arguments if there are, and waits until it listens. Its journal is at JournalPath.
func (h *Host) StartApp(program string, args ...string) (*Process, error) {
	argv := append([]string{program, "lab-app", "--listen", Upstream, "--host", h.Name, "--journal", h.JournalPath()}, args...)
	p, err := h.Start("app", argv...)
	if err != nil {
		return nil, err
	}
	for end := time.Now().Add(appWait); ; time.Sleep(2 * time.Millisecond) {
		err := h.Do(func() error {
			c, err := net.DialTimeout("tcp", Upstream, appWait)
			if err != nil {
				return err
			}
			return c.Close()
		})
		if err == nil {
			return p, nil
		}
		if p.Exited() || time.Now().After(end) {
			return nil, fmt.Errorf("wait for the web application on %s: %w\n%s", h.Name, err, p.Log())
		}
	}
}

// SharedPath is a file that no host's crash or reboot touches, as on a server of its own.
func (l *Lab) SharedPath(name string) string { return filepath.Join(l.dir, name) }

// JournalPath is where the web application notes what it executed.
func (h *Host) JournalPath() string { return filepath.Join(h.Dir, "journal") }
