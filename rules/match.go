package rules

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"

	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"
	"golang.org/x/sys/unix"
)

// part is a piece of a rule: what nft would print and what the kernel is given.
type part struct {
	text  string
	exprs []expr.Any
}

// reg is the register of all comparisons; hash inputs start here too. It is the first of the
// 32-bit registers, of which an address and a port fill adjacent ones.
const reg = unix.NFT_REG32_00

func load(base expr.PayloadBase, offset, size uint32) expr.Any {
	return &expr.Payload{DestRegister: reg, Base: base, Offset: offset, Len: size}
}

func compare(op expr.CmpOp, data []byte) expr.Any {
	return &expr.Cmp{Op: op, Register: reg, Data: data}
}

func meta(key expr.MetaKey) expr.Any { return &expr.Meta{Key: key, Register: reg} }

// proto makes the following network header matches safe in a table of both families.
func proto(v4 bool) []expr.Any {
	p := byte(unix.NFPROTO_IPV6)
	if v4 {
		p = unix.NFPROTO_IPV4
	}
	return []expr.Any{meta(expr.MetaKeyNFPROTO), compare(expr.CmpOpEq, []byte{p})}
}

func l4(p byte) []expr.Any {
	return []expr.Any{meta(expr.MetaKeyL4PROTO), compare(expr.CmpOpEq, []byte{p})}
}

// addressField is where a source or destination address lies in the network header.
func addressField(a netip.Addr, source bool) (name string, load_ expr.Any) {
	switch {
	case a.Is4() && source:
		return "ip saddr", load(expr.PayloadBaseNetworkHeader, 12, 4)
	case a.Is4():
		return "ip daddr", load(expr.PayloadBaseNetworkHeader, 16, 4)
	case source:
		return "ip6 saddr", load(expr.PayloadBaseNetworkHeader, 8, 16)
	default:
		return "ip6 daddr", load(expr.PayloadBaseNetworkHeader, 24, 16)
	}
}

func address(a netip.Addr, source bool) part {
	name, field := addressField(a, source)
	return part{fmt.Sprintf("%s %s", name, a),
		append(proto(a.Is4()), field, compare(expr.CmpOpEq, a.AsSlice()))}
}

func from(a netip.Addr) part { return address(a, true) }
func to(a netip.Addr) part   { return address(a, false) }

// frameFrom is from for a netdev table, where a packet's family is its frame's type.
func frameFrom(a netip.Addr) part {
	name, kind := "ip6", uint16(unix.ETH_P_IPV6)
	if a.Is4() {
		name, kind = "ip", unix.ETH_P_IP
	}
	_, field := addressField(a, true)
	return part{fmt.Sprintf("meta protocol %s %s saddr %s", name, name, a), []expr.Any{
		meta(expr.MetaKeyPROTOCOL), compare(expr.CmpOpEq, binaryutil.BigEndian.PutUint16(kind)),
		field, compare(expr.CmpOpEq, a.AsSlice())}}
}

// withoutLease matches packets whose source is not in the set of leases.
func withoutLease(a netip.Addr) part {
	name, field := addressField(a, true)
	set := leaseSet(a)
	return part{fmt.Sprintf("%s != @%s", name, set),
		[]expr.Any{field, &expr.Lookup{SourceRegister: reg, SetName: set, Invert: true}}}
}

func tcpPort(p uint16, source bool) part {
	name, offset := "tcp dport", uint32(2)
	if source {
		name, offset = "tcp sport", 0
	}
	return part{fmt.Sprintf("%s %d", name, p),
		append(l4(unix.IPPROTO_TCP), load(expr.PayloadBaseTransportHeader, offset, 2),
			compare(expr.CmpOpEq, binaryutil.BigEndian.PutUint16(p)))}
}

// fragment matches fragments, or with whole set everything else. For IPv6 it sees a fragment
// header that comes first; others end in the rules that drop what is not served.
func fragment(v4, whole bool) part {
	switch {
	case v4:
		op, sign := expr.CmpOpNeq, "!="
		if whole {
			op, sign = expr.CmpOpEq, "=="
		}
		return part{"ip frag-off & 0x3fff " + sign + " 0", append(proto(true),
			load(expr.PayloadBaseNetworkHeader, 6, 2),
			&expr.Bitwise{SourceRegister: reg, DestRegister: reg, Len: 2, Mask: []byte{0x3f, 0xff}, Xor: []byte{0, 0}},
			compare(op, []byte{0, 0}))}
	case whole:
		return part{"ip6 nexthdr != 44", append(proto(false),
			load(expr.PayloadBaseNetworkHeader, 6, 1), compare(expr.CmpOpNeq, []byte{unix.IPPROTO_FRAGMENT}))}
	default:
		return part{"ip6 nexthdr 44", append(proto(false),
			load(expr.PayloadBaseNetworkHeader, 6, 1), compare(expr.CmpOpEq, []byte{unix.IPPROTO_FRAGMENT}))}
	}
}

// icmpErrors returns the matches that together cover the errors about a packet sent earlier:
// destination unreachable (with fragmentation needed and packet too big), time exceeded and
// parameter problem.
func icmpErrors(v4 bool) []part {
	if !v4 {
		return []part{icmpTypes("icmpv6", unix.IPPROTO_ICMPV6, 1, 4)}
	}
	return []part{icmpTypes("icmp", unix.IPPROTO_ICMP, 3, 3), icmpTypes("icmp", unix.IPPROTO_ICMP, 11, 12)}
}

func icmpTypes(name string, protocol, first, last byte) part {
	field := append(l4(protocol), load(expr.PayloadBaseTransportHeader, 0, 1))
	if first == last {
		return part{fmt.Sprintf("%s type %d", name, first), append(field, compare(expr.CmpOpEq, []byte{first}))}
	}
	return part{fmt.Sprintf("%s type %d-%d", name, first, last),
		append(field, compare(expr.CmpOpGte, []byte{first}), compare(expr.CmpOpLte, []byte{last}))}
}

func fromMAC(mac net.HardwareAddr) part {
	return part{"ether saddr " + mac.String(), []expr.Any{
		meta(expr.MetaKeyIIFTYPE), compare(expr.CmpOpEq, binaryutil.NativeEndian.PutUint16(unix.ARPHRD_ETHER)),
		load(expr.PayloadBaseLLHeader, 6, 6), compare(expr.CmpOpEq, bytes.Clone(mac))}}
}

func marked(mark uint32) part {
	return part{fmt.Sprintf("meta mark %#x", mark),
		[]expr.Any{meta(expr.MetaKeyMARK), compare(expr.CmpOpEq, binaryutil.NativeEndian.PutUint32(mark))}}
}

func loopback(key expr.MetaKey, op expr.CmpOp) part {
	name := "iifname"
	if key == expr.MetaKeyOIFNAME {
		name = "oifname"
	}
	if op == expr.CmpOpNeq {
		name += " !="
	}
	return part{name + ` "lo"`, []expr.Any{meta(key), compare(op, []byte("lo\x00"))}}
}

// hashSeed is fixed, so that both directions and both runs of a daemon choose alike. The
// kernel's own random seed would differ between the rules.
const hashSeed = 0x66746777

// worker matches the flows of worker i of n by a hash of the client's address and port, which
// is the packet's source if inbound.
func worker(i, n int, v4, inbound bool) part {
	a := netip.IPv6Unspecified()
	if v4 {
		a = netip.IPv4Unspecified()
	}
	name, field := addressField(a, inbound)
	port, offset := "tcp dport", uint32(2)
	if inbound {
		port, offset = "tcp sport", 0
	}
	size := uint32(a.BitLen() / 8)
	return part{fmt.Sprintf("jhash %s . %s mod %d seed %#x == %d", name, port, n, hashSeed, i), []expr.Any{
		field,
		&expr.Payload{DestRegister: reg + size/4, Base: expr.PayloadBaseTransportHeader, Offset: offset, Len: 2},
		&expr.Hash{SourceRegister: reg, DestRegister: reg, Length: size + 4, Modulus: uint32(n), Seed: hashSeed, Type: expr.HashTypeJenkins},
		compare(expr.CmpOpEq, binaryutil.NativeEndian.PutUint32(uint32(i))),
	}}
}

// queue hands the packet to userspace; it is dropped if nobody is there. There is no bypass.
func queue(number uint16, native bool) part {
	if native {
		return part{fmt.Sprintf("queue to %d", number), []expr.Any{&expr.Queue{Num: number, Total: 1}}}
	}
	// struct xt_NFQ_info_v3: number, how many, flags, padding.
	info := xt.Unknown(binary.NativeEndian.AppendUint16(nil, number))
	info = binary.NativeEndian.AppendUint16(info, 1)
	info = append(info, 0, 0, 0, 0)
	return part{fmt.Sprintf("xt target NFQUEUE num %d", number),
		[]expr.Any{&expr.Target{Name: "NFQUEUE", Rev: 3, Info: &info}}}
}

func notrack() part { return part{"notrack", []expr.Any{&expr.Notrack{}}} }
func counter() part { return part{"counter", []expr.Any{&expr.Counter{}}} }
func accept() part  { return verdict("accept", expr.VerdictAccept, "") }
func drop() part    { return verdict("drop", expr.VerdictDrop, "") }

func jump(chain string) part { return verdict("jump "+chain, expr.VerdictJump, chain) }
func goTo(chain string) part { return verdict("goto "+chain, expr.VerdictGoto, chain) }
func goBack() part           { return verdict("return", expr.VerdictReturn, "") }
func verdict(text string, kind expr.VerdictKind, chain string) part {
	return part{text, []expr.Any{&expr.Verdict{Kind: kind, Chain: chain}}}
}
