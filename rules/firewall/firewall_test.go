package firewall

import (
	"bytes"
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"
	"golang.org/x/sys/unix"

	"github.com/ftgw/ftgw/internal/lab"
	"github.com/ftgw/ftgw/internal/lab/labtest"
)

func TestMain(m *testing.M) { labtest.Main(m) }

var (
	v   = netip.MustParseAddr("192.0.2.100")
	own = netip.MustParseAddr("192.0.2.11")
	b   = netip.MustParseAddr("192.0.2.12")

	segment = Packet{In: true, Interface: "eth0", Index: 7, Destination: v, Protocol: unix.IPPROTO_TCP, DestinationPort: 80, Untracked: true}
	reply   = Packet{Interface: "eth0", Index: 7, Source: v, Protocol: unix.IPPROTO_TCP, SourcePort: 80, Untracked: true}
	session = Packet{In: true, Interface: "eth0", Index: 7, Source: b, Destination: own, Protocol: unix.IPPROTO_TCP, DestinationPort: 7950}
	gossip  = Packet{In: true, Interface: "eth0", Index: 7, Source: b, Destination: own, Protocol: unix.IPPROTO_UDP, DestinationPort: 7946}
)

// load puts a text of nft's in force.
func load(t *testing.T, ns *lab.NS, text string) {
	t.Helper()
	program, err := exec.LookPath("nft")
	if err != nil {
		program = "/usr/sbin/nft"
		if _, err := exec.LookPath(program); err != nil {
			labtest.Missing(t, "nft is not installed (apt-get install nftables)")
		}
	}
	err = ns.Do(func() error {
		c := exec.Command(program, "-f", "-")
		c.Stdin = strings.NewReader("flush ruleset\n" + text)
		out, err := c.CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// input wraps rules in a table with a chain that drops what none of them takes.
func input(rules ...string) string {
	return "table inet filter {\n chain input {\n type filter hook input priority filter; policy drop;\n" +
		strings.Join(rules, "\n") + "\n}\n}\n"
}

func accepting(rules ...string) string {
	return strings.Replace(input(rules...), "policy drop", "policy accept", 1)
}

// TestBlocks follows packets through firewalls as people write them. What each says is whether
// the client's segments, the replies, the session and gossip pass: yes, no, or some of them.
func TestBlocks(t *testing.T) {
	labtest.Require(t)
	ns := labtest.NS(t, "host")
	for _, tt := range []struct {
		name, rules string
		want        string // segment, reply, session, gossip
	}{
		{"nothing", "", "yes yes yes yes"},
		{"Debian's example", "table inet filter {\n chain input { type filter hook input priority filter; }\n chain output { type filter hook output priority filter; }\n}", "yes yes yes yes"},
		{"closed", input(), "no no-one no no"},
		{"a workstation's", input("ct state vmap { established : accept, related : accept, invalid : drop }", "iifname lo accept",
			"ip protocol icmp accept", "tcp dport 22 accept", "counter"), "no yes no no"},
		{"a map that drops what is untracked", accepting("ct state vmap { invalid : drop, untracked : drop }"), "no yes yes yes"},
		{"a map of spans", input("tcp dport vmap { 20-79 : drop, 80-90 : accept, 7000-8000 : accept }", "udp dport vmap { 7946 : accept }"), "yes yes yes yes"},
		{"a map that leads on", "table inet filter {\n chain lan { tcp dport { 80, 7950 } accept; udp dport 7946 accept; }\n" +
			" chain input { type filter hook input priority filter; policy drop; iifname vmap { lo : accept, eth0 : jump lan }; }\n}", "yes yes yes yes"},
		{"a map that drops a port", accepting("tcp dport vmap { 22 : accept, 80 : drop }"), "no yes yes yes"},
		{"with the ports", input("ct state established,related accept", "ct state invalid drop", "tcp dport { 22, 80, 7950 } accept", "udp dport 7946 accept"), "yes yes yes yes"},
		{"with spans of ports", input("tcp dport { 20-25, 79-90, 7000-8000 } accept", "udp dport 7940-7950 accept"), "yes yes yes yes"},
		{"ports beside the spans", input("tcp dport { 20-79, 81-7949, 7951-65535 } accept", "udp dport > 7946 accept"), "no yes no no"},
		{"the peer is trusted", input("ip saddr 192.0.2.12 accept"), "some yes yes yes"},
		{"a subnet is trusted", input("ip saddr 192.0.2.0/24 accept"), "some yes yes yes"},
		{"another subnet is", input("ip saddr 198.51.100.0/24 accept"), "some yes no no"},
		{"by a named set", "table inet filter {\n set ports { type inet_service; flags interval; elements = { 80, 7946-7950 } }\n set friends { type ipv4_addr; flags interval; elements = { 192.0.2.0/24 } }\n" +
			" chain input { type filter hook input priority filter; policy drop; tcp dport @ports ip daddr @friends accept; meta l4proto udp ip saddr @friends accept; }\n}", "yes yes yes yes"},
		{"by interface", input(`iifname "eth0" accept`), "yes yes yes yes"},
		{"by another interface", input(`iifname "eth1" accept`), "no yes no no"},
		{"by a wildcard", input(`iifname "eth*" accept`), "yes yes yes yes"},
		{"untracked is dropped", accepting("ct state invalid,untracked counter drop"), "no yes yes yes"},
		{"invalid is dropped", accepting("ct state invalid counter drop"), "yes yes yes yes"},
		{"what is not new is dropped", accepting("ct state != new drop"), "no yes yes yes"},
		{"only new passes", input("ct state new accept"), "no yes yes yes"},
		{"a blocklist", accepting("ip saddr { 198.51.100.7, 203.0.113.9 } drop", "ip saddr 203.0.113.0/24 drop"), "yes yes yes yes"},
		{"rate", input("tcp dport 80 limit rate 1000/second accept", "ip saddr 192.0.2.12 accept"), "some yes yes yes"},
		{"reject", accepting("tcp dport 22 accept", "reject with icmpx admin-prohibited"), "no yes no no"},
		{"jumps", "table inet filter {\n chain web { tcp dport 80 accept; }\n chain peers { ip saddr != 192.0.2.12 return; accept; }\n chain rest { drop; }\n" +
			" chain input { type filter hook input priority filter; jump web; jump peers; goto rest; }\n}", "yes yes yes yes"},
		{"goto comes back to the end", "table inet filter {\n chain web { tcp dport 80 accept; }\n" +
			" chain input { type filter hook input priority filter; policy drop; goto web; accept; }\n}", "yes yes no no"},
		{"output", "table ip filter {\n chain output { type filter hook output priority filter; policy drop; ct state established,related accept; udp dport 53 accept; }\n}", "yes no yes yes"},
		{"output that lets it", "table ip filter {\n chain output { type filter hook output priority filter; policy drop; tcp sport 80 ip saddr 192.0.2.100 oifname eth0 accept; }\n}", "yes yes yes yes"},
		{"prerouting", "table ip raw {\n chain prerouting { type filter hook prerouting priority raw; fib saddr . iif oif missing drop; ct state untracked drop; }\n}", "no yes yes yes"},
		{"IPv6 only", "table ip6 filter {\n chain input { type filter hook input priority filter; policy drop; }\n}\ntable inet f {\n chain input { type filter hook input priority 1; meta nfproto ipv6 drop; }\n}", "yes yes yes yes"},
		{"nat", "table ip nat {\n chain prerouting { type nat hook prerouting priority dstnat; tcp dport 80 redirect to :8080; }\n}", "yes yes yes yes"},
		{"a fragment's", accepting("ip frag-off & 0x1fff != 0 drop", "tcp flags & (fin|syn) == (fin|syn) drop"), "yes yes yes yes"},
		{"a mark", input("meta mark 0x1 accept"), "some yes some some"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			load(t, ns, tt.rules)
			want := strings.Fields(strings.ReplaceAll(tt.want, "no-one", "yes"))
			for i, p := range []Packet{segment, reply, session, gossip} {
				var got string
				err := ns.Do(func() error {
					r, err := Read("ftgw")
					if err != nil {
						return err
					}
					if len(r.Unread) > 0 {
						t.Errorf("not read: %v", r.Unread)
					}
					got = passes(r.Blocks(p))
					return nil
				})
				if err != nil {
					t.Fatal(err)
				}
				if got != want[i] {
					t.Errorf("%s: passes %s, want %s", []string{"segment", "reply", "session", "gossip"}[i], got, want[i])
				}
			}
		})
	}
}

func passes(blocks []Block) string {
	switch {
	case len(blocks) == 0:
		return "yes"
	case blocks[0].Some:
		return "some"
	}
	return "no"
}

// A block names the chain as nft wants it, and ftgw's own table is not looked at.
func TestBlockNamesTheChain(t *testing.T) {
	labtest.Require(t)
	ns := labtest.NS(t, "host")
	load(t, ns, input("tcp dport 22 accept")+strings.ReplaceAll(input("drop"), "filter {", "ftgw {"))
	err := ns.Do(func() error {
		r, err := Read("ftgw")
		if err != nil {
			return err
		}
		if got := fmt.Sprint(r.Blocks(segment)); got != "[{inet filter input true false}]" {
			t.Errorf("blocks %s", got)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// iptables' own matches, as its nft variant makes rules of them.
func TestXtables(t *testing.T) {
	tcp := func(first, last uint16) expr.Any {
		return &expr.Match{Name: "tcp", Info: &xt.Tcp{SrcPorts: [2]uint16{0, 65535}, DstPorts: [2]uint16{first, last}}}
	}
	states := func(mask, invert uint16) expr.Any {
		info := &xt.ConntrackMtinfo3{}
		info.MatchFlags, info.InvertFlags, info.StateMask = uint16(xt.ConntrackState), invert, mask
		return &expr.Match{Name: "conntrack", Rev: 3, Info: info}
	}
	drop := &expr.Verdict{Kind: expr.VerdictDrop}
	for _, tt := range []struct {
		name  string
		rule  []expr.Any
		p     Packet
		drops bool
	}{
		{"port", []expr.Any{tcp(80, 80), drop}, segment, true},
		{"other port", []expr.Any{tcp(81, 90), drop}, segment, false},
		{"other protocol", []expr.Any{tcp(7946, 7946), drop}, gossip, false},
		{"untracked", []expr.Any{states(xtUntracked, 0), drop}, segment, true},
		{"new", []expr.Any{states(stateNew, 0), drop}, segment, false},
		{"not new", []expr.Any{states(stateNew, uint16(xt.ConntrackState)), drop}, segment, true},
		{"not new, a session", []expr.Any{states(stateNew, uint16(xt.ConntrackState)), drop}, session, false},
		{"something else", []expr.Any{&expr.Match{Name: "recent"}, drop}, segment, false},
		{"reject", []expr.Any{&expr.Target{Name: "REJECT"}}, segment, true},
		{"log", []expr.Any{&expr.Target{Name: "NFLOG"}}, segment, false},
	} {
		c := &chain{&nftables.Chain{Name: "INPUT", Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookInput,
			Table: &nftables.Table{Name: "filter", Family: nftables.TableFamilyIPv4}},
			[]*nftables.Rule{{Exprs: tt.rule}}, &table{}}
		r := &Ruleset{chains: []*chain{c}}
		if got := len(r.Blocks(tt.p)) > 0; got != tt.drops {
			t.Errorf("%s: drops %v", tt.name, got)
		}
	}
}

// FuzzRule: no rule that the kernel may hand out ends the check, however odd its registers and
// lengths are.
func FuzzRule(f *testing.F) {
	f.Add(uint32(1), uint32(8), uint32(4), uint32(12), []byte{1, 2, 3, 4}, uint32(0))
	f.Add(uint32(23), uint32(4), uint32(64), uint32(60), bytes.Repeat([]byte{1}, 64), uint32(3))
	f.Fuzz(func(t *testing.T, from, to, size, offset uint32, data []byte, op uint32) {
		fo := &follower{packet: segment}
		s := &set{&nftables.Set{Name: "s", Interval: op&1 == 1}, []nftables.SetElement{{Key: data}, {Key: data, IntervalEnd: true}, {Key: data[:len(data)/2]}}}
		fo.rule(&table{sets: map[string]*set{"s": s}}, &nftables.Rule{Exprs: []expr.Any{
			&expr.Payload{DestRegister: to, Base: expr.PayloadBase(op % 4), Offset: offset, Len: size},
			&expr.Bitwise{SourceRegister: from, DestRegister: to, Len: size, Mask: data, Xor: data},
			&expr.Byteorder{SourceRegister: from, DestRegister: to, Len: size, Size: op},
			&expr.Immediate{Register: from, Data: data},
			&expr.Meta{Register: to, Key: expr.MetaKey(op)},
			&expr.Ct{Register: to, Key: expr.CtKey(op)},
			&expr.Lookup{SourceRegister: from, SetName: "s", Invert: true},
			&expr.Cmp{Register: from, Op: expr.CmpOp(op), Data: data},
			&expr.Range{Register: to, Op: expr.CmpOp(op), FromData: data, ToData: data[:len(data)/2]},
		}})
	})
}

// FuzzVerdict: what the kernel hands out for an element of a verdict map is read, or refused.
func FuzzVerdict(f *testing.F) {
	jump := []byte{8, 0, 1, 0, 0xff, 0xff, 0xff, 0xfd, 8, 0, 2, 0, 'l', 'a', 'n', 0} // NFT_JUMP, as a little-endian host has it
	f.Add(jump)
	f.Add(jump[8:])
	f.Add(jump[:7])
	f.Add([]byte(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		if v, err := parseVerdict(b); (v == nil) == (err == nil) {
			t.Errorf("%x: %v, %v", b, v, err)
		}
	})
}
