package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ftgw/ftgw/config"
	"github.com/ftgw/ftgw/replication"
	"github.com/ftgw/ftgw/replication/link"
	"github.com/ftgw/ftgw/takeover"
)

// layout is a host in two groups: web-b is first in one of three and second in one of two.
const layout = `node = [{name = "web-a", address = "192.0.2.11"}, {name = "web-b", address = "192.0.2.12"},
  {name = "web-c", address = "192.0.2.14"}, {name = "web-d", address = "192.0.2.15"}]
[[service]]
name = "other"
advertised = "192.0.2.103:80"
nodes = ["web-c", "web-d"]
upstream = "127.0.0.1:8080"
forward = 20083
[[service]]
name = "shop"
advertised = "192.0.2.100:80"
nodes = ["web-a", "web-b"]
upstream = "127.0.0.1:8080"
[[service]]
name = "news"
advertised = "192.0.2.101:80"
nodes = ["web-b", "web-c", "web-a"]
upstream = "127.0.0.1:8080"
forward = 20081
[[service]]
name = "shop-tls"
advertised = "192.0.2.100:443"
nodes = ["web-a", "web-b"]
upstream = "127.0.0.1:8443"
`

// placed returns a node with its groups and their directors; nothing is open and nothing runs.
func placed(t *testing.T, name string) *node {
	t.Helper()
	cfg, err := config.Parse([]byte(layout), name)
	if err != nil {
		t.Fatal(err)
	}
	n := &node{reloader: reloader{cfg: cfg, log: slog.New(slog.DiscardHandler)}, self: cfg.Self(), started: time.Now(), ctx: t.Context(),
		boot: takeover.Boot{1}, data: newDatapath([]byte("key"), rewriteLimits, slog.New(slog.DiscardHandler))}
	n.present.Store(cfg)
	n.quiet = n.log
	if n.groups, err = placeGroups(n); err != nil {
		t.Fatal(err)
	}
	n.neighbours = newNeighbours(n.groups)
	for _, g := range n.groups {
		if err := g.buildDirector(); err != nil {
			t.Fatal(err)
		}
		for i := range g.nodes {
			if i != g.index {
				g.links[i] = g.newLink(i, replication.Keys{})
			}
		}
	}
	return n
}

// A host has a group for each list of nodes that names it, in the order of their names, and each
// other node of any of them once as neighbour.
func TestPlaceGroups(t *testing.T) {
	n := placed(t, "web-b")
	var got []string
	for _, g := range n.groups {
		got = append(got, fmt.Sprintf("%d %s: %d of %d, peer %s, serves %s at %v", g.ordinal, g.name, g.index, len(g.nodes),
			g.nodes[g.target()].Name, g.names(), g.addresses()))
	}
	for _, p := range n.neighbours.list {
		got = append(got, p.name)
	}
	want := []string{
		"0 web-a,web-b: 1 of 2, peer web-a, serves shop, shop-tls at [192.0.2.100]",
		"1 web-b,web-c,web-a: 0 of 3, peer web-c, serves news at [192.0.2.101]",
		"web-a", "web-c",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for _, g := range n.groups {
		for _, a := range g.addresses() {
			if n.groupOf(a) != g {
				t.Errorf("%v is not in %s", a, g.name)
			}
		}
	}
	if n.groupOf(netip.MustParseAddr("192.0.2.103")) != nil {
		t.Error("an address of other nodes is in a group of this one")
	}
}

// An operator names a service; without a name there must be one group.
func TestGroupFor(t *testing.T) {
	n := placed(t, "web-b")
	for service, want := range map[string]string{"shop": "web-a,web-b", "shop-tls": "web-a,web-b", "news": "web-b,web-c,web-a"} {
		if g, err := n.groupFor(service); err != nil || g.name != want {
			t.Errorf("%s: %v, %v", service, g, err)
		}
	}
	for _, bad := range []string{"", "other"} {
		if _, err := n.groupFor(bad); err == nil || !strings.Contains(err.Error(), "shop, shop-tls, news") {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if g, err := placed(t, "web-d").groupFor(""); err != nil || g.name != "web-c,web-d" {
		t.Errorf("the only group: %v, %v", g, err)
	}
}

// Only the present peer is told that it is chosen. When another one is, the present link, the
// clones and what is told change.
func TestChoose(t *testing.T) {
	g := placed(t, "web-b").groups[1]
	told := func(i int) bool { return g.beat(i).Flags&replication.FlagChosen != 0 }
	if !told(1) || told(2) || g.link() != g.links[1] {
		t.Errorf("at first: %v %v", told(1), told(2))
	}
	v := g.services[0]
	if at := g.clonesTo(v); at != netip.MustParseAddrPort("192.0.2.14:20081") {
		t.Errorf("clones go to %v", at)
	}
	st := *g.dir.status.Load()
	st.Target = 2
	g.dir.status.Store(&st)
	g.Choose(2)
	if told(1) || !told(2) || g.link() != g.links[2] {
		t.Errorf("then: %v %v", told(1), told(2))
	}
	if at := g.clonesTo(v); at != netip.MustParseAddrPort("192.0.2.11:20081") {
		t.Errorf("clones go to %v", at)
	}
	err := g.links[1].Store(t.Context(), replication.Record{}, bytes.NewReader(nil))
	if !errors.Is(err, link.ErrAbandoned) {
		t.Errorf("the former peer is still given records: %v", err)
	}
	old := &session{g: g, from: 1}
	if _, err := old.OpenRecord(replication.Record{}); err == nil {
		t.Error("a record of the former peer is taken")
	}
}

// An answer for an advertised address tells by its Ethernet address whose daemon lives.
func TestSender(t *testing.T) {
	n := placed(t, "web-b")
	g := n.groups[1]
	one, two := net.HardwareAddr{2, 0, 0, 0, 0, 1}, net.HardwareAddr{2, 0, 0, 0, 0, 2}
	if i := n.neighbours.sender(g, one); i != 1 {
		t.Errorf("nothing is known: %d", i)
	}
	n.neighbours.at(g.nodes[2].Address).mac = one.String()
	n.neighbours.at(g.nodes[1].Address).mac = two.String()
	for mac, want := range map[string]int{one.String(): 2, two.String(): 1, "02:00:00:00:00:03": -1} {
		m, _ := net.ParseMAC(mac)
		if i := n.neighbours.sender(g, m); i != want {
			t.Errorf("%s: %d, want %d", mac, i, want)
		}
	}
}

// What the operators' commands say reaches the node, and its refusal the operator.
func TestHandOverCommands(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ftgw.sock")
	l, err := listenSocket(path)
	if err != nil {
		t.Fatal(err)
	}
	var heard []string
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- serveSocket(ctx, l, answers{status: designStatus,
			switchover: func(_ context.Context, service string) error {
				heard = append(heard, "switchover "+service)
				if service == "none" {
					return errors.New("name one of them")
				}
				return nil
			},
			drain: func(_ context.Context, force bool, limit time.Duration) error {
				heard = append(heard, fmt.Sprint("drain ", force, " ", limit))
				return nil
			}})
	}()
	defer func() { cancel(); <-done }()
	for _, tt := range []struct {
		args, heard, says string
		code              int
	}{
		{"switchover", "switchover ", "handed over in", 0},
		{"switchover shop", "switchover shop", "shop: web-a is primary", 0},
		{"switchover none", "switchover none", "name one of them", exitFailed},
		{"switchover shop news", "", `takes no "news"`, exitUsage},
		{"switchover --timeout 0s", "", "--timeout must be more than 0", exitUsage},
		{"drain --timeout -3s", "", "--timeout must be more than 0", exitUsage},
		{"drain", "drain false 1m0s", "drained in", 0},
		{"drain --force --timeout 3s", "drain true 3s", "drained in", 0},
	} {
		heard = nil
		var out bytes.Buffer
		code := execute(t.Context(), append(strings.Fields(tt.args), "--socket", path), &out, &out)
		if code != tt.code || strings.Join(heard, ",") != tt.heard || !strings.Contains(out.String(), tt.says) {
			t.Errorf("%s: code %d, the node heard %q:\n%s", tt.args, code, heard, &out)
		}
	}
}

// The ledger names who was the peer when an exchange began.
func TestHistory(t *testing.T) {
	var h history
	begin := time.Unix(1_000_000, 0)
	for i := range mostPeers + 10 {
		h.add(begin.Add(time.Duration(i)*time.Minute), i)
	}
	for minutes, want := range map[float64]int{-1: 10, 3: 10, 10: 10, 20: 20, 20.5: 20, mostPeers + 9: mostPeers + 9, 1e6: mostPeers + 9} {
		if got := h.at(begin.Add(time.Duration(minutes * float64(time.Minute)))); got != want {
			t.Errorf("after %v minutes: %d, want %d", minutes, got, want)
		}
	}
}

// A node that another one has fenced meanwhile has nothing left to hand over: it neither waits for
// the end nor says that all went well.
func TestFencedWhileItHandsOver(t *testing.T) {
	const longest = 5 * time.Second
	for _, role := range []takeover.Role{takeover.Fenced, takeover.Joining} {
		for _, left := range []int{0, 1} {
			g := placed(t, "web-b").groups[0]
			g.dir.status.Store(&takeover.Status{View: takeover.View{Role: role}})
			ctx, cancel := context.WithTimeout(t.Context(), longest)
			if err := g.await(ctx, "the peer to take over", func() int { return left }, func() {}); !errors.Is(err, errFenced) {
				t.Errorf("%v, %d left: %v", role, left, err)
			}
			cancel()
		}
	}
}
