package rewrite

import (
	"bytes"
	"math/rand/v2"
	"net/netip"
	"testing"
)

func mustParse(t testing.TB, b []byte) Segment {
	t.Helper()
	s, r := ParseSegment(b)
	if r != OK {
		t.Fatalf("ParseSegment: %v", r)
	}
	return s
}

func TestParseSegmentReasons(t *testing.T) {
	v4 := wire{payload: []byte("abc")}
	v6 := wire{v6: true, payload: []byte("abc")}
	ext := wire{v6: true, first: protoDestOpts, ext: []byte{6, 0, 1, 4, 0, 0, 0, 0}}
	for name, c := range map[string]struct {
		w      wire
		change func([]byte) []byte
		want   Reason
	}{
		"IPv4":                       {v4, nil, OK},
		"IPv4 options":               {wire{ipOpts: []byte{1, 1, 1, 1}}, nil, OK},
		"IPv6":                       {v6, nil, OK},
		"IPv6 destination options":   {ext, nil, OK},
		"nothing":                    {v4, func(b []byte) []byte { return nil }, Truncated},
		"version 5":                  {v4, func(b []byte) []byte { b[0] = 0x55; return b }, BadHeader},
		"IHL too small":              {v4, func(b []byte) []byte { b[0] = 0x44; return b }, BadHeader},
		"IHL beyond total length":    {v4, func(b []byte) []byte { b[0] = 0x4f; return b }, BadHeader},
		"IPv4 length beyond buffer":  {v4, func(b []byte) []byte { b[3]++; return b }, Truncated},
		"IPv4 length of zero":        {v4, func(b []byte) []byte { b[2], b[3] = 0, 0; return b }, BadHeader},
		"IPv4 length cuts TCP":       {v4, func(b []byte) []byte { b[3] = 39; return b }, Truncated},
		"first fragment":             {v4, func(b []byte) []byte { b[6] |= 0x20; return b }, Fragment},
		"last fragment":              {v4, func(b []byte) []byte { b[7] = 1; return b }, Fragment},
		"do not fragment":            {v4, func(b []byte) []byte { b[6] |= 0x40; return b }, OK},
		"UDP":                        {v4, func(b []byte) []byte { b[9] = 17; return b }, NotTCP},
		"data offset too small":      {v4, func(b []byte) []byte { b[20+12] = 0x40; return b }, BadHeader},
		"data offset beyond packet":  {v4, func(b []byte) []byte { b[20+12] = 0xf0; return b }, BadHeader},
		"IPv6 length beyond buffer":  {v6, func(b []byte) []byte { b[5]++; return b }, Truncated},
		"IPv6 length of zero":        {v6, func(b []byte) []byte { b[4], b[5] = 0, 0; return b }, Truncated},
		"jumbogram":                  {v6, func(b []byte) []byte { b[4], b[5], b[6] = 0, 0, 0; return b }, BadHeader},
		"IPv6 fragment header":       {ext, func(b []byte) []byte { b[6] = 44; return b }, Fragment},
		"fragment header second":     {ext, func(b []byte) []byte { b[40] = 44; return b }, Fragment},
		"routing header":             {ext, func(b []byte) []byte { b[6] = 43; return b }, NotTCP},
		"hop-by-hop second":          {ext, func(b []byte) []byte { b[40] = 0; return b }, BadHeader},
		"extension beyond the end":   {ext, func(b []byte) []byte { b[41] = 200; return b }, Truncated},
		"too many extensions":        {wire{v6: true, first: 60, ext: bytes.Repeat([]byte{60, 0, 1, 4, 0, 0, 0, 0}, 9)}, nil, BadHeader},
		"option length lies":         {wire{opts: []byte{254, 5, 0, 0}}, nil, BadOption},
		"UDP fragment is a fragment": {v4, func(b []byte) []byte { b[9] = 17; b[7] = 1; return b }, Fragment},
	} {
		b := c.w.bytes()
		if c.change != nil {
			b = c.change(b)
		}
		if _, got := ParseSegment(b); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func TestSegmentReads(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		src, dst := netip.MustParseAddrPort("198.51.100.7:40001"), netip.MustParseAddrPort("192.0.2.100:80")
		if v6 {
			src = netip.MustParseAddrPort("[2001:db8::7]:40001")
			dst = netip.MustParseAddrPort("[2001:db8::64]:80")
		}
		h := Header{Src: src, Dst: dst, Seq: 0xfffffffe, Ack: 77, Flags: ACK | SYN | FIN | PSH, Window: 501, WScale: -1}
		b := AppendSegment(nil, h, []byte("hello"))
		s := mustParse(t, append(b, 0, 0, 0)) // with Ethernet padding
		if !bytes.Equal(s.Bytes(), b) {
			t.Error("the padding is not cut off")
		}
		if s.Src() != src || s.Dst() != dst || s.IsIPv6() != v6 {
			t.Errorf("%v > %v, IPv6 %v", s.Src(), s.Dst(), s.IsIPv6())
		}
		if s.Seq() != 0xfffffffe || s.Ack() != 77 || s.Window() != 501 || s.Urgent() != 0 || s.Flags() != h.Flags {
			t.Errorf("header fields: %d %d %d %d %v", s.Seq(), s.Ack(), s.Window(), s.Urgent(), s.Flags())
		}
		if string(s.Payload()) != "hello" || s.PayloadLen() != 5 || s.Len() != 7 || s.End() != 5 {
			t.Errorf("payload %q: %d, Len %d, End %d", s.Payload(), s.PayloadLen(), s.Len(), s.End())
		}
	}
}

func TestOtherFamilyIsRefused(t *testing.T) {
	v4, v6 := netip.MustParseAddrPort("192.0.2.1:9"), netip.MustParseAddrPort("[2001:db8::1]:9")
	for _, is6 := range []bool{false, true} {
		b := wire{v6: is6}.bytes()
		before := bytes.Clone(b)
		s := mustParse(t, b)
		wrong, right := v6, v4
		if is6 {
			wrong, right = v4, v6
		}
		if s.SetSrc(wrong) || s.SetDst(wrong) || s.SetDst(netip.AddrPort{}) || s.Changed() || !bytes.Equal(b, before) {
			t.Errorf("IPv6 %v: the wrong family was written", is6)
		}
		if !s.SetSrc(right) || !s.SetDst(right) || s.Src() != right || s.Dst() != right {
			t.Errorf("IPv6 %v: the right family was refused", is6)
		}
	}
}

// TestSealByDifferenceEqualsFull is the property that all translation rests on.
func TestSealByDifferenceEqualsFull(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 6))
	for range 20000 {
		b := randomWire(rnd).bytes()
		s := mustParse(t, b)
		if !s.VerifyChecksum() {
			t.Fatalf("% x: a right checksum is not recognised", b)
		}
		for range 1 + rnd.IntN(2) { // sealed and changed again
			setAll(rnd, &s, rnd.IntN(8))
			s.Seal(false)
		}
		full := bytes.Clone(b)
		f := mustParse(t, full)
		f.Seal(true)
		if !bytes.Equal(full, b) || !s.VerifyChecksum() {
			t.Fatalf("by difference % x\nafresh        % x", b, full)
		}
		requireGopacketSums(t, b)
	}
}

func TestSealTakesTheOtherZero(t *testing.T) {
	// 0xffff is what a sloppy stack writes for 0; it is valid, and must not lead astray.
	rnd := rand.New(rand.NewPCG(7, 8))
	b := wire{payload: []byte("abcd")}.bytes()
	s := mustParse(t, b)
	s.SetUrgent(0)
	s.Seal(false)
	s.SetUrgent(uint16(b[36])<<8 | uint16(b[37])) // makes the checksum 0
	s.Seal(false)
	if b[36] != 0 || b[37] != 0 {
		t.Fatalf("checksum is % x, the test needs 0", b[36:38])
	}
	b[36], b[37] = 0xff, 0xff
	if !s.VerifyChecksum() {
		t.Fatal("0xffff for 0 is refused")
	}
	setAll(rnd, &s, 5)
	s.SetSeq(^s.Seq())
	s.Seal(false)
	requireGopacketSums(t, b)
}

func TestSealKeepsCorruptionVisible(t *testing.T) {
	b := wire{payload: []byte("abcd")}.bytes()
	b[len(b)-1] ^= 4
	s := mustParse(t, b)
	s.SetSeq(s.Seq() + 1000)
	s.Seal(false)
	if s.VerifyChecksum() {
		t.Error("a corrupt segment got a right checksum")
	}
	b = wire{}.bytes()
	b[8] ^= 1
	if s = mustParse(t, b); s.VerifyChecksum() {
		t.Error("a corrupt IPv4 header was not seen")
	}
}

func TestChanged(t *testing.T) {
	s := mustParse(t, wire{opts: []byte{optTimestamps, 10, 0, 0, 0, 1, 0, 0, 0, 2}}.bytes())
	s.SetSeq(s.Seq())
	s.SetTimestamps(1, 2)
	s.SetWindow(s.Window())
	if s.Changed() {
		t.Error("changed by writing what was there")
	}
	s.SetTimestamps(1, 3)
	s.Seal(false)
	if !s.Changed() {
		t.Error("not changed by a setter")
	}
}

// TestTruncation cuts packets of all shapes at every length, at which nothing may panic and
// nothing but the whole be accepted.
func TestTruncation(t *testing.T) {
	rnd := rand.New(rand.NewPCG(9, 10))
	for range 300 {
		b := randomWire(rnd).bytes()
		for n := range b {
			cut := b[:n:n]
			if _, r := ParseSegment(cut); r == OK {
				t.Fatalf("% x: accepted after %d of %d bytes", b, n, len(b))
			}
			if _, r := ParseICMPError(cut); r == OK {
				t.Fatalf("% x: an ICMP error after %d bytes", b, n)
			}
			AppendUnreachable(nil, netip.MustParseAddr("192.0.2.1"), cut)
		}
	}
}

// establishedSegment is what the benchmarks translate: 1460 bytes of data with timestamps.
func establishedSegment() []byte {
	return AppendSegment(nil, Header{
		Src: netip.MustParseAddrPort("198.51.100.7:40001"), Dst: netip.MustParseAddrPort("192.0.2.100:80"),
		Seq: 1, Ack: 2, Flags: ACK, HasTS: true, TSVal: 3, TSEcr: 4,
	}, make([]byte, 1460))
}

func translateOnce(b []byte) bool {
	s, r := ParseSegment(b)
	if r != OK {
		return false
	}
	s.SetSeq(s.Seq() + 77777)
	s.SetAck(s.Ack() - 12345)
	val, ecr, _ := s.Timestamps()
	s.SetTimestamps(val+99, ecr-98)
	s.Seal(false)
	return s.Changed()
}

func TestTranslationDoesNotAllocate(t *testing.T) {
	seg, six := establishedSegment(), wire{v6: true}.bytes()
	dst := netip.MustParseAddrPort("192.0.2.11:20080")
	if n := testing.AllocsPerRun(100, func() {
		translateOnce(seg)
		s, _ := ParseSegment(seg)
		s.SetDst(dst)
		s.SetSrc(s.Src())
		s.Seal(true)
		s, _ = ParseSegment(six)
		s.SetDst(s.Src())
		if !s.Changed() || s.Dst().Port() == 0 {
			t.Error("the segment was not changed")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkTranslate1460(b *testing.B) {
	p := establishedSegment()
	b.ReportAllocs()
	for b.Loop() {
		if !translateOnce(p) {
			b.Fatal("not changed")
		}
	}
}
