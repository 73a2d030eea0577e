package e2e

import (
	"context"
	"os"
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
	for i, m := range []struct {
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
			x.until(m.says, 5*time.Second, func() bool {
				st := x.status(h)
				return st.Rules.Restored == uint64(i+1) && strings.Contains(st.Rules.Last, m.says)
			})
		}
	}
	wait()
	x.whole()
	x.executions()
	w.voices(0)
	x.duplex()
	for _, h := range []*lab.Host{x.A, x.B} {
		if st := x.status(h); st.Rules.Restored != 5 || st.Rules.Problem != "" {
			t.Errorf("%s: %+v", h.Name, st.Rules)
		}
		if n := strings.Count(x.nodes[h].Log(), "somebody removed or changed the rules"); n != 5 {
			t.Errorf("%s logged %d lines, want one for each of 5", h.Name, n)
		}
	}
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
