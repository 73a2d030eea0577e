package rewrite

import (
	"encoding/binary"
	"net/netip"
	"slices"
)

// Header describes a segment to be built: a fake or fresh ACK, an RST or a probe.
type Header struct {
	Src, Dst netip.AddrPort // of one family, unmapped
	Seq, Ack Seq
	Flags    Flags
	Window   uint16 // as on the wire, not scaled

	HasTS        bool
	TSVal, TSEcr uint32   // only with HasTS
	SACK         [][2]Seq // [start, end); what has no room, more than 3 with timestamps, is left out

	// The following are written only with SYN.
	MSS           uint16 // bytes; 0 leaves it out
	WScale        int    // 0 to 14; negative leaves it out
	SACKPermitted bool
}

const (
	hopLimit   = 64
	maxOptions = 40    // bytes, by the width of the data offset
	maxIP      = 65535 // bytes, by the width of the length fields
)

// AppendSegment appends a whole IPv4 or IPv6 packet, checksums right, and returns the longer
// slice. It allocates only if dst lacks room. The payload must not overlap dst. It returns dst
// unchanged if the addresses are not of one family or the packet would be too long.
func AppendSegment(dst []byte, h Header, payload []byte) []byte {
	v6 := h.Src.Addr().Is6()
	if !h.Src.IsValid() || !h.Dst.IsValid() || v6 != h.Dst.Addr().Is6() {
		return dst
	}
	var buf [maxOptions]byte
	opts := appendOptions(buf[:0], &h)
	l4 := tcpLen + len(opts) + len(payload)
	dst, p := appendIP(dst, h.Src.Addr(), h.Dst.Addr(), protoTCP, l4)
	if p == nil {
		return dst
	}
	t := p[len(p)-l4:]
	be := binary.BigEndian
	be.PutUint16(t[tcpSrcPort:], h.Src.Port())
	be.PutUint16(t[tcpDstPort:], h.Dst.Port())
	be.PutUint32(t[tcpSeq:], uint32(h.Seq))
	be.PutUint32(t[tcpAck:], uint32(h.Ack))
	t[tcpDataOff] = uint8((tcpLen+len(opts))/4) << 4
	t[tcpFlags] = uint8(h.Flags)
	be.PutUint16(t[tcpWindow:], h.Window)
	be.PutUint32(t[tcpChecksum:], 0) // and the urgent pointer
	copy(t[tcpLen:], opts)
	copy(t[tcpLen+len(opts):], payload)
	putChecksum(t[tcpChecksum:], pseudoSum(p, protoTCP, l4)+sum(t))
	return dst
}

// appendOptions appends h's options, padded to a multiple of four bytes, at most maxOptions.
func appendOptions(b []byte, h *Header) []byte {
	be := binary.BigEndian
	if h.Flags.Has(SYN) {
		if h.MSS != 0 {
			b = append(b, optMSS, lenMSS)
			b = be.AppendUint16(b, h.MSS)
		}
		if h.WScale >= 0 {
			b = append(b, optNOP, optWindowScale, lenWindowScale, uint8(h.WScale))
		}
		if h.SACKPermitted {
			b = append(b, optNOP, optNOP, optSACKPermitted, lenSACKPermitted)
		}
	}
	if h.HasTS {
		b = append(b, optNOP, optNOP, optTimestamps, lenTimestamps)
		b = be.AppendUint32(b, h.TSVal)
		b = be.AppendUint32(b, h.TSEcr)
	}
	n := min(len(h.SACK), (maxOptions-len(b)-4)/sackBlock)
	if n <= 0 {
		return b
	}
	b = append(b, optNOP, optNOP, optSACK, uint8(2+n*sackBlock))
	for _, block := range h.SACK[:n] {
		b = be.AppendUint32(b, uint32(block[0]))
		b = be.AppendUint32(b, uint32(block[1]))
	}
	return b
}

// appendIP appends an IP header and n bytes of undefined content for the upper layer, and
// returns the longer slice and the new packet within it, which is nil if it would be too long.
// The addresses are of one family. IPv4 packets have DF set, and therefore need no
// identification (RFC 6864 §4.1).
func appendIP(dst []byte, from, to netip.Addr, proto uint8, n int) (all, p []byte) {
	if ipv6Len+n > maxIP {
		return dst, nil
	}
	size := ipv4Len
	if from.Is6() {
		size = ipv6Len
	}
	old := len(dst)
	dst = slices.Grow(dst, size+n)[:old+size+n]
	p = dst[old:]
	clear(p[:size])
	be := binary.BigEndian
	if from.Is6() {
		p[0] = 6 << 4
		be.PutUint16(p[4:], uint16(n))
		p[6], p[7] = proto, hopLimit
		src, to := from.As16(), to.As16()
		copy(p[8:], src[:])
		copy(p[24:], to[:])
		return dst, p
	}
	const dontFragment = 0x4000
	p[0] = 4<<4 | ipv4Len/4
	be.PutUint16(p[2:], uint16(size+n))
	be.PutUint16(p[6:], dontFragment)
	p[8], p[9] = hopLimit, proto
	src, dst4 := from.As4(), to.As4()
	copy(p[12:], src[:])
	copy(p[16:], dst4[:])
	putChecksum(p[ipv4Checksum:], sum(p[:ipv4Len]))
	return dst, p
}
