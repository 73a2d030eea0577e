package rewrite

import (
	"encoding/binary"
	"net/netip"
)

// ICMP error types (RFC 792) and the codes used here.
const (
	icmpUnreachable   = 3
	icmpSourceQuench  = 4
	icmpTimeExceeded  = 11
	icmpParameter     = 12
	icmpHostUnreach   = 1 // code of icmpUnreachable
	icmpv6Unreachable = 1 // RFC 4443 §3.1; with code 0, no route
	icmpv6TooBig      = 2
	icmpv6TimeExceed  = 3
	icmpv6Parameter   = 4
)

const (
	icmpLen      = 8 // header before the quote, in both families
	icmpChecksum = 2 // offset
	// quotedTCP is what must be left of the quoted TCP header: ports and sequence number, the
	// 8 bytes that RFC 792 asks for.
	quotedTCP = 8
	// maxErrorV4 and maxErrorV6 bound the length of an error in bytes (RFC 1812 §4.3.2.3,
	// RFC 4443 §2.4).
	maxErrorV4 = 576
	maxErrorV6 = 1280
)

// ICMPError is a view over a whole IPv4 or IPv6 packet that holds an ICMP error about a TCP
// segment. It aliases the buffer, and is used as a Segment is: setters write at once, Seal
// brings the checksum in line.
type ICMPError struct {
	b     []byte // exactly the packet
	l4    int    // offset of the ICMP header
	quote int    // offset of the quoted IP header
	tcp   int    // offset of the quoted TCP header

	diff    sumDiff
	ipDiff  sumDiff
	changed bool
}

// ParseICMPError looks at the packet at the start of b. Bytes after it are cut off; no
// checksum is verified. The view is usable only if the reason is OK: otherwise it is
// Truncated, BadHeader, Fragment, NotICMPError, or NotTCP for an error about something else.
// Redirects are no errors.
func ParseICMPError(b []byte) (ICMPError, Reason) {
	ip, r := parseIP(b, false)
	if r != OK {
		return ICMPError{}, r
	}
	if ip.proto != icmpProto(b) {
		return ICMPError{}, NotICMPError
	}
	if ip.end-ip.l4 < icmpLen {
		return ICMPError{}, Truncated
	}
	if !isError(b[0]>>4 == 6, b[ip.l4]) {
		return ICMPError{}, NotICMPError
	}
	e := ICMPError{b: b[:ip.end:ip.end], l4: ip.l4, quote: ip.l4 + icmpLen}
	quoted, r := parseIP(e.b[e.quote:], true)
	switch {
	case r != OK:
		return ICMPError{}, r
	case e.b[e.quote]>>4 != e.b[0]>>4:
		return ICMPError{}, BadHeader
	case quoted.proto != protoTCP:
		return ICMPError{}, NotTCP
	case quoted.end-quoted.l4 < quotedTCP:
		return ICMPError{}, Truncated
	}
	e.tcp = e.quote + quoted.l4
	return e, OK
}

// icmpProto returns the protocol number of ICMP for the family of packet b.
func icmpProto(b []byte) uint8 {
	if b[0]>>4 == 6 {
		return protoICMPv6
	}
	return protoICMP
}

func isError(v6 bool, kind uint8) bool {
	if v6 {
		return kind >= icmpv6Unreachable && kind <= icmpv6Parameter
	}
	switch kind {
	case icmpUnreachable, icmpSourceQuench, icmpTimeExceeded, icmpParameter:
		return true
	}
	return false
}

// Bytes returns exactly the packet.
func (e *ICMPError) Bytes() []byte { return e.b }

// IsIPv6 reports whether the packet is IPv6.
func (e *ICMPError) IsIPv6() bool { return e.b[0]>>4 == 6 }

// Type returns ICMP type and code, whose meaning depends on the family.
func (e *ICMPError) Type() (kind, code uint8) { return e.b[e.l4], e.b[e.l4+1] }

// OuterSrc returns who sent the error.
func (e *ICMPError) OuterSrc() netip.Addr {
	src, _ := addrOffsets(e.IsIPv6())
	return addrAt(e.b[src:], e.IsIPv6())
}

// OuterDst returns to whom the error is sent.
func (e *ICMPError) OuterDst() netip.Addr {
	_, dst := addrOffsets(e.IsIPv6())
	return addrAt(e.b[dst:], e.IsIPv6())
}

// QuotedSrc returns where the segment that met the error came from: the receiver of the error.
func (e *ICMPError) QuotedSrc() netip.AddrPort {
	src, _ := addrOffsets(e.IsIPv6())
	return netip.AddrPortFrom(addrAt(e.b[e.quote+src:], e.IsIPv6()),
		binary.BigEndian.Uint16(e.b[e.tcp+tcpSrcPort:]))
}

// QuotedDst returns where the segment that met the error was going.
func (e *ICMPError) QuotedDst() netip.AddrPort {
	_, dst := addrOffsets(e.IsIPv6())
	return netip.AddrPortFrom(addrAt(e.b[e.quote+dst:], e.IsIPv6()),
		binary.BigEndian.Uint16(e.b[e.tcp+tcpDstPort:]))
}

// QuotedSeq returns the sequence number of the segment that met the error.
func (e *ICMPError) QuotedSeq() Seq { return Seq(binary.BigEndian.Uint32(e.b[e.tcp+tcpSeq:])) }

// SetQuotedSeq changes the quoted sequence number, by which a kernel judges whether the error
// is about something it has sent (RFC 5927 §4.1). The checksum of the quoted segment, which
// need not even be there, is left alone.
func (e *ICMPError) SetQuotedSeq(v Seq) {
	at := e.tcp + tcpSeq
	e.diff.add32(0, binary.BigEndian.Uint32(e.b[at:]), uint32(v))
	binary.BigEndian.PutUint32(e.b[at:], uint32(v))
	e.changed = true
}

// SetOuterDst changes to whom the error is sent. It returns false and changes nothing if the
// address is not of the packet's family.
func (e *ICMPError) SetOuterDst(a netip.Addr) bool {
	_, dst := addrOffsets(e.IsIPv6())
	pseudo := &e.diff
	if !e.IsIPv6() {
		pseudo = new(sumDiff) // ICMP for IPv4 has no pseudo header
	}
	if !putAddr(e.b, dst, a, pseudo, &e.ipDiff) {
		return false
	}
	e.changed = true
	return true
}

// Changed reports whether a setter was used since the packet was parsed.
func (e *ICMPError) Changed() bool { return e.changed }

// VerifyChecksum reports whether the IPv4 header checksum and the ICMP checksum are right.
func (e *ICMPError) VerifyChecksum() bool {
	if !e.IsIPv6() && fold(sum(e.b[:e.b[0]&0xf*4])) != 0xffff {
		return false
	}
	return fold(icmpSum(e.b, e.l4)) == 0xffff
}

// Seal updates the checksums by the changes made; an error that was corrupt stays so.
func (e *ICMPError) Seal() {
	if e.ipDiff != 0 {
		e.ipDiff.apply(e.b[ipv4Checksum:])
	}
	e.diff.apply(e.b[e.l4+icmpChecksum:])
}

// icmpSum returns the sum of the ICMP message at l4 of packet b, for IPv6 with the pseudo
// header (RFC 4443 §2.3).
func icmpSum(b []byte, l4 int) uint64 {
	s := sum(b[l4:])
	if b[0]>>4 == 6 {
		s += pseudoSum(b, protoICMPv6, len(b)-l4)
	}
	return s
}

// AppendUnreachable appends an ICMP error from address from to the source of the IP packet
// quoted, and returns the longer slice: host unreachable for IPv4, no route for IPv6. A kernel
// that is told so about its first unacknowledged segment, after a retransmission, takes one
// doubling of its timer back (RFC 6069) and retries at once if the shorter time is over. So
// the same error is given as many times as the timer may have been doubled: eight in a row made
// Linux retry within a millisecond and start over at 200 ms. It returns dst unchanged if
// quoted is not a whole IP header or from is of another family. quoted must not overlap dst.
func AppendUnreachable(dst []byte, from netip.Addr, quoted []byte) []byte {
	ip, r := parseIP(quoted, true)
	if r != OK || from.Is6() != (quoted[0]>>4 == 6) || !from.IsValid() {
		return dst
	}
	v6 := from.Is6()
	kind, code, limit := uint8(icmpUnreachable), uint8(icmpHostUnreach), maxErrorV4-ipv4Len
	if v6 {
		kind, code, limit = icmpv6Unreachable, 0, maxErrorV6-ipv6Len
	}
	quoted = quoted[:min(ip.end, limit-icmpLen)]
	src, _ := addrOffsets(v6)
	n := icmpLen + len(quoted)
	dst, p := appendIP(dst, from, addrAt(quoted[src:], v6), icmpProto(quoted), n)
	m := p[len(p)-n:]
	clear(m[:icmpLen])
	m[0], m[1] = kind, code
	copy(m[icmpLen:], quoted)
	putChecksum(m[icmpChecksum:], icmpSum(p, len(p)-n))
	return dst
}
