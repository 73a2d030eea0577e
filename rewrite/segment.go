package rewrite

import (
	"encoding/binary"
	"net/netip"
)

// Flags is the TCP flag byte (RFC 9293 §3.1).
type Flags uint8

// The TCP flags.
const (
	FIN Flags = 1 << iota
	SYN
	RST
	PSH
	ACK
	URG
	ECE
	CWR
)

// Has reports whether all of g are set in f.
func (f Flags) Has(g Flags) bool { return f&g == g }

// Any reports whether at least one of g is set in f.
func (f Flags) Any(g Flags) bool { return f&g != 0 }

// Offsets into the TCP header (RFC 9293 §3.1).
const (
	tcpSrcPort  = 0
	tcpDstPort  = 2
	tcpSeq      = 4
	tcpAck      = 8
	tcpDataOff  = 12
	tcpFlags    = 13
	tcpWindow   = 14
	tcpChecksum = 16
	tcpUrgent   = 18
	tcpLen      = 20 // without options
)

// Segment is a view over one whole IPv4 or IPv6 packet that holds a TCP segment. It aliases
// the buffer it was parsed from; setters write there at once, but the checksums follow only
// with Seal. A copy of a Segment shares the bytes but not the memory of what changed, so use
// one of them. Not safe for concurrent use. The zero Segment must not be used.
type Segment struct {
	b    []byte // exactly the packet
	l4   int    // offset of the TCP header, even
	data int    // offset of the payload
	opt  options

	diff    sumDiff // of the TCP sum, pseudo header included
	ipDiff  sumDiff // of the IPv4 header's sum
	changed bool
}

// ParseSegment looks at the packet at the start of b and validates all lengths that the other
// methods rely on. It verifies no checksum. Bytes after the packet (Ethernet padding) are cut
// off. The Segment is usable only if the reason is OK: otherwise it is Truncated, BadHeader,
// BadOption, Fragment or NotTCP. IPv6 extension headers other than hop-by-hop and destination
// options count as NotTCP.
func ParseSegment(b []byte) (Segment, Reason) {
	ip, r := parseIP(b, false)
	if r != OK {
		return Segment{}, r
	}
	if ip.proto != protoTCP {
		return Segment{}, NotTCP
	}
	if ip.end-ip.l4 < tcpLen {
		return Segment{}, Truncated
	}
	s := Segment{b: b[:ip.end:ip.end], l4: ip.l4}
	s.data = s.l4 + int(b[s.l4+tcpDataOff]>>4)*4
	if s.data < s.l4+tcpLen || s.data > ip.end {
		return Segment{}, BadHeader
	}
	if s.data > s.l4+tcpLen && !s.opt.parse(b[:s.data], s.l4+tcpLen) {
		return Segment{}, BadOption
	}
	return s, OK
}

// Bytes returns exactly the packet, from the IP header to the end of the payload.
func (s *Segment) Bytes() []byte { return s.b }

// IsIPv6 reports whether the packet is IPv6.
func (s *Segment) IsIPv6() bool { return s.b[0]>>4 == 6 }

// Src returns the source address and port, without zone and as on the wire.
func (s *Segment) Src() netip.AddrPort {
	src, _ := addrOffsets(s.IsIPv6())
	return netip.AddrPortFrom(addrAt(s.b[src:], s.IsIPv6()), s.get16(tcpSrcPort))
}

// Dst returns the destination address and port.
func (s *Segment) Dst() netip.AddrPort {
	_, dst := addrOffsets(s.IsIPv6())
	return netip.AddrPortFrom(addrAt(s.b[dst:], s.IsIPv6()), s.get16(tcpDstPort))
}

// Seq returns the sequence number.
func (s *Segment) Seq() Seq { return Seq(binary.BigEndian.Uint32(s.b[s.l4+tcpSeq:])) }

// Ack returns the acknowledgment number; it means something only with ACK set.
func (s *Segment) Ack() Seq { return Seq(binary.BigEndian.Uint32(s.b[s.l4+tcpAck:])) }

// Flags returns the flag byte.
func (s *Segment) Flags() Flags { return Flags(s.b[s.l4+tcpFlags]) }

// Window returns the window field as on the wire, not scaled.
func (s *Segment) Window() uint16 { return s.get16(tcpWindow) }

// Urgent returns the urgent pointer; it means something only with URG set.
func (s *Segment) Urgent() uint16 { return s.get16(tcpUrgent) }

// Payload returns the data. It aliases the packet and must not be written to.
func (s *Segment) Payload() []byte { return s.b[s.data:] }

// PayloadLen returns the length of the data in bytes.
func (s *Segment) PayloadLen() Size { return Size(len(s.b) - s.data) }

// Len returns SEG.LEN: the data, and one each for SYN and FIN (RFC 9293 §3.4).
func (s *Segment) Len() Size {
	f := s.Flags()
	return s.PayloadLen() + Size(f&FIN) + Size(f&SYN>>1)
}

// End returns the sequence number after the segment.
func (s *Segment) End() Seq { return s.Seq().Add(s.Len()) }

// SetSrc changes source address and port. It returns false and changes nothing if the address
// is not of the packet's family.
func (s *Segment) SetSrc(a netip.AddrPort) bool {
	src, _ := addrOffsets(s.IsIPv6())
	return s.setEnd(src, tcpSrcPort, a)
}

// SetDst changes destination address and port, as SetSrc does.
func (s *Segment) SetDst(a netip.AddrPort) bool {
	_, dst := addrOffsets(s.IsIPv6())
	return s.setEnd(dst, tcpDstPort, a)
}

func (s *Segment) setEnd(addr, port int, a netip.AddrPort) bool {
	if !putAddr(s.b, addr, a.Addr(), &s.diff, &s.ipDiff) {
		return false
	}
	s.changed = true
	s.put16(s.l4+port, a.Port())
	return true
}

// SetSeq changes the sequence number.
func (s *Segment) SetSeq(v Seq) { s.put32(s.l4+tcpSeq, uint32(v)) }

// SetAck changes the acknowledgment number.
func (s *Segment) SetAck(v Seq) { s.put32(s.l4+tcpAck, uint32(v)) }

// SetFlags changes the flag byte.
func (s *Segment) SetFlags(v Flags) { s.put8(s.l4+tcpFlags, uint8(v)) }

// SetWindow changes the window field, not scaled.
func (s *Segment) SetWindow(v uint16) { s.put16(s.l4+tcpWindow, v) }

// SetUrgent changes the urgent pointer.
func (s *Segment) SetUrgent(v uint16) { s.put16(s.l4+tcpUrgent, v) }

// Changed reports whether a setter has altered the packet since it was parsed, sealed or not.
func (s *Segment) Changed() bool { return s.changed }

// VerifyChecksum reports whether the IPv4 header checksum and the full TCP checksum are right
// for the bytes as they are now. A partial checksum is wrong.
func (s *Segment) VerifyChecksum() bool {
	if !s.IsIPv6() && fold(sum(s.b[:s.b[0]&0xf*4])) != 0xffff {
		return false
	}
	return fold(s.tcpSum()) == 0xffff
}

// Seal brings the checksums in line with the changes made; a segment may be changed and
// sealed again. With full false the TCP checksum, which must have been a full one, is updated
// by the differences, so that a segment that was corrupt stays recognisably so. With full
// true it is computed afresh, which is for packets that hold a partial one, and only for them:
// it would launder corruption.
func (s *Segment) Seal(full bool) {
	if s.ipDiff != 0 {
		s.ipDiff.apply(s.b[ipv4Checksum:])
	}
	field := s.b[s.l4+tcpChecksum : s.l4+tcpChecksum+2]
	if full {
		s.diff = 0
		field[0], field[1] = 0, 0
		putChecksum(field, s.tcpSum())
		return
	}
	s.diff.apply(field)
}

// tcpSum is the sum of pseudo header, header and data.
func (s *Segment) tcpSum() uint64 {
	return pseudoSum(s.b, protoTCP, len(s.b)-s.l4) + sum(s.b[s.l4:])
}

// get16 reads 16 bits at off of the TCP header.
func (s *Segment) get16(off int) uint16 { return binary.BigEndian.Uint16(s.b[s.l4+off:]) }

// The put functions write at offset off of the packet, and note the difference. Offsets in the
// packet and in the TCP header are odd together.

func (s *Segment) put8(off int, v uint8) {
	if old := s.b[off]; old != v {
		s.b[off] = v
		s.diff.add8(off, old, v)
		s.changed = true
	}
}

func (s *Segment) put16(off int, v uint16) {
	p := s.b[off : off+2]
	if old := binary.BigEndian.Uint16(p); old != v {
		binary.BigEndian.PutUint16(p, v)
		s.diff.add16(off, old, v)
		s.changed = true
	}
}

func (s *Segment) put32(off int, v uint32) {
	p := s.b[off : off+4]
	if old := binary.BigEndian.Uint32(p); old != v {
		binary.BigEndian.PutUint32(p, v)
		s.diff.add32(off, old, v)
		s.changed = true
	}
}
