package rewrite

import (
	"bytes"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

var (
	routerV4 = netip.MustParseAddr("203.0.113.1")
	routerV6 = netip.MustParseAddr("2001:db8:ffff::1")
)

func router(v6 bool) netip.Addr {
	if v6 {
		return routerV6
	}
	return routerV4
}

// icmpAbout returns an ICMP error of the given type that quotes the packet.
func icmpAbout(quoted []byte, kind uint8) []byte {
	b := AppendUnreachable(nil, router(quoted[0]>>4 == 6), quoted)
	e, _ := ParseICMPError(b)
	e.diff.add8(0, b[e.l4], kind)
	b[e.l4] = kind
	e.Seal()
	return b
}

func TestParseICMPErrorReasons(t *testing.T) {
	v4, v6 := wire{payload: []byte("abc")}.bytes(), wire{v6: true, payload: []byte("abc")}.bytes()
	is := func(b []byte, at int, v byte) []byte { b = bytes.Clone(b); b[at] = v; return b }
	cut := func(b []byte, n int) []byte { return AppendUnreachable(nil, router(b[0]>>4 == 6), b[:n]) }
	mixed, _ := appendIP(nil, routerV4, routerV4, protoICMP, icmpLen+len(v6))
	mixed[20] = icmpUnreachable
	copy(mixed[20+icmpLen:], v6)
	for name, c := range map[string]struct {
		b    []byte
		want Reason
	}{
		"unreachable":            {icmpAbout(v4, 3), OK},
		"time exceeded":          {icmpAbout(v4, 11), OK},
		"parameter problem":      {icmpAbout(v4, 12), OK},
		"echo":                   {icmpAbout(v4, 8), NotICMPError},
		"redirect":               {icmpAbout(v4, 5), NotICMPError},
		"too big":                {icmpAbout(v6, 2), OK},
		"v6 parameter problem":   {icmpAbout(v6, 4), OK},
		"neighbour solicitation": {icmpAbout(v6, 135), NotICMPError},
		"v6 of type 0":           {icmpAbout(v6, 0), NotICMPError},
		"TCP":                    {v4, NotICMPError},
		"ICMPv6 in IPv4":         {is(icmpAbout(v4, 3), 9, 58), NotICMPError},
		"quotes UDP":             {is(icmpAbout(v4, 3), 28+9, 17), NotTCP},
		"quotes a fragment":      {is(icmpAbout(v4, 3), 28+7, 1), Fragment},
		"quotes another family":  {mixed, BadHeader},
		"quotes a bad IHL":       {is(icmpAbout(v4, 3), 28, 0x41), BadHeader},
		"is a fragment":          {is(icmpAbout(v4, 3), 7, 1), Fragment},
		"8 bytes quoted":         {cut(v4, 28), OK},
		"7 bytes quoted":         {cut(v4, 27), Truncated},
		"8 bytes quoted, v6":     {cut(v6, 48), OK},
		"7 bytes quoted, v6":     {cut(v6, 47), Truncated},
	} {
		if e, got := ParseICMPError(c.b); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		} else if got == OK && !e.VerifyChecksum() {
			t.Errorf("%s: checksum wrong", name)
		}
	}
}

// TestICMPErrorSetters translates errors about packets of all shapes, cut anywhere.
func TestICMPErrorSetters(t *testing.T) {
	rnd := rand.New(rand.NewPCG(15, 16))
	for range 5000 {
		w := randomWire(rnd)
		quoted := w.bytes()
		s := mustParse(t, bytes.Clone(quoted))
		quoted = quoted[:s.l4+8+rnd.IntN(len(quoted)-s.l4-7)]
		b := AppendUnreachable(nil, router(w.v6), quoted)
		e, r := ParseICMPError(append(b, 0, 0))
		if r != OK {
			t.Fatalf("% x: %v", b, r)
		}
		if e.QuotedSrc() != s.Src() || e.QuotedDst() != s.Dst() || e.QuotedSeq() != s.Seq() ||
			e.OuterSrc() != router(w.v6) || e.OuterDst() != s.Src().Addr() || e.IsIPv6() != w.v6 {
			t.Fatalf("% x: not as quoted", b)
		}
		requireGopacketICMP(t, e.Bytes())
		to, seq := randomAddr(rnd, w.v6), Seq(rnd.Uint32())
		e.SetQuotedSeq(seq)
		if !e.SetOuterDst(to) || e.SetOuterDst(router(!w.v6)) || e.SetOuterDst(netip.Addr{}) {
			t.Fatal("a family was taken for the other")
		}
		e.Seal()
		if e.QuotedSeq() != seq || e.OuterDst() != to || !e.Changed() || !e.VerifyChecksum() {
			t.Fatalf("% x: not as set", e.Bytes())
		}
		requireGopacketICMP(t, e.Bytes())
		e.b[e.tcp] ^= 1
		e.SetQuotedSeq(1)
		if e.Seal(); e.VerifyChecksum() {
			t.Fatal("corruption was sealed away")
		}
	}
}

// requireGopacketICMP fails if gopacket finds other checksums than b holds.
func requireGopacketICMP(t *testing.T, b []byte) {
	t.Helper()
	if b[0]>>4 == 4 {
		p := gopacket.NewPacket(b, layers.LayerTypeIPv4, gopacket.Default)
		if naiveSum(b[:20]) != 0xffff || naiveSum(p.NetworkLayer().LayerPayload()) != 0xffff {
			t.Fatalf("% x: wrong checksum", b)
		}
		return
	}
	p := gopacket.NewPacket(b, layers.LayerTypeIPv6, gopacket.Default)
	icmp := p.Layer(layers.LayerTypeICMPv6).(*layers.ICMPv6)
	if err := icmp.SetNetworkLayerForChecksum(p.NetworkLayer()); err != nil {
		t.Fatal(err)
	}
	out := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(out, gopacket.SerializeOptions{ComputeChecksums: true},
		icmp, gopacket.Payload(icmp.Payload)); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(out.Bytes(), b[40:]) {
		t.Fatalf("got        % x\ngopacket   % x", b[40:], out.Bytes())
	}
}

func TestAppendUnreachable(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		long := wire{v6: v6, payload: make([]byte, 1400)}.bytes()
		b := AppendUnreachable([]byte("was"), router(v6), long)[3:]
		if want := map[bool]int{false: 576, true: 1280}[v6]; len(b) != want {
			t.Errorf("IPv6 %v: %d bytes, want %d", v6, len(b), want)
		}
		e, r := ParseICMPError(b)
		kind, code := e.Type()
		if r != OK || !v6 && (kind != 3 || code != 1) || v6 && (kind != 1 || code != 0) {
			t.Errorf("IPv6 %v: %v, type %d code %d", v6, r, kind, code)
		}
		if b := AppendUnreachable(nil, router(!v6), long); b != nil {
			t.Error("an error of the wrong family was built")
		}
	}
	if AppendUnreachable(nil, netip.Addr{}, wire{}.bytes()) != nil || AppendUnreachable(nil, routerV4, nil) != nil {
		t.Error("an error was built from nothing")
	}
}

func TestICMPErrorDoesNotAllocate(t *testing.T) {
	b := icmpAbout(wire{}.bytes(), 3)
	to := netip.MustParseAddr("192.0.2.11")
	if n := testing.AllocsPerRun(100, func() {
		e, _ := ParseICMPError(b)
		e.SetQuotedSeq(e.QuotedSeq() + 1)
		e.SetOuterDst(to)
		e.Seal()
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
