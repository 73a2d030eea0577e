package lab

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
)

// The addresses of every lab. They are documentation addresses (RFC 5737).
const (
	AdvertisedIP = "192.0.2.100" // the advertised address, which no namespace has at first
	Port         = 80            // the advertised port
	Advertised   = "192.0.2.100:80"
	GatewayIP    = "192.0.2.1"    // the router on the hosts' side
	ClientIP     = "198.51.100.2" // the client's first address
	ClientLinkIP = "198.51.100.1" // the router on the client's side
	Upstream     = "127.0.0.1:8080"
)

// The names of the hosts of every lab.
const (
	NameClient  = "client"
	NameRouter  = "router"
	NameA       = "a"
	NameB       = "b"
	NameC       = "c"
	NameWitness = "witness"
)

// Options choose what differs between labs. The zero value is a lab with one client address
// and the system's own congestion control.
type Options struct {
	// ClientAddresses is how many source addresses the client has, 1 to 200; 0 means 1.
	ClientAddresses int
	// CongestionControl is what every namespace uses, such as cubic or bbr. Where the kernel
	// does not let a namespace choose it, the lab keeps the system's own; see
	// Lab.CongestionControl.
	CongestionControl string
	// Env is added to the environment of every process, as "KEY=value".
	Env []string
	// StateBytes makes each host's StateDir a file system of its own of so many bytes, which
	// only the processes of the lab see; 0: a directory like any other.
	StateBytes int64
	// Third adds the host c.
	Third bool
	// Apart adds a network of the hosts' own, which the config then names for replication.
	Apart bool
}

// Lab is a client, a router, the hosts a and b, if wanted c, and a witness:
//
//	client 198.51.100.2 ── router ── bridge "lan" ─┬─ a       192.0.2.11
//	                              192.0.2.1        ├─ b       192.0.2.12
//	                                               ├─ c       192.0.2.14
//	                                               └─ witness 192.0.2.13
//
// With Options.Apart a, b and c have a second interface, eth1, with 203.0.113.11 and so on, on the
// router's bridge "apart", which leads nowhere else.
//
// Each host's interface is eth0; the router's ports are named port-a, port-b, port-c,
// port-witness and port-client. A Lab is safe for concurrent use, except that one host's Crash, Reboot and
// Close must not overlap each other.
type Lab struct {
	Client, Router, A, B, Witness *Host

	C *Host // nil without Options.Third

	dir     string
	options Options
	spawn   *spawner
	congest string // congestion control of the namespaces

	mu      sync.Mutex
	allowed string // congestion control that the lab allowed in the whole system

	closing sync.Once
	closed  error
}

// New builds the lab and starts the thread that will start its processes. The caller closes
// it; if the program is killed instead, the kernel ends the processes and the namespaces, and
// only the directory is left.
func New(o Options) (*Lab, error) {
	if o.ClientAddresses == 0 {
		o.ClientAddresses = 1
	}
	if o.ClientAddresses < 1 || o.ClientAddresses > 200 {
		return nil, fmt.Errorf("build lab: %d client addresses asked for, choose 1 to 200", o.ClientAddresses)
	}
	dir, err := os.MkdirTemp("", "ftgw-lab-")
	if err != nil {
		return nil, fmt.Errorf("build lab: %w", err)
	}
	l := &Lab{dir: dir, options: o, spawn: newSpawner()}
	for _, h := range []struct {
		at   **Host
		name string
		link []string // addresses of eth0, the first with its prefix length
		mac  byte
	}{
		{&l.Router, NameRouter, nil, 0x01},
		{&l.Client, NameClient, clientAddresses(o.ClientAddresses), 0x02},
		{&l.A, NameA, []string{"192.0.2.11/24"}, 0x0a},
		{&l.B, NameB, []string{"192.0.2.12/24"}, 0x0b},
		{&l.Witness, NameWitness, []string{"192.0.2.13/24"}, 0x0c},
	} {
		*h.at = newHost(l, h.name, h.link, h.mac)
	}
	if o.Third {
		l.C = newHost(l, NameC, []string{"192.0.2.14/24"}, 0x0d)
	}
	if err := l.build(); err != nil {
		return nil, errors.Join(fmt.Errorf("build lab: %w", err), l.Close())
	}
	return l, nil
}

// Hosts returns a, b, c if there is one, and the witness.
func (l *Lab) Hosts() []*Host { return present(l.A, l.B, l.C, l.Witness) }

func present(hosts ...*Host) []*Host {
	return slices.DeleteFunc(hosts, func(h *Host) bool { return h == nil })
}

// Dir is the directory of this lab, removed by Close.
func (l *Lab) Dir() string { return l.dir }

// CongestionControl returns what the namespaces use in fact.
func (l *Lab) CongestionControl() string { return l.congest }

// Close kills every process of the lab, waits for them, and removes the namespaces, the
// directory and what New changed elsewhere. Closing twice changes nothing.
func (l *Lab) Close() error {
	l.closing.Do(func() {
		var errs []error
		for _, h := range l.all() {
			errs = append(errs, h.close())
		}
		l.spawn.close()
		errs = append(errs, l.disallowCongestionControl(), os.RemoveAll(l.dir))
		l.closed = errors.Join(errs...)
	})
	return l.closed
}

// Logs writes the end of every process's log to w, for a test that failed.
func (l *Lab) Logs(w io.Writer) {
	for _, h := range l.all() {
		for _, p := range h.Processes() {
			fmt.Fprintf(w, "--- %s/%s (pid %d, %s)\n%s\n", h.Name, p.Name, p.PID(), p.state(), p.Log())
		}
	}
}

func (l *Lab) all() []*Host { return present(l.Client, l.A, l.B, l.C, l.Witness, l.Router) }

func (l *Lab) build() error {
	for _, h := range l.all() {
		h.Dir = filepath.Join(l.dir, h.Name)
		if err := os.Mkdir(h.Dir, 0o700); err != nil {
			return err
		}
		ns, err := NewNS(h.Name)
		if err != nil {
			return err
		}
		h.ns = ns
	}
	if err := l.mountStates(); err != nil {
		return err
	}
	if err := l.chooseCongestionControl(); err != nil {
		return err
	}
	if err := buildRouter(l.Router.ns); err != nil {
		return err
	}
	for _, h := range append(l.Hosts(), l.Client) {
		if err := h.wire(); err != nil {
			return err
		}
	}
	return nil
}

func clientAddresses(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("198.51.100.%d/24", 2+i)
	}
	return out
}
