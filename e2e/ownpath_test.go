package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/ftgw/ftgw/internal/lab"
)

// Two hosts with a cable of their own replicate by it (paper 004's duplex-mi). When it is pulled,
// the hosts' network stands in, and no client notices more than a pause.
func TestReplicationNetwork(t *testing.T) {
	x := prepare(t, lab.Options{CongestionControl: "cubic"}, lab.Config{Nodes: map[string]string{
		"a": `replication_address = "203.0.113.11"`, "b": `replication_address = "203.0.113.12"`}})
	const name = "own0"
	x.must(lab.Veth(x.A.NS(), name, x.B.NS(), name))
	link := func(h *lab.Host, f func(netlink.Link) error) {
		x.must(h.Do(func() error {
			l, err := netlink.LinkByName(name)
			if err != nil {
				return err
			}
			return f(l)
		}))
	}
	for h, address := range map[*lab.Host]string{x.A: "203.0.113.11/24", x.B: "203.0.113.12/24"} {
		link(h, func(l netlink.Link) error {
			a, err := netlink.ParseAddr(address)
			if err != nil {
				return err
			}
			return netlink.AddrAdd(l, a)
		})
	}
	x.node(x.A)
	x.node(x.B)
	x.duplex()
	if said := x.nodes[x.A].Log(); !strings.Contains(said, "at=203.0.113.12") {
		t.Errorf("the session does not use the hosts' own network:\n%s", said)
	}
	bytes := func() (n uint64) {
		link(x.A, func(l netlink.Link) error { n = l.Attrs().Statistics.TxBytes; return nil })
		return n
	}
	before := bytes()
	wait := x.use(x.client, "load")
	time.Sleep(700 * time.Millisecond)
	if sent := bytes() - before; sent < 1<<20 {
		t.Errorf("%d bytes went by the hosts' own network", sent)
	}
	link(x.A, netlink.LinkSetDown)
	x.until("the session is back by the other network", 10*time.Second, func() bool {
		return strings.Contains(x.nodes[x.A].Log(), fmt.Sprintf("at=%v", x.B.Addr()))
	})
	x.duplex()
	time.Sleep(300 * time.Millisecond)
	wait()
	x.whole()
	x.executions()
	if a, b := x.service(x.A), x.service(x.B); a.Role != "primary" || b.Role != "backup" || a.LastTakeover != nil || b.LastTakeover != nil {
		t.Errorf("somebody claimed: a %+v, b %+v", a, b)
	}
}
