package inspect

import (
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

var (
	v       = netip.MustParseAddr("192.0.2.100")
	own     = netip.MustParseAddr("192.0.2.11")
	b       = netip.MustParseAddr("192.0.2.12")
	gateway = netip.MustParseAddr("192.0.2.1")
)

// good are the facts of a host that runs in a pair with b, with nothing wrong.
func good() Facts {
	f := Facts{Own: own, Advertised: []netip.Addr{v}, Running: &Running{Socket: "/run/ftgw/ftgw.sock", Asked: true},
		Kernel:   &Kernel{Release: "Linux 6.1", Queue: true, Egress: true},
		Place:    Place{Interface: "eth0", Up: true, MTU: 1500, Subnets: []netip.Prefix{netip.MustParsePrefix("192.0.2.11/24")}, Gateway: gateway},
		Sysctls:  Sysctls{Values: map[string]int{}, Writable: true},
		Stations: &Stations{Answers: map[netip.Addr][]string{b: {"b"}, v: {"b"}, gateway: {"gw"}}},
		Ports:    []Port{{What: "gossip port 192.0.2.11:7946", Key: "gossip_port", Taken: true}},
		Web:      []Web{{Service: "shop", Address: "127.0.0.1:8080"}},
		Peers:    []Peer{{Name: "b", Address: b, Kernel: true}},
		Traffic:  []Traffic{{What: "clients' segments to 192.0.2.100:80", Match: "ip daddr 192.0.2.100 tcp dport 80", Untracked: true}},
	}
	for _, name := range SysctlNames("eth0") {
		f.Sysctls.Values[name] = 1
	}
	f.Sysctls.Values[OfInterface("eth0", "arp_announce")], f.Sysctls.Values[OfInterface("eth0", "rp_filter")] = 2, 2
	return f
}

// idle are the facts of a host where nothing runs yet.
func idle() Facts {
	f := good()
	f.Running, f.Ports[0].Taken = nil, false
	return f
}

func TestJudge(t *testing.T) {
	set := func(name string, value int) func(*Facts) { return func(f *Facts) { f.Sysctls.Values[name] = value } }
	for _, tt := range []struct {
		name   string
		facts  Facts
		change func(*Facts)
		check  Check
		level  Level
		says   string
		remedy string
	}{
		{"good", good(), func(*Facts) {}, Daemon, OK, "with this config", ""},
		{"idle", idle(), func(*Facts) {}, Daemon, OK, "no ftgw runs", ""},
		{"rights", good(), func(f *Facts) { f.Lacks = []string{"NET_ADMIN", "NET_RAW"} }, Privileges, Warning, "lacks NET_ADMIN, NET_RAW", "sudo ftgw check"},
		{"rights of a witness", good(), func(f *Facts) { f.Lacks, f.Witness = []string{"NET_RAW"}, true }, Privileges, OK, "none", ""},
		{"another config", good(), func(f *Facts) { f.Running.Other = true }, Daemon, Warning, "another config", "restart"},
		{"not asked", good(), func(f *Facts) { f.Running.Asked = false }, Daemon, Skipped, "not asked", "sudo"},
		{"kernel unseen", good(), func(f *Facts) { f.Kernel = nil }, KernelHas, Skipped, "NFQUEUE", "sudo"},
		{"kernel without", good(), func(f *Facts) { f.Kernel.Problems = []string{"try: no such file (load nf_tables)"} }, KernelHas, Fail, "try: no such file", "load nf_tables"},
		{"no egress", good(), func(f *Facts) { f.Kernel.Egress = false }, KernelHas, Warning, "no egress hook", "5.16"},
		{"nowhere", good(), func(f *Facts) { f.Place = Place{Problem: "no interface has it (correct address)"} }, Interface, Fail, "no interface", "correct address"},
		{"down", good(), func(f *Facts) { f.Place.Up = false }, Interface, Fail, "eth0 is down", "ip link set eth0 up"},
		{"elsewhere", good(), func(f *Facts) { f.Place.Elsewhere = "it is on eth0 (ip addr del)" }, Address, Fail, "on eth0", "ip addr del"},
		{"another subnet", good(), func(f *Facts) { f.Advertised = []netip.Addr{netip.MustParseAddr("198.51.100.9")} }, Address, Fail, "198.51.100.9 is in no subnet of eth0 (192.0.2.0/24)", "subnet"},
		{"LRO", good(), func(f *Facts) { f.LRO = []string{"eth0"} }, LRO, Fail, "eth0 merges", "ethtool -K eth0 lro off"},
		{"LRO unseen", good(), func(f *Facts) { f.NoLRO = "read: not permitted (see: ethtool)" }, LRO, Skipped, "not permitted", "ethtool"},
		{"SACK", good(), set("net.ipv4.tcp_sack", 0), Sysctl, Warning, "tcp_sack is 0", "tcp_sack=1"},
		{"ECN off", good(), set("net.ipv4.tcp_ecn", 0), Sysctl, OK, "tcp_ecn 0", ""},
		{"cookies", good(), set("net.ipv4.tcp_syncookies", 2), Sysctl, Fail, "tcp_syncookies is 2", "=1"},
		{"missing", good(), func(f *Facts) { delete(f.Sysctls.Values, "net.ipv4.tcp_sack") }, Sysctl, Skipped, "tcp_sack cannot be read", ""},
		{"arp_ignore of all", idle(), set(OfInterface("all", "arp_ignore"), 5), Sysctl, Fail, "conf.all.arp_ignore is 5", "conf.all.arp_ignore=0"},
		{"arp_announce, running", good(), set(OfInterface("eth0", "arp_announce"), 0), Sysctl, Fail, "arp_announce is 0 while ftgw runs", "eth0.arp_announce=2"},
		{"arp_announce, idle", idle(), set(OfInterface("eth0", "arp_announce"), 0), Sysctl, OK, "run sets it to 2", ""},
		{"arp_announce, not to be written", idle(), func(f *Facts) {
			f.Sysctls.Values[OfInterface("eth0", "arp_announce")], f.Sysctls.Writable = 0, false
		}, Sysctl, Warning, "arp_announce is 0", "eth0.arp_announce=2"},
		{"arp_announce, without rights", idle(), func(f *Facts) {
			f.Sysctls.Values[OfInterface("eth0", "arp_announce")], f.Sysctls.Writable, f.Lacks = 0, false, []string{"NET_ADMIN"}
		}, Sysctl, OK, "run sets it to 2, with NET_ADMIN", ""},
		{"rp_filter of all", good(), set(OfInterface("eth0", "rp_filter"), 0), Sysctl, Fail, "rp_filter is 0 while ftgw runs", "eth0.rp_filter=2"},
		{"rp_filter of all, loose here", good(), func(*Facts) {}, Sysctl, OK, "rp_filter 2", ""},
		{"no gateway", good(), func(f *Facts) { f.Place.NoGateway = "no default route (set probe)" }, Gateway, Fail, "no default route", "set probe"},
		{"silent gateway", good(), func(f *Facts) { delete(f.Stations.Answers, gateway) }, Gateway, Warning, "does not answer", "probe"},
		{"nobody asked", good(), func(f *Facts) { f.Stations = nil }, Address, Skipped, "not asked without NET_RAW", "sudo"},
		{"cannot ask", good(), func(f *Facts) { f.Stations = &Stations{Problem: "ask: interface down (up)"} }, Address, Skipped, "interface down", "up"},
		{"owner is here", good(), func(f *Facts) { delete(f.Stations.Answers, v) }, Address, OK, "192.0.2.100 is in use by no stranger", ""},
		{"owner is b", good(), func(*Facts) {}, Address, OK, "answered for by node b", ""},
		{"stranger", good(), func(f *Facts) { f.Stations.Answers[v] = []string{"b", "x"} }, Address, Fail, "in use by a stranger, x", "another address"},
		{"proxy ARP", good(), func(f *Facts) { f.Stations.Answers[v] = []string{"gw"} }, Address, Fail, "proxy ARP", "turn proxy ARP off"},
		{"own address twice", good(), func(f *Facts) { f.Stations.Answers[own] = []string{"x"} }, Address, Fail, "192.0.2.11, this node's address, is in use by x", "station"},
		{"b's kernel answers", good(), func(f *Facts) { f.Peers[0].Problem = "refused" }, Address, Warning, "no ftgw was reached there", "on b: ip addr show"},
		{"another cluster's secret on b", good(), func(f *Facts) { f.Peers[0].Problem, f.Peers[0].Refused = "secret", true }, Address, OK, "answered for by node b", ""},
		{"two owners", good(), func(f *Facts) {
			f.Peers = append(f.Peers, Peer{Name: "c", Address: gateway})
			f.Stations.Answers[v] = []string{"b", "gw"}
		}, Address, Fail, "2 nodes answer", "ftgw status"},
		{"port taken", idle(), func(f *Facts) { f.Ports[0].Taken = true }, Ports, Fail, "gossip port 192.0.2.11:7946 is in use", "set gossip_port"},
		{"service's port taken", idle(), func(f *Facts) { f.Ports[0].Taken, f.Ports[0].Key = true, "" }, Ports, Fail, "in use", "as an upstream does"},
		{"port free while running", good(), func(f *Facts) { f.Ports[0].Taken = false }, Ports, Warning, "is free, though ftgw runs", "restart"},
		{"port not to be bound", idle(), func(f *Facts) { f.Ports[0].Denied = true }, Ports, Skipped, "NET_BIND_SERVICE", "sudo"},
		{"port out of order", idle(), func(f *Facts) { f.Ports[0].Wrong = "no such family" }, Ports, Fail, "no such family", ""},
		{"state_dir", good(), func(f *Facts) { f.StateDir = "state_dir: read-only (set state_dir)" }, StateDir, Fail, "read-only", "set state_dir"},
		{"state_dir, without rights", good(), func(f *Facts) { f.StateDir, f.StateDenied = "state_dir: permission denied (set state_dir)", true }, StateDir, Skipped, "may not write", "sudo"},
		{"web server", good(), func(f *Facts) { f.Web[0].Problem = "refused" }, Upstream, Warning, "service shop: nothing answers at 127.0.0.1:8080", "upstream"},
		{"peer refuses", good(), func(f *Facts) { f.Peers[0].Problem, f.Peers[0].Refused = "other secret", true }, Peers, Fail, "node b: other secret", ""},
		{"peer is away", good(), func(f *Facts) { f.Peers[0].Problem, f.Peers[0].Remedy = "not there", "start it" }, Peers, Warning, "node b: not there", "start it"},
		{"by the nodes' own network", good(), func(f *Facts) { f.Peers[0].Apart = netip.MustParseAddr("203.0.113.12") }, Peers, OK, "node b: answers at its replication_address 203.0.113.12", ""},
		{"not by it", good(), func(f *Facts) {
			f.Peers[0].Apart, f.Peers[0].Unreached = netip.MustParseAddr("203.0.113.12"), "timeout"
		}, Peers, Warning, "carries replies too: timeout", "cable"},
		{"a replication_address astray", good(), func(f *Facts) { f.Place.Apart = "replication_address 203.0.113.11 is on eth0 (give it an interface)" }, Interface, Fail, "203.0.113.11 is on eth0", "give it"},
		{"peer has other settings", good(), func(f *Facts) { f.Peers[0].Unlike = true }, Peers, Warning, "node b: answers, and runs with other settings", "ftgw reload"},
		{"kernels differ", good(), func(f *Facts) { f.Peers[0].Differs = "MTU (set both)" }, Alike, Fail, "node b: MTU", "set both"},
		{"kernel unknown", good(), func(f *Facts) { f.Peers[0].Kernel = false }, Alike, Skipped, "node b: its MTU", "again"},
		{"skewed", good(), func(f *Facts) { f.Peers[0].Skewed = "1h ahead (chrony)" }, Clock, Warning, "node b is 1h ahead", "chrony"},
		{"skew", good(), func(f *Facts) { f.Peers[0].Skew = -2500 * time.Millisecond }, Clock, OK, "within 3s", ""},
		{"witness, b is away", good(), func(f *Facts) { f.Witness, f.Running.Lost = true, []string{"b"} }, Peers, Warning, "not connected to this witness", "there"},
		{"witness, b is there", good(), func(f *Facts) { f.Witness = true }, Peers, OK, "is connected", ""},
		{"witness, idle", idle(), func(f *Facts) { f.Witness = true }, Peers, Skipped, "calls this witness", "there"},
		{"firewall unseen", good(), func(f *Facts) { f.Traffic = nil }, Firewalls, Skipped, "NET_ADMIN", "sudo"},
		{"rule", good(), func(f *Facts) { f.Traffic[0].Blocks = []Block{{Chain: "inet filter input"}} }, Firewalls, Fail,
			"a rule of chain inet filter input drops clients' segments to 192.0.2.100:80, which ftgw takes out", "nft insert rule inet filter input ip daddr 192.0.2.100 tcp dport 80 accept"},
		{"policy, for some", good(), func(f *Facts) { f.Traffic[0].Blocks = []Block{{"ip f in", true, true}} }, Firewalls, Warning, "the policy of chain ip f in lets only some of clients'", "nft insert"},
		{"unread", good(), func(f *Facts) { f.Firewall.Unread = []string{"ip f in: odd"} }, Firewalls, Skipped, "ip f in: odd", ""},
		{"legacy", good(), func(f *Facts) { f.Firewall.Legacy = true }, Firewalls, Skipped, "iptables-legacy", "iptables-legacy-save"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.change(&tt.facts)
			all := Judge(tt.facts)
			found := slices.ContainsFunc(all, func(f Finding) bool {
				return f.Check == tt.check && f.Level == tt.level && strings.Contains(f.What, tt.says) && strings.Contains(f.Remedy, tt.remedy) && (f.Remedy == "") == (tt.remedy == "")
			})
			if !found || Worst(all) < tt.level {
				t.Errorf("no %v of %s that says %q and %q in\n%+v", tt.level, tt.check, tt.says, tt.remedy, all)
			}
			for _, f := range all { // whatever is wrong or unknown is said to be of one check or more
				if f.What == "" || f.Check == "" || f.Level == OK && f.Remedy != "" {
					t.Errorf("%+v", f)
				}
			}
		})
	}
	for name, f := range map[string]Facts{"good": good(), "idle": idle()} {
		if all := Judge(f); Worst(all) != OK {
			t.Errorf("%s: %+v", name, all)
		}
	}
}

// The report is for programs as well: these names are promised.
func TestFindingJSON(t *testing.T) {
	for _, tt := range []struct {
		f    Finding
		want string
	}{
		{Finding{LRO, Fail, "it is on", "turn it off"}, `{"check":"lro","level":"fail","what":"it is on","remedy":"turn it off"}`},
		{Finding{Clock, OK, "fine", ""}, `{"check":"clock","level":"ok","what":"fine"}`},
		{Finding{StateDir, Skipped, "s", "r"}, `{"check":"state_dir","level":"skipped","what":"s","remedy":"r"}`},
		{Finding{Peers, Warning, "s", "r"}, `{"check":"peer","level":"warning","what":"s","remedy":"r"}`},
	} {
		if got, err := json.Marshal(tt.f); err != nil || string(got) != tt.want {
			t.Errorf("%s, %v, want %s", got, err, tt.want)
		}
	}
}

func TestSplit(t *testing.T) {
	for _, tt := range [][3]string{
		{"it fails (do this)", "it fails", "do this"},
		{"open (x): it fails (do this (or that))", "open (x): it fails", "do this (or that)"},
		{"it fails", "it fails", ""},
		{"it fails )", "it fails )", ""},
		{"it fails (now) again", "it fails (now) again", ""},
		{"", "", ""},
		{")", ")", ""},
	} {
		if what, remedy := Split(tt[0]); what != tt[1] || remedy != tt[2] {
			t.Errorf("%q is %q and %q", tt[0], what, remedy)
		}
	}
}

func FuzzSplit(f *testing.F) {
	f.Add("it fails (do this (or that))")
	f.Add("))((")
	f.Fuzz(func(t *testing.T, s string) {
		if what, remedy := Split(s); len(what)+len(remedy) > len(s) {
			t.Errorf("%q is %q and %q", s, what, remedy)
		}
	})
}
