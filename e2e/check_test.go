package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/ftgw/ftgw/internal/lab"
	"github.com/ftgw/ftgw/internal/lab/labtest"
)

// Check asks the other nodes: one that is not there yet is no mistake, one that would never be a
// pair with this one is.
func TestCheckAsksTheOthers(t *testing.T) {
	x := prepare(t, lab.Options{}, lab.Config{})
	x.check(nil, 0, "no mistakes", "node b: ", "ftgw does not run there")
	x.node(x.B)
	x.until("b runs", 10*time.Second, func() bool { return x.service(x.B).Role != "" })
	x.check(nil, 0, "no mistakes", "node b: answers")
	x.check(replaced("[[service]]", "[timing]\nlease = \"200ms\"\n[[service]]"), 1, "the peer has another config")
	x.check(replaced("[[service]]", "[[service]]\nidle_timeout = \"9s\""), 0, "node b: answers, and runs with other settings", "ftgw reload")
	x.check(secret(strings.Repeat("another!", 8), 0o600), 1, "node b: ", "secret")
	x.check(secret(strings.Repeat("another!", 8), 0o644), 78, "chmod")
	if b := x.service(x.B); b.Role != "joining" && b.Role != "sole" {
		t.Errorf("b is %s after it was asked", b.Role)
	}
}

// finding is one of ftgw check --json.
type finding struct{ Check, Level, What, Remedy string }

// checkReport is what ftgw check --json prints.
type checkReport struct {
	Node, Config, Digest, Level string
	Findings                    []finding
}

// inspect runs ftgw check --json on a host and returns its report.
func (x *cluster) inspect(h *lab.Host, code int) (r checkReport) {
	x.Helper()
	text := x.ftgw(h, code, []string{"check", "--json"})
	if err := json.NewDecoder(strings.NewReader(text)).Decode(&r); err != nil {
		x.Fatalf("ftgw check --json: %v:\n%s", err, text)
	}
	return r
}

// of returns the findings of a check, of the given level if that is not empty.
func (r checkReport) of(check, level string) (all []finding) {
	for _, f := range r.Findings {
		if f.Check == check && (level == "" || f.Level == level) {
			all = append(all, f)
		}
	}
	return all
}

// Before the nodes run and while they do, check finds nothing wrong with a host that is as it should
// be, on a witness too, and no node notices that it looked.
func TestCheckOfARunningPair(t *testing.T) {
	x := prepare(t, lab.Options{}, lab.Config{Witness: true})
	before := traces(x)
	r := x.inspect(x.A, 0)
	if len(r.of("peer", "warning")) != 2 || r.Level != "warning" || len(r.of("daemon", "ok")) != 1 {
		t.Errorf("before anything runs: %+v", r)
	}
	for _, check := range []string{"config", "secret", "privileges", "kernel", "interface", "lro", "sysctl", "address", "gateway", "port", "state_dir", "upstream", "firewall"} {
		if len(r.of(check, "ok")) == 0 || len(r.of(check, "ok")) != len(r.of(check, "")) {
			t.Errorf("%s: %+v", check, r.of(check, ""))
		}
	}
	if after := traces(x); after != before {
		t.Errorf("before %s\nafter %s", before, after)
	}
	x.node(x.Witness)
	x.node(x.A)
	x.node(x.B)
	x.duplex()
	epoch := x.service(x.B).Epoch
	w := x.watch()
	wait := x.busy()
	for _, h := range []*lab.Host{x.A, x.B, x.Witness} {
		if r := x.inspect(h, 0); r.Level != "ok" || len(r.of("daemon", "ok")) != 1 || len(r.of("peer", "ok")) != 2 {
			t.Errorf("on %s: %+v", h.Name, r)
		}
	}
	owned := x.inspect(x.A, 0).of("address", "ok")
	if len(owned) != 1 || !strings.Contains(owned[0].What, "by node b, as its owner") {
		t.Errorf("on a, where b owns the address: %+v", owned)
	}
	wait()
	x.whole()
	w.voices(0)
	for _, h := range []*lab.Host{x.A, x.B} {
		if st := x.status(h); st.Rules.Restored != 0 || x.service(h).Epoch != epoch || strings.Contains(x.nodes[h].Log(), "another station") {
			t.Errorf("%s noticed: %+v\n%s", h.Name, st, x.nodes[h].Log())
		}
	}
	// A file that was changed under a running ftgw, in what a reload takes, and in what needs a restart.
	text, err := os.ReadFile(x.A.ConfigPath())
	x.must(err)
	for _, c := range []struct {
		keys  string
		code  int
		level string // of both peers
	}{{"[[service]]\nidle_timeout = \"9s\"", 0, "warning"}, {"[timing]\nlease = \"200ms\"\n[[service]]", 1, "fail"}} {
		x.must(os.WriteFile(x.A.ConfigPath(), []byte(replaced("[[service]]", c.keys)(t, x, string(text))), 0o600))
		if r := x.inspect(x.A, c.code); len(r.of("daemon", "warning")) != 1 || len(r.of("peer", c.level)) != 2 {
			t.Errorf("with another config: %+v", r)
		}
	}
}

// What is wrong with a host, its network or its firewall is found, with a remedy.
func TestCheckFindsTroubles(t *testing.T) {
	x := prepare(t, lab.Options{}, lab.Config{})
	x.node(x.B)
	x.until("b runs", 10*time.Second, func() bool { return x.service(x.B).Role != "" })
	sysctl := func(key, bad, good string) (do, undo func() error) {
		return func() error { return x.A.Sysctl(key, bad) }, func() error { return x.A.Sysctl(key, good) }
	}
	mtu := func(to int) func() error {
		return func() error { return withLink(x.A, func(l netlink.Link) error { return netlink.LinkSetMTU(l, to) }) }
	}
	address := func(h *lab.Host, change func(netlink.Link, *netlink.Addr) error) func() error {
		return func() error {
			a, err := netlink.ParseAddr(lab.AdvertisedIP + "/24")
			if err != nil {
				return err
			}
			return withLink(h, func(l netlink.Link) error { return change(l, a) })
		}
	}
	firewall := func(rules string) (do, undo func() error) {
		return func() error { return nft(t, x.A, rules) }, func() error { return nft(t, x.A, "flush ruleset") }
	}
	type trouble struct {
		name, check, level, says, remedy string
		do, undo                         func() error
	}
	troubles := []trouble{
		{"a stranger has the address", "address", "fail", "192.0.2.100 is in use by a stranger, " + x.Witness.MAC().String(), "advertise another address",
			address(x.Witness, netlink.AddrAdd), address(x.Witness, netlink.AddrDel)},
		{"its own interface has the address", "address", "fail", "192.0.2.100 is on interface eth0", "ip addr del", address(x.A, netlink.AddrAdd), address(x.A, netlink.AddrDel)},
		{"another MTU", "alike", "fail", "the interface's MTU is 1400 here and 1500 there", "set both alike", mtu(1400), mtu(1500)},
	}
	add := func(name, check, level, says, remedy string, do, undo func() error) {
		troubles = append(troubles, trouble{name, check, level, says, remedy, do, undo})
	}
	with := func(name, check, level, says, remedy string) func(do, undo func() error) {
		return func(do, undo func() error) { add(name, check, level, says, remedy, do, undo) }
	}
	with("other sysctls", "alike", "fail", "net.ipv4.tcp_sack is 0 here and 1 there", "set both alike")(sysctl("net/ipv4/tcp_sack", "0", "1"))
	with("SACK is off", "sysctl", "warning", "net.ipv4.tcp_sack is 0", "sysctl -w net.ipv4.tcp_sack=1")(sysctl("net/ipv4/tcp_sack", "0", "1"))
	with("cookies always", "sysctl", "fail", "net.ipv4.tcp_syncookies is 2", "tcp_syncookies=1")(sysctl("net/ipv4/tcp_syncookies", "2", "1"))
	with("ARP answers that no interface can stop", "sysctl", "fail", "net.ipv4.conf.all.arp_ignore is 5", "net.ipv4.conf.all.arp_ignore=0")(sysctl("net/ipv4/conf/all/arp_ignore", "5", "0"))
	const chain = "table inet filter {\nchain input {\ntype filter hook input priority 0; "
	with("untracked is dropped", "firewall", "fail", "a rule of chain inet filter input drops clients' segments to 192.0.2.100:80, which ftgw takes out", "nft insert rule inet filter input ip daddr 192.0.2.100 tcp dport 80 accept")(
		firewall(chain + "ct state invalid,untracked drop\n}\n}\n"))
	with("a closed input", "firewall", "fail", "the policy of chain inet filter input drops sessions (tcp port 7950) from node b", "ip saddr 192.0.2.12 tcp dport 7950 accept")(
		firewall(chain + "policy drop; ct state established,related accept; ip daddr 192.0.2.100 accept\n}\n}\n"))
	for _, c := range troubles {
		t.Run(c.name, func(t *testing.T) {
			x := &cluster{T: t, Lab: x.Lab}
			x.must(c.do())
			code := 0
			if c.level == "fail" || c.says == "net.ipv4.tcp_sack is 0" { // the hosts differ, too
				code = 1
			}
			r := x.inspect(x.A, code)
			x.must(c.undo())
			for _, f := range r.of(c.check, c.level) {
				if strings.Contains(f.What, c.says) && strings.Contains(f.Remedy, c.remedy) {
					return
				}
			}
			t.Errorf("no %s of %s that says %q and %q: %+v", c.level, c.check, c.says, c.remedy, r.Findings)
		})
	}
	if r := x.inspect(x.A, 0); r.Level != "ok" {
		t.Errorf("all is right again: %+v", r)
	}
}

func withLink(h *lab.Host, do func(netlink.Link) error) error {
	return h.Do(func() error {
		l, err := netlink.LinkByName(h.Interface())
		if err != nil {
			return err
		}
		return do(l)
	})
}

// nft puts a text in force on a host.
func nft(t *testing.T, h *lab.Host, text string) error {
	path, err := exec.LookPath("nft")
	if err != nil {
		path = "/usr/sbin/nft"
		if _, err := os.Stat(path); err != nil {
			labtest.Missing(t, "nft is not installed (apt-get install nftables)")
		}
	}
	return h.Do(func() error {
		c := exec.Command(path, "-f", "-")
		c.Stdin = strings.NewReader(text)
		if out, err := c.CombinedOutput(); err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
}

// check runs ftgw check on host a with a changed config file.
func (x *cluster) check(change func(*testing.T, *cluster, string) string, code int, says ...string) {
	x.Helper()
	text, err := os.ReadFile(x.A.ConfigPath())
	x.must(err)
	path := x.A.ConfigPath() + ".check"
	if change != nil {
		text = []byte(change(x.T, x, string(text)))
	}
	x.must(os.WriteFile(path, text, 0o600))
	p, err := x.A.Start("check", program, "check", "--config", path, "--name", "a")
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
		x.Errorf("check exits with %d, want %d:\n%s", got, code, p.Log())
	}
	for _, s := range says {
		if !strings.Contains(p.Log(), s) {
			x.Errorf("check does not say %q:\n%s", s, p.Log())
		}
	}
}
