package rewrite

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// addWires seeds f with packets of every shape.
func addWires(f *testing.F) {
	rnd := rand.New(rand.NewPCG(17, 18))
	for range 40 {
		f.Add(randomWire(rnd).bytes(), uint64(3))
	}
	f.Add(establishedSegment(), uint64(1))
}

// FuzzParseSegment: whatever is accepted can be read and changed without panic, stays within
// its bytes, and keeps the error of its checksum, if any, under every change.
func FuzzParseSegment(f *testing.F) {
	addWires(f)
	f.Fuzz(func(t *testing.T, b []byte, seed uint64) {
		s, r := ParseSegment(b)
		if r != OK {
			return
		}
		if n := len(s.Bytes()); n > len(b) || int(s.PayloadLen()) > n-tcpLen-ipv4Len {
			t.Fatalf("%d bytes, %d payload out of %d", n, s.PayloadLen(), len(b))
		}
		after := bytes.Clone(b[len(s.Bytes()):])
		rnd := rand.New(rand.NewPCG(seed, 0))
		right := s.VerifyChecksum()
		setAll(rnd, &s, 6)
		s.Seal(false)
		if s.VerifyChecksum() != right {
			t.Fatalf("checksum was right: %v, and is not so now", right)
		}
		again, r := ParseSegment(b)
		if r != OK || again.opt != s.opt || again.data != s.data {
			t.Fatalf("the changed segment reads as %v %+v, not %+v", r, again.opt, s.opt)
		}
		if !bytes.Equal(after, b[len(s.Bytes()):]) {
			t.Fatal("bytes behind the packet were written")
		}
	})
}

// FuzzOptions puts any bytes where the options stand: what is accepted is accepted again
// after the SYN's cleaning, and reads the same.
func FuzzOptions(f *testing.F) {
	rnd := rand.New(rand.NewPCG(19, 20))
	for range 40 {
		f.Add(randomWire(rnd).opts)
	}
	f.Add([]byte{0, 8, 200, 3})
	f.Add([]byte{8, 255})
	f.Fuzz(func(t *testing.T, opts []byte) {
		b := wire{opts: opts[:min(len(opts), maxOptions)], payload: []byte("data")}.bytes()
		s, r := ParseSegment(b)
		if r == BadOption {
			return
		}
		if r != OK || string(s.Payload()) != "data" {
			t.Fatalf("%v, payload %q", r, s.Payload())
		}
		s.KeepSYNOptions()
		s.Seal(false)
		again := mustParse(t, b)
		if again.opt != s.opt || again.SACKCount() != 0 || !again.VerifyChecksum() {
			t.Fatalf("% x: %+v, then %+v", opts, s.opt, again.opt)
		}
	})
}

// FuzzParseICMPError: as FuzzParseSegment.
func FuzzParseICMPError(f *testing.F) {
	rnd := rand.New(rand.NewPCG(21, 22))
	for range 40 {
		w := randomWire(rnd)
		f.Add(AppendUnreachable(nil, router(w.v6), w.bytes()), uint32(5))
	}
	f.Fuzz(func(t *testing.T, b []byte, seq uint32) {
		AppendUnreachable(nil, routerV4, b)
		AppendUnreachable(nil, routerV6, b)
		e, r := ParseICMPError(b)
		if r != OK {
			return
		}
		right := e.VerifyChecksum()
		src, dst := e.QuotedSrc(), e.QuotedDst()
		e.SetQuotedSeq(Seq(seq))
		e.SetOuterDst(e.OuterSrc())
		e.Seal()
		if e.VerifyChecksum() != right || e.QuotedSrc() != src || e.QuotedDst() != dst || e.QuotedSeq() != Seq(seq) {
			t.Fatalf("checksum was right: %v; %v > %v became %v > %v", right, src, dst, e.QuotedSrc(), e.QuotedDst())
		}
	})
}
