package rewrite

import (
	"bytes"
	"math/rand/v2"
	"net/netip"
	"testing"
)

func TestAppendSegmentReadsBack(t *testing.T) {
	rnd := rand.New(rand.NewPCG(13, 14))
	for range 5000 {
		v6 := rnd.IntN(2) == 0
		h := Header{
			Src: netip.AddrPortFrom(randomAddr(rnd, v6), uint16(rnd.Uint32())),
			Dst: netip.AddrPortFrom(randomAddr(rnd, v6), uint16(rnd.Uint32())),
			Seq: Seq(rnd.Uint32()), Ack: Seq(rnd.Uint32()),
			Flags: Flags(rnd.Uint32()), Window: uint16(rnd.Uint32()),
			HasTS: rnd.IntN(2) == 0, TSVal: rnd.Uint32(), TSEcr: rnd.Uint32(),
			MSS: uint16(rnd.IntN(3)), WScale: rnd.IntN(3) - 1, SACKPermitted: rnd.IntN(2) == 0,
		}
		for range rnd.IntN(6) {
			h.SACK = append(h.SACK, [2]Seq{Seq(rnd.Uint32()), Seq(rnd.Uint32())})
		}
		payload := make([]byte, rnd.IntN(9))
		prefix := []byte("prefix")
		dirty := append(prefix, bytes.Repeat([]byte{0xee}, 200)...)[:len(prefix)]
		b := AppendSegment(dirty, h, payload)
		if !bytes.HasPrefix(b, prefix) {
			t.Fatal("what was there is gone")
		}
		b = b[len(prefix):]
		requireGopacketSums(t, b)
		s := mustParse(t, b)
		requireHeader(t, &s, h)
		if !bytes.Equal(s.Payload(), payload) {
			t.Fatalf("payload % x", s.Payload())
		}
	}
}

func requireHeader(t *testing.T, s *Segment, h Header) {
	t.Helper()
	if s.Src() != h.Src || s.Dst() != h.Dst || s.Seq() != h.Seq || s.Ack() != h.Ack ||
		s.Flags() != h.Flags || s.Window() != h.Window || s.Urgent() != 0 {
		t.Fatalf("fields differ from %+v", h)
	}
	if v, e, ok := s.Timestamps(); ok != h.HasTS || ok && (v != h.TSVal || e != h.TSEcr) {
		t.Fatalf("timestamps %d/%d %v, built from %+v", v, e, ok, h)
	}
	syn := h.Flags.Has(SYN)
	if v, ok := s.MSS(); ok != (syn && h.MSS != 0) || ok && v != h.MSS {
		t.Fatalf("MSS %d %v, built from %+v", v, ok, h)
	}
	if v, ok := s.WindowScale(); ok != (syn && h.WScale >= 0) || ok && int(v) != h.WScale {
		t.Fatalf("window scale %d %v, built from %+v", v, ok, h)
	}
	if s.SACKPermitted() != (syn && h.SACKPermitted) {
		t.Fatalf("SACK-permitted %v, built from %+v", s.SACKPermitted(), h)
	}
	want := min(len(h.SACK), 4)
	if h.HasTS {
		want = min(want, 3)
	}
	if !syn && s.SACKCount() != want || s.SACKCount() > len(h.SACK) {
		t.Fatalf("%d SACK blocks, built from %+v", s.SACKCount(), h)
	}
	for i := range s.SACKCount() {
		if start, end := s.SACK(i); start != h.SACK[i][0] || end != h.SACK[i][1] {
			t.Fatalf("SACK block %d is [%d,%d), built from %+v", i, start, end, h)
		}
	}
}

func TestAppendSegmentRefuses(t *testing.T) {
	v4, v6 := netip.MustParseAddrPort("192.0.2.1:9"), netip.MustParseAddrPort("[2001:db8::1]:9")
	was := []byte("was")
	for name, b := range map[string][]byte{
		"two families": AppendSegment(was, Header{Src: v4, Dst: v6}, nil),
		"no source":    AppendSegment(was, Header{Dst: v4}, nil),
		"no address":   AppendSegment(was, Header{}, nil),
		"too long":     AppendSegment(was, Header{Src: v4, Dst: v4}, make([]byte, 65536)),
	} {
		if !bytes.Equal(b, was) {
			t.Errorf("%s: %d bytes were built", name, len(b))
		}
	}
}

func TestAppendSegmentDoesNotAllocate(t *testing.T) {
	v6 := netip.MustParseAddrPort("[2001:db8::1]:9")
	sack := [][2]Seq{{1, 2}, {3, 4}}
	buf := make([]byte, 0, 200)
	if n := testing.AllocsPerRun(100, func() {
		b := AppendSegment(buf, Header{Src: v6, Dst: v6, Flags: ACK, HasTS: true, SACK: sack}, nil)
		buf = b[:0]
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkAppendSegment(b *testing.B) {
	a := netip.MustParseAddrPort("192.0.2.1:9")
	buf := make([]byte, 0, 200)
	b.ReportAllocs()
	for b.Loop() {
		buf = AppendSegment(buf[:0], Header{Src: a, Dst: a, Flags: ACK, HasTS: true}, nil)
	}
}
