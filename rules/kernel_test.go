package rules

import (
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/ftgw/ftgw/internal/lab"
	"github.com/ftgw/ftgw/internal/lab/labtest"
	"github.com/google/go-cmp/cmp"
	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func in(t *testing.T, ns *lab.NS, f func() error) {
	t.Helper()
	if err := ns.Do(f); err != nil {
		t.Fatal(err)
	}
}

// listing is the rules of all tables of the name as the kernel has them, handles included.
func listing(t *testing.T, ns *lab.NS, table string) (rules []*nftables.Rule) {
	t.Helper()
	in(t, ns, func() error {
		conn, err := nftables.New()
		if err != nil {
			return err
		}
		chains, err := conn.ListChains()
		for _, c := range chains {
			if c.Table.Name != table {
				continue
			}
			r, err := conn.GetRules(c.Table, c)
			if err != nil {
				return err
			}
			rules = append(rules, r...)
		}
		return err
	})
	return rules
}

func install(t *testing.T, ns *lab.NS, spec Spec) *Bundle {
	t.Helper()
	var b *Bundle
	in(t, ns, func() (err error) {
		b, err = Install(spec)
		return err
	})
	t.Cleanup(func() { b.Close() })
	return b
}

func wantPresent(t *testing.T, b *Bundle, want bool) {
	t.Helper()
	got, err := b.Present()
	if err != nil || got != want {
		t.Errorf("Present: %v, %v, want %v", got, err, want)
	}
}

func TestInstallTwice(t *testing.T) {
	labtest.Require(t)
	ns := labtest.NS(t, "host")
	b := install(t, ns, onInterface())
	wantPresent(t, b, true)
	first := listing(t, ns, "ftgw")
	again := install(t, ns, onInterface())
	if diff := cmp.Diff(first, listing(t, ns, "ftgw")); diff != "" {
		t.Errorf("the second Install changed the table:\n%s", diff)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if len(first) == 0 || len(listing(t, ns, "ftgw")) != len(first) {
		t.Error("the table did not outlive its bundle")
	}
	other := testSpec()
	replaced := install(t, ns, other)
	wantPresent(t, replaced, true)
	wantPresent(t, again, false)
	for range 2 {
		if err := replaced.Remove(); err != nil {
			t.Error(err)
		}
	}
	wantPresent(t, replaced, false)
	if err := replaced.Renew(other.Services[0].Advertised.Addr()); err == nil {
		t.Error("Renew without a table is no error")
	}
}

func TestPresentSeesChanges(t *testing.T) {
	labtest.Require(t)
	for name, change := range map[string]func(*nftables.Conn, *nftables.Table){
		"flush ruleset": func(c *nftables.Conn, _ *nftables.Table) { c.FlushRuleset() },
		"flush chain": func(c *nftables.Conn, t *nftables.Table) {
			c.FlushChain(&nftables.Chain{Table: t, Name: "postrouting"})
		},
		"flush table": func(c *nftables.Conn, t *nftables.Table) { c.FlushTable(t) },
		"dormant":     func(c *nftables.Conn, t *nftables.Table) { t.Flags = nftables.TableFlagDormant; c.AddTable(t) },
		"interface's table gone": func(c *nftables.Conn, t *nftables.Table) {
			c.AddTable(&nftables.Table{Name: t.Name, Family: nftables.TableFamilyNetdev})
			c.DelTable(&nftables.Table{Name: t.Name, Family: nftables.TableFamilyNetdev})
		},
		"rule deleted": func(c *nftables.Conn, t *nftables.Table) {
			chain := &nftables.Chain{Table: t, Name: "postrouting"}
			rules, err := c.GetRules(t, chain)
			if err != nil || len(rules) == 0 {
				panic("no rule to delete")
			}
			c.DelRule(rules[0])
		},
		"chain deleted": func(c *nftables.Conn, t *nftables.Table) {
			c.DelChain(&nftables.Chain{Table: t, Name: "postrouting"})
		},
		"chain added": func(c *nftables.Conn, t *nftables.Table) {
			c.AddChain(&nftables.Chain{Table: t, Name: "more"})
		},
		"policy": func(c *nftables.Conn, t *nftables.Table) {
			drop := nftables.ChainPolicyDrop
			c.AddChain(&nftables.Chain{Table: t, Name: "output", Hooknum: nftables.ChainHookOutput,
				Priority: nftables.ChainPriorityRaw, Type: nftables.ChainTypeFilter, Policy: &drop})
		},
		"set added": func(c *nftables.Conn, t *nftables.Table) {
			if err := c.AddSet(&nftables.Set{Table: t, Name: "more", KeyType: nftables.TypeIPAddr}, nil); err != nil {
				panic(err)
			}
		},
		"lease for a day": func(c *nftables.Conn, t *nftables.Table) {
			set := &nftables.Set{Table: t, Name: "lease4", KeyType: nftables.TypeIPAddr, HasTimeout: true}
			if err := c.SetAddElements(set, []nftables.SetElement{{Key: []byte{192, 0, 2, 100}, Timeout: 24 * time.Hour}}); err != nil {
				panic(err)
			}
		},
		"rule inserted": func(c *nftables.Conn, t *nftables.Table) {
			c.InsertRule(&nftables.Rule{Table: t, Chain: &nftables.Chain{Table: t, Name: "output"},
				Exprs: []expr.Any{&expr.Verdict{Kind: expr.VerdictAccept}}})
		},
	} {
		t.Run(name, func(t *testing.T) {
			ns := labtest.NS(t, "host")
			b := install(t, ns, onInterface())
			wantPresent(t, b, true)
			want := len(listing(t, ns, "ftgw"))
			in(t, ns, func() error {
				conn, err := nftables.New()
				if err != nil {
					return err
				}
				change(conn, &nftables.Table{Name: "ftgw", Family: nftables.TableFamilyINet})
				return conn.Flush()
			})
			wantPresent(t, b, false)
			found, err := b.Restore()
			if err != nil || found == "" {
				t.Errorf("Restore found %q, %v", found, err)
			}
			t.Log(found)
			if found, err := b.Restore(); found != "" || err != nil {
				t.Errorf("a second Restore found %q, %v", found, err)
			}
			if left := listing(t, ns, "ftgw"); len(left) != want {
				t.Errorf("%d rules, want %d", len(left), want)
			}
		})
	}
}

func TestUpdatePeerMAC(t *testing.T) {
	labtest.Require(t)
	ns := labtest.NS(t, "host")
	spec := twoLists()
	spec.MACs = nil
	b := install(t, ns, spec)
	update := func(peer netip.Addr, mac net.HardwareAddr) {
		t.Helper()
		if err := b.UpdatePeerMAC(peer, mac); err != nil {
			t.Fatal(err)
		}
		wantPresent(t, b, true)
	}
	same := func(spec Spec) {
		t.Helper()
		before := listing(t, ns, "ftgw")
		install(t, ns, spec) // with the MACs known from the start
		if diff := cmp.Diff(before, listing(t, ns, "ftgw")); diff != "" {
			t.Errorf("the updated table differs from one installed so:\n%s", diff)
		}
	}
	same(spec)
	want := twoLists()
	update(peerC, want.MACs[peerC])
	one := want
	one.MACs = map[netip.Addr]net.HardwareAddr{peerC: want.MACs[peerC]}
	same(one)
	update(peerB, want.MACs[peerB])
	update(netip.MustParseAddr("192.0.2.13"), net.HardwareAddr{2, 0, 0, 0, 0, 13}) // nobody's peer
	same(want)
	if err := b.UpdatePeerMAC(peerB, net.HardwareAddr{1}); err == nil {
		t.Error("a MAC of one byte is no error")
	}
	update(peerB, nil)
	update(peerC, nil)
	same(spec)
}

func TestProbeLeavesNothing(t *testing.T) {
	labtest.Require(t)
	ns := labtest.NS(t, "host")
	in(t, ns, func() error {
		kernel, err := Probe()
		t.Logf("%+v", kernel)
		if err != nil {
			return err
		}
		for _, spec := range []Spec{onInterface(), twoLists()} {
			if err := Try(spec, kernel); err != nil {
				return err
			}
		}
		if err := Try(onInterface(), Kernel{Queue: !kernel.Queue, Egress: kernel.Egress}); err == nil && !kernel.Queue {
			t.Error("rules that the kernel does not take are no error")
		}
		conn, err := nftables.New()
		if err != nil {
			return err
		}
		tables, err := conn.ListTables()
		if len(tables) != 0 {
			t.Errorf("tables left: %v", tables)
		}
		return err
	})
}

func TestFenceTwiceAndAway(t *testing.T) {
	labtest.Require(t)
	ns := labtest.NS(t, "host")
	spec := twoFamilies()
	count := func() (rules, routes int) {
		for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
			r, err := ourRules(family)
			if err != nil {
				t.Error(err)
			}
			rt, err := netlink.RouteListFiltered(family, &netlink.Route{Table: fenceTable}, netlink.RT_FILTER_TABLE)
			if err != nil {
				t.Error(err)
			}
			rules, routes = rules+len(r), routes+len(rt)
		}
		return rules, routes
	}
	in(t, ns, func() error {
		for range 2 {
			if err := InstallFence(spec); err != nil {
				return err
			}
			if rules, routes := count(); rules != 6 || routes != 4 {
				t.Errorf("%d rules and %d routes, want 6 and 4", rules, routes)
			}
		}
		other := spec
		other.MarkSend = 0x77
		if err := InstallFence(other); err != nil {
			return err
		}
		if rules, routes := count(); rules != 6 || routes != 4 {
			t.Errorf("another mark: %d rules and %d routes, want 6 and 4", rules, routes)
		}
		for range 2 {
			if err := RemoveFence(spec); err != nil {
				return err
			}
		}
		if rules, routes := count(); rules != 0 || routes != 0 {
			t.Errorf("after RemoveFence: %d rules and %d routes", rules, routes)
		}
		if _, err := netlink.LinkByName(DeadDevice); err == nil {
			t.Error("the dead device is left")
		}
		return nil
	})
}

// The second table goes with the interface that is configured, and away with the first.
func TestEgressTable(t *testing.T) {
	labtest.Require(t)
	ns := labtest.NS(t, "host")
	in(t, ns, func() error { return netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "other"}}) })
	first := install(t, ns, onInterface())
	if !first.Egress() {
		labtest.Missing(t, "the kernel has no egress hook (it needs 5.16 and CONFIG_NETFILTER_EGRESS)")
	}
	elsewhere := onInterface()
	elsewhere.Interface = "other"
	second := install(t, ns, elsewhere)
	wantPresent(t, first, false)
	wantPresent(t, second, true)
	third := install(t, ns, twoFamilies())
	wantPresent(t, second, false)
	wantPresent(t, third, true)
	if third.Egress() {
		t.Error("a check at no interface")
	}
	if err := install(t, ns, onInterface()).Remove(); err != nil {
		t.Error(err)
	}
	if left := listing(t, ns, "ftgw"); len(left) != 0 {
		t.Errorf("%d rules left after Remove", len(left))
	}
	elsewhere.Interface = "absent"
	in(t, ns, func() error {
		if _, err := Install(elsewhere); err == nil || !strings.Contains(err.Error(), "absent") {
			t.Errorf("Install on an interface that is not there: %v", err)
		}
		return nil
	})
}
