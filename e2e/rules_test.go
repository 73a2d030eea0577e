package e2e

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"

	"github.com/ftgw/ftgw/internal/lab"
)

// Whatever somebody takes of what keeps a host silent is put back, once each, said and counted;
// the clients see pauses and one voice.
func TestRulesAreMeddledWith(t *testing.T) {
	x := start(t, lab.Options{}, lab.Config{})
	w := x.watch()
	wait := x.busy()
	restored := map[*lab.Host]uint64{}
	for _, m := range []struct {
		do   func(*lab.Host) error
		says string
	}{
		{func(h *lab.Host) error { flush(t, h); return nil }, "table inet ftgw was gone"},
		{deleteChain, "chain postrouting of table inet ftgw"},
		{deleteRoutingRules, "without ftgw's mark"},
		{deleteAddress, "192.0.2.100 was gone from lo"},
		{answerARP, "arp_ignore was 0"},
	} {
		for _, h := range []*lab.Host{x.A, x.B} {
			x.must(m.do(h))
			x.until(m.says, 10*time.Second, func() bool {
				st := x.status(h)
				return st.Rules.Restored > restored[h] && strings.Contains(st.Rules.Last, m.says)
			})
			restored[h] = x.status(h).Rules.Restored
		}
	}
	wait()
	x.whole()
	x.executions()
	w.voices(0)
	x.duplex()
	for _, h := range []*lab.Host{x.A, x.B} {
		// The two routing rules go one after the other, so that may be seen as two.
		st := x.status(h)
		if n := st.Rules.Restored; n < 5 || n > 6 || st.Rules.Problem != "" {
			t.Errorf("%s: %+v", h.Name, st.Rules)
		}
		if n := strings.Count(x.nodes[h].Log(), "somebody removed or changed the rules"); n != int(st.Rules.Restored) {
			t.Errorf("%s logged %d lines, want one for each of %d", h.Name, n, st.Rules.Restored)
		}
	}
}

// The rules can be printed, put in force before the daemon and taken away after it, and each may
// be repeated; a running daemon is left alone.
func TestRulesCommand(t *testing.T) {
	x := prepare(t, lab.Options{}, lab.Config{Witness: true})
	before := traces(x)
	x.ftgw(x.A, 0, []string{"rules"}, "table inet ftgw {", `device "eth0"`, "queue to ", "from 192.0.2.100 fwmark", "Rules of node a")
	x.ftgw(x.Witness, 0, []string{"rules", "--install"}, "a witness: it has no rules")
	x.ftgw(x.A, 64, []string{"rules", "--install", "--remove"}, "exclude each other")
	x.ftgw(x.A, 64, []string{"rules", "--install", "--force"}, "--force goes with --remove")
	x.ftgw(x.A, 0, []string{"rules", "--remove"}, "no rules were in force")
	if after := traces(x); after != before {
		t.Errorf("before %s\nafter %s", before, after)
	}
	x.ftgw(x.A, 0, []string{"rules", "--install"}, "the rules are in force; the addresses stay silent")
	x.ftgw(x.A, 0, []string{"rules", "--install"}, "in force already")
	x.node(x.Witness)
	x.node(x.A)
	x.node(x.B)
	x.duplex()
	x.ftgw(x.A, 0, []string{"rules", "--install"}, "nothing changed", "keeps its rules")
	x.ftgw(x.A, 1, []string{"rules", "--remove"}, "ftgw runs", "stop it first")
	x.must(x.nodes[x.A].Kill())
	<-x.nodes[x.A].Done()
	x.ftgw(x.A, 0, []string{"rules", "--install"}, "the rules are in force") // without the peer's Ethernet address
	x.ftgw(x.A, 0, []string{"rules", "--remove"}, "the rules are removed")
	x.ftgw(x.A, 0, []string{"rules", "--remove"}, "no rules were in force")
	if after := traces(x); after != before {
		t.Errorf("before %s\nafter %s", before, after)
	}
	x.node(x.A)
	x.duplex()
}

// ftgw runs a command of the program on a host, with its config file, and returns what it says.
func (x *cluster) ftgw(h *lab.Host, code int, args []string, says ...string) string {
	x.Helper()
	p, err := h.Start("command", append(append([]string{program}, args...), "--config", h.ConfigPath(), "--name", h.Name)...)
	x.must(err)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	got, failed := 0, new(exec.ExitError)
	if err := p.Wait(ctx); errors.As(err, &failed) {
		got = failed.ExitCode()
	} else if err != nil {
		x.Fatal(err)
	}
	if got != code {
		x.Errorf("%v exits with %d, want %d:\n%s", args, got, code, p.Log())
	}
	for _, s := range says {
		if !strings.Contains(p.Log(), s) {
			x.Errorf("%v does not say %q:\n%s", args, s, p.Log())
		}
	}
	return p.Log()
}

// status returns what a node says of itself; zero while it does not answer.
func (x *cluster) status(h *lab.Host) lab.Status {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	st, _ := h.Status(ctx)
	return st
}

func deleteChain(h *lab.Host) error {
	return h.Do(func() error {
		c, err := nftables.New()
		if err != nil {
			return err
		}
		chain := &nftables.Chain{Name: "postrouting", Table: &nftables.Table{Name: "ftgw", Family: nftables.TableFamilyINet}}
		c.FlushChain(chain)
		c.DelChain(chain)
		return c.Flush()
	})
}

func deleteRoutingRules(h *lab.Host) error {
	return h.Do(func() error {
		rules, err := netlink.RuleList(netlink.FAMILY_V4)
		for _, r := range rules {
			if r.Src != nil && err == nil {
				err = netlink.RuleDel(&r)
			}
		}
		return err
	})
}

func deleteAddress(h *lab.Host) error {
	return h.Do(func() error {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		a, err := netlink.ParseAddr(lab.AdvertisedIP + "/32")
		if err != nil {
			return err
		}
		return netlink.AddrDel(lo, a)
	})
}

func answerARP(h *lab.Host) error {
	return h.Do(func() error { return os.WriteFile("/proc/sys/net/ipv4/conf/eth0/arp_ignore", []byte("0"), 0) })
}
