package rewrite

import (
	"math/rand/v2"
	"testing"
)

func TestSumAgreesWithTheDefinition(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	b := make([]byte, 70000)
	for i := range b {
		b[i] = byte(rnd.Uint32())
	}
	check := func(b []byte) {
		t.Helper()
		if got, want := fold(sum(b)), naiveSum(b); got != want {
			t.Fatalf("%d bytes: %#04x, want %#04x", len(b), got, want)
		}
	}
	for n := range 600 {
		check(b[n : 2*n])
	}
	check(b[:65535])
	check(b)
	for i := range b {
		b[i] = 0xff // every addition carries
	}
	for n := range 600 {
		check(b[:n])
	}
}

func TestFold(t *testing.T) {
	for s, want := range map[uint64]uint16{
		0: 0, 1: 1, 0xffff: 0xffff, 0x10000: 1, 0x1fffe: 0xffff, 0xffffffff: 0xffff,
		0x1_0000_0000: 1, 0xffff_ffff_ffff_ffff: 0xffff, 0x8000_0000_0000_0000: 0x8000,
	} {
		if got := fold(s); got != want {
			t.Errorf("fold(%#x) = %#x, want %#x", s, got, want)
		}
	}
}

// TestDifferenceEqualsRecomputation changes numbers of all widths at all alignments.
func TestDifferenceEqualsRecomputation(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	for range 20000 {
		b := make([]byte, 16)
		b[0] = 1 // never all zero
		for i := 3; i < len(b); i++ {
			b[i] = []byte{0, 0xff, byte(rnd.Uint32())}[rnd.IntN(3)]
		}
		putChecksum(b[14:], sum(b[:14]))
		var d sumDiff
		for range rnd.IntN(6) {
			at := 1 + rnd.IntN(9)
			v := []uint32{0, 0xffffffff, rnd.Uint32()}[rnd.IntN(3)]
			old := uint32(b[at])<<24 | uint32(b[at+1])<<16 | uint32(b[at+2])<<8 | uint32(b[at+3])
			switch rnd.IntN(3) {
			case 0:
				d.add8(at, b[at], byte(v))
				b[at] = byte(v)
			case 1:
				d.add16(at, uint16(old>>16), uint16(v))
				b[at], b[at+1] = byte(v>>8), byte(v)
			case 2:
				d.add32(at, old, v)
				b[at], b[at+1], b[at+2], b[at+3] = byte(v>>24), byte(v>>16), byte(v>>8), byte(v)
			}
		}
		d.apply(b[14:])
		if got, want := [2]byte(b[14:]), ^naiveSum(b[:14]); got != [2]byte{byte(want >> 8), byte(want)} {
			t.Fatalf("% x: checksum should be %#04x", b, want)
		}
	}
}

func BenchmarkSum64K(b *testing.B) {
	p := make([]byte, 65535)
	b.SetBytes(int64(len(p)))
	var s uint64
	for b.Loop() {
		s += sum(p)
	}
	_ = s
}
