package rewrite

import (
	"encoding/binary"
	"math/bits"
)

// A full checksum covers the pseudo header, the header and the data, and is what travels. A
// partial one is what the kernel leaves in a packet whose checksum the network card is to
// complete: the sum of the pseudo header alone, not complemented. A difference can be applied
// only to a full checksum; over a partial one it breaks the packet, which therefore needs its
// checksum computed afresh.

// sum returns the ones-complement sum of b as big-endian 16-bit words (RFC 1071), not
// complemented, an odd last byte padded with zero. Sums of pieces may be added up before fold
// if all pieces but the last are of even length. It is at most 0xffff.
func sum(b []byte) uint64 {
	// A ones-complement sum does not care in which byte order it is taken as long as the
	// result is swapped back, so the loads are little-endian, which is free where it counts.
	var s, c uint64
	le := binary.LittleEndian
	for len(b) >= 128 {
		p := b[:128]
		s, c = bits.Add64(s, le.Uint64(p[0:]), c)
		s, c = bits.Add64(s, le.Uint64(p[8:]), c)
		s, c = bits.Add64(s, le.Uint64(p[16:]), c)
		s, c = bits.Add64(s, le.Uint64(p[24:]), c)
		s, c = bits.Add64(s, le.Uint64(p[32:]), c)
		s, c = bits.Add64(s, le.Uint64(p[40:]), c)
		s, c = bits.Add64(s, le.Uint64(p[48:]), c)
		s, c = bits.Add64(s, le.Uint64(p[56:]), c)
		s, c = bits.Add64(s, le.Uint64(p[64:]), c)
		s, c = bits.Add64(s, le.Uint64(p[72:]), c)
		s, c = bits.Add64(s, le.Uint64(p[80:]), c)
		s, c = bits.Add64(s, le.Uint64(p[88:]), c)
		s, c = bits.Add64(s, le.Uint64(p[96:]), c)
		s, c = bits.Add64(s, le.Uint64(p[104:]), c)
		s, c = bits.Add64(s, le.Uint64(p[112:]), c)
		s, c = bits.Add64(s, le.Uint64(p[120:]), c)
		b = b[128:]
	}
	for len(b) >= 8 {
		s, c = bits.Add64(s, le.Uint64(b), c)
		b = b[8:]
	}
	var tail uint64
	for i, x := range b {
		tail |= uint64(x) << (8 * i)
	}
	s, c = bits.Add64(s, tail, c)
	s, c = bits.Add64(s, 0, c)
	return uint64(bits.ReverseBytes16(fold(s + c)))
}

// fold brings a sum down to 16 bits, carries added back in. It is zero only for zero.
func fold(s uint64) uint16 {
	s = s>>32 + s&0xffffffff
	s = s>>32 + s&0xffffffff
	s = s>>16 + s&0xffff
	s = s>>16 + s&0xffff
	return uint16(s)
}

// pseudoSum returns the sum of the pseudo header (RFC 9293 §3.1, RFC 8200 §8.1) of IP packet
// b, whose upper layer is proto and n bytes long.
func pseudoSum(b []byte, proto uint8, n int) uint64 {
	addrs := b[12:20]
	if b[0]>>4 == 6 {
		addrs = b[8:40]
	}
	return sum(addrs) + uint64(proto) + uint64(n)
}

// sumDiff is what a packet's ones-complement sum has grown by, not folded. Zero is no
// difference. It holds more than 2^30 changes.
type sumDiff uint64

// add8 notes that the byte at offset off of the summed data went from old to new.
func (d *sumDiff) add8(off int, old, new uint8) {
	shift := 8 * (^off & 1)
	*d += sumDiff(^(uint16(old) << shift)) + sumDiff(uint16(new)<<shift)
}

// add16 notes a changed 16-bit number; off may be odd, and then its bytes count swapped.
func (d *sumDiff) add16(off int, old, new uint16) {
	r := 8 * (off & 1)
	*d += sumDiff(bits.RotateLeft16(^old, r)) + sumDiff(bits.RotateLeft16(new, r))
}

// add32 is add16 for 32 bits: 2^32 and 2^16 are both 1 in this arithmetic.
func (d *sumDiff) add32(off int, old, new uint32) {
	r := 8 * (off & 1)
	*d += sumDiff(bits.RotateLeft32(^old, r)) + sumDiff(bits.RotateLeft32(new, r))
}

// apply updates the full checksum at the start of b, HC' = ~(~HC + ~m + m') (RFC 1624 §3
// eqn 3), and forgets the difference. No header that is summed here is all zero, so a
// computed checksum is never 0xffff; the equivalent 0 is written for it, as a fresh sum would.
func (d *sumDiff) apply(b []byte) {
	if *d == 0 {
		return
	}
	old := binary.BigEndian.Uint16(b)
	putChecksum(b, uint64(^old)+uint64(*d))
	*d = 0
}

// putChecksum writes the complement of sum s at the start of b.
func putChecksum(b []byte, s uint64) {
	c := ^fold(s)
	if c == 0xffff {
		c = 0
	}
	binary.BigEndian.PutUint16(b, c)
}
