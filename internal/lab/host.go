package lab

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
)

const (
	hostInterface  = "eth0"
	apartInterface = "eth1"
)

// Host is one machine of the lab: a network namespace, a cable to the router, and a
// directory that outlives a crash as a disk does.
type Host struct {
	Name string
	Dir  string // the host's own directory: state, socket, logs

	lab   *Lab
	addrs []string // of eth0, with prefix length; empty for the router
	mac   byte

	mu        sync.Mutex
	ns        *NS
	cpus      []int // of its processes; see Pin
	crashed   bool
	processes []*Process
}

func newHost(l *Lab, name string, addrs []string, mac byte) *Host {
	return &Host{Name: name, lab: l, addrs: addrs, mac: mac}
}

// NS returns the host's present namespace, which Reboot replaces.
func (h *Host) NS() *NS {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.ns
}

// Do runs f on a thread inside the host's namespace; see NS.Do.
func (h *Host) Do(f func() error) error { return h.NS().Do(f) }

// Interface returns the name of the host's network interface.
func (h *Host) Interface() string { return hostInterface }

// Addr returns the host's own (first) address; the router's is the one that hosts see.
func (h *Host) Addr() netip.Addr {
	if len(h.addrs) == 0 {
		return netip.MustParseAddr(GatewayIP)
	}
	return h.Addrs()[0]
}

// apart reports whether the host is on the network of the hosts' own.
func (h *Host) apart() bool {
	return h.lab.options.Apart && (h.Name == NameA || h.Name == NameB || h.Name == NameC)
}

// ApartAddr returns the host's address on the hosts' own network, see Options.Apart.
func (h *Host) ApartAddr() netip.Addr {
	a := h.Addr().As4()
	return netip.AddrFrom4([4]byte{203, 0, 113, a[3]})
}

// Addrs returns all addresses of eth0.
func (h *Host) Addrs() []netip.Addr {
	var out []netip.Addr
	for _, a := range h.addrs {
		out = append(out, netip.MustParsePrefix(a).Addr())
	}
	return out
}

// MAC returns the Ethernet address of eth0; it stays the same over a reboot.
func (h *Host) MAC() net.HardwareAddr { return mac(h.mac) }

// RouterPort is the router's end of the host's cable, for a capture that sees what leaves the
// host and what reaches it, with the host's own Ethernet address.
func (h *Host) RouterPort() string { return "port-" + h.Name }

// StateDir, Socket and ConfigPath are where this host's node keeps its state, answers
// operator commands and finds its config file.
func (h *Host) StateDir() string   { return filepath.Join(h.Dir, "state") }
func (h *Host) Socket() string     { return filepath.Join(h.Dir, "ftgw.sock") } // see StateDir
func (h *Host) ConfigPath() string { return filepath.Join(h.Dir, "ftgw.toml") } // see StateDir

// Processes returns all processes started so far, ended ones too, oldest first.
func (h *Host) Processes() []*Process {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.processes)
}

// Crashed reports whether the host was crashed and not rebooted since.
func (h *Host) Crashed() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.crashed
}

// Crash ends the whole host at once: first nothing it sends counts any more (its cable is
// dead), then every process is killed. It returns when they are gone.
func (h *Host) Crash() error {
	err := h.Cut()
	if h.apart() {
		err = errors.Join(err, h.Apart().Cut())
	}
	if err != nil {
		return err
	}
	h.mu.Lock()
	h.crashed = true
	h.mu.Unlock()
	return h.killAll()
}

// Reboot puts a new namespace in place of the old one: no socket, rule or neighbour is left,
// the addresses and the directory are as before, and no process runs. A host that still runs
// is crashed first.
func (h *Host) Reboot() error {
	if err := h.Crash(); err != nil {
		return err
	}
	fresh, err := NewNS(h.Name)
	if err != nil {
		return fmt.Errorf("reboot: %w", err)
	}
	// Removing the router's end removes both; the old namespace may live on in a capture.
	if err := h.lab.Router.Do(func() error {
		if h.apart() {
			return errors.Join(linkDel(h.RouterPort()), linkDel(h.Apart().port))
		}
		return linkDel(h.RouterPort())
	}); err != nil {
		return errors.Join(fmt.Errorf("reboot %s: unplug: %w", h.Name, err), fresh.Close())
	}
	h.mu.Lock()
	old := h.ns
	h.ns = fresh
	h.mu.Unlock()
	if err := errors.Join(old.Close(), h.wire()); err != nil {
		return fmt.Errorf("reboot: %w", err)
	}
	if err := os.Remove(h.Socket()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("reboot %s: %w", h.Name, err)
	}
	h.mu.Lock()
	h.crashed = false
	h.mu.Unlock()
	return nil
}

func (h *Host) killAll() error {
	var errs []error
	all := h.Processes()
	for _, p := range all {
		errs = append(errs, p.Kill())
	}
	for _, p := range all {
		<-p.Done()
	}
	return errors.Join(errs...)
}

func (h *Host) close() error {
	h.mu.Lock()
	h.crashed = true // nothing starts any more
	h.mu.Unlock()
	err := h.killAll()
	if ns := h.NS(); ns != nil {
		err = errors.Join(err, ns.Close())
	}
	return err
}
