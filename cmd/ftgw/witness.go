// The witness: a node that serves nothing and grants claims, and what it keeps on disk.
package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ftgw/ftgw/config"
	"github.com/ftgw/ftgw/internal/defect"
	"github.com/ftgw/ftgw/membership"
	"github.com/ftgw/ftgw/replication"
	"github.com/ftgw/ftgw/state"
	"github.com/ftgw/ftgw/takeover"
	"github.com/ftgw/ftgw/witness"
)

// witnessNode is a node that serves nothing and grants claims.
type witnessNode struct {
	reloader
	boot    takeover.Boot
	grants  grantFile
	server  *witness.Server
	started time.Time
}

// runWitness grants claims until ctx ends.
func runWitness(ctx context.Context, cfg *config.Config, file source, log *slog.Logger) error {
	w := &witnessNode{reloader: reloader{cfg: cfg, file: file, log: log}, started: time.Now().Round(0)}
	w.present.Store(cfg)
	rand.Read(w.boot[:])
	socket, err := listenSocket(cfg.Socket) // first: another ftgw may be there
	if err != nil {
		return err
	}
	defer socket.Close()
	var undo undoList
	defer undo.run(log)
	page, err := listenPage(cfg.Metrics, &undo)
	if err != nil {
		return err
	}
	keys, err := readKeys(cfg)
	if err != nil {
		return err
	}
	w.keys = keys
	held, err := w.grants.open(filepath.Join(cfg.StateDir, "grants"))
	if err != nil {
		return err
	}
	if err := keepReports(cfg.StateDir, log); err != nil {
		return err
	}
	groups := map[string][]string{}
	for _, g := range cfg.Groups() {
		for _, o := range g.Nodes {
			groups[g.Name] = append(groups[g.Name], o.Name)
		}
	}
	w.server = witness.New(witness.Config{Listen: netip.AddrPortFrom(cfg.Self().Address, cfg.SessionPort), Keys: keys,
		Hello: w.hello, Pairs: groups, Grants: held, Write: w.grants.write, Log: quietly(log),
		SuspectAfter: cfg.Timing.SuspectAfter, HangTimeout: cfg.Timing.HangTimeout})
	gossip, err := membership.New(gossipConfig(cfg, keys, quietly(log), w, func() membership.Meta {
		return membership.Meta{Boot: membership.BootID(w.boot)}
	}))
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	part := func(f func(context.Context) error) {
		g.Go(func() error { defer defect.Guard(); return f(ctx) })
	}
	part(w.server.Run)
	part(gossip.Run)
	part(func(ctx context.Context) error {
		return serveSocket(ctx, socket, answers{status: w.status, reload: w.reload})
	})
	part(func(ctx context.Context) error { return page.serve(ctx, w.status, log) })
	part(w.keepReloading)
	part(w.keepSupervisor)
	log.Info("witness runs", "node", cfg.Name, "groups", slices.Sorted(maps.Keys(groups)))
	return g.Wait()
}

func (w *witnessNode) hello() replication.Hello {
	return replication.Hello{Node: w.cfg.Name, Boot: w.boot, Role: replication.RoleWitness, ConfigDigest: w.cfg.Digest(), Settings: w.now().Settings()}
}

// status has a line for each service, with the epoch that was granted last.
func (w *witnessNode) status() state.Status {
	s := state.Status{Node: w.cfg.Name, Version: version(), Config: digestText(w.now()), Address: w.cfg.Self().Address.String(), Started: w.started, At: time.Now().Round(0)}
	for _, n := range w.cfg.Nodes {
		if n.Witness {
			continue
		}
		is := "alive"
		for _, g := range w.cfg.GroupsOf(n.Name) {
			if is == "alive" && !w.server.Connected(g.Name, n.Name) {
				is = "dead"
				s.Warnings = append(s.Warnings, fmt.Sprintf("node %s is not connected to this witness: it cannot claim until it is", n.Name))
			}
		}
		s.Peers = append(s.Peers, state.Peer{Name: n.Name, Address: n.Address.String(), State: is})
	}
	for _, v := range w.cfg.Services {
		s.Services = append(s.Services, state.Service{Name: v.Name, Advertised: v.Advertised.String(), Nodes: v.Nodes, Role: "witness",
			Epoch: uint64(w.server.Grant(v.Group()).Epoch)})
	}
	return s
}

// The witness decides by its connections; gossip only lets it be one of the cluster.

func (w *witnessNode) Alive(name string, _ membership.Meta) {
	w.log.Debug("gossip", "peer", name, "alive", true)
}
func (w *witnessNode) Dead(name string)                       { w.log.Debug("gossip", "peer", name, "alive", false) }
func (w *witnessNode) Updated(name string, _ membership.Meta) {}
func (w *witnessNode) Told(string, membership.Meta)           {}
func (w *witnessNode) Heard(string, time.Duration)            {}
func (w *witnessNode) Leaving(string)                         {}

// grantFile keeps what was granted across crashes of the host: the line "ftgw-grants-1", then
// for each group its name, the epoch, the floor, the process and the node.
type grantFile struct{ path string }

const (
	grantsFormat = "ftgw-grants-1\n"
	grantFormat  = "%q %d %d %x %q\n"
)

// open returns the grants by group; none where there is no file yet.
func (f *grantFile) open(path string) (map[string]takeover.Grant, error) {
	f.path = path
	if err := reserveFile(path, grantsFormat); err != nil {
		return nil, err
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the grants: %w", err)
	}
	grants, err := parseGrants(string(text))
	if err != nil {
		return nil, fmt.Errorf("read the grants in %s: %w (restore the file; or remove it while its nodes are in duplex)", path, err)
	}
	return grants, nil
}

func parseGrants(text string) (map[string]takeover.Grant, error) {
	lines, ok := strings.CutPrefix(text, grantsFormat)
	if !ok {
		return nil, fmt.Errorf("does not begin with %q", grantsFormat)
	}
	grants := map[string]takeover.Grant{}
	for line := range strings.Lines(lines) {
		var g takeover.Grant
		var group string
		var boot []byte
		if _, err := fmt.Sscanf(line, grantFormat, &group, &g.Epoch, &g.Floor, &boot, &g.Node); err != nil {
			return nil, fmt.Errorf("line %q: %w", line, err)
		}
		if len(boot) != len(g.Boot) {
			return nil, fmt.Errorf("line %q: process of %d bytes", line, len(boot))
		}
		g.Boot = takeover.Boot(boot)
		grants[group] = g
	}
	return grants, nil
}

// write puts the grants on disk before it returns.
func (f *grantFile) write(grants map[string]takeover.Grant) error {
	var b strings.Builder
	b.WriteString(grantsFormat)
	for _, group := range slices.Sorted(maps.Keys(grants)) {
		g := grants[group]
		fmt.Fprintf(&b, grantFormat, group, g.Epoch, g.Floor, g.Boot[:], g.Node)
	}
	return replaceFile(f.path, b.String())
}
