package rewrite

import (
	"encoding/binary"
	"net/netip"
)

// IP protocol numbers and IPv6 next headers.
const (
	protoHopByHop = 0
	protoICMP     = 1
	protoTCP      = 6
	protoFragment = 44
	protoICMPv6   = 58
	protoDestOpts = 60
)

const (
	ipv4Len = 20 // without options
	ipv6Len = 40 // the fixed header
	// ipv4Checksum is the offset of the header checksum.
	ipv4Checksum = 10
	// maxExtHeaders is how many IPv6 extension headers are looked through. Nobody sends more
	// than two before TCP.
	maxExtHeaders = 4
)

// ipView is what the parsers need to know of an IP header.
type ipView struct {
	l4    int   // offset of the upper layer
	end   int   // end of the packet by its own length
	proto uint8 // of the upper layer
}

// parseIP reads the IP header at the start of b. In a quote, which may be cut short, the
// stated length may exceed b; end never does.
func parseIP(b []byte, quote bool) (ipView, Reason) {
	if len(b) == 0 {
		return ipView{}, Truncated
	}
	switch b[0] >> 4 {
	case 4:
		return parseIPv4(b, quote)
	case 6:
		return parseIPv6(b, quote)
	}
	return ipView{}, BadHeader
}

// parseIPv4 reads a header of RFC 791 §3.1, with any options.
func parseIPv4(b []byte, quote bool) (ipView, Reason) {
	if len(b) < ipv4Len {
		return ipView{}, Truncated
	}
	v := ipView{
		l4:    int(b[0]&0xf) * 4,
		end:   int(binary.BigEndian.Uint16(b[2:])),
		proto: b[9],
	}
	if v.l4 < ipv4Len || v.end < v.l4 {
		return ipView{}, BadHeader
	}
	if v.end > len(b) {
		if !quote {
			return ipView{}, Truncated
		}
		v.end = len(b)
	}
	if v.l4 > v.end {
		return ipView{}, Truncated
	}
	const moreOrOffset = 0x3fff
	if binary.BigEndian.Uint16(b[6:])&moreOrOffset != 0 {
		return v, Fragment
	}
	return v, OK
}

// parseIPv6 reads a header of RFC 8200 §3 and looks through hop-by-hop and destination
// options. Jumbograms (RFC 2675) are refused: they state no length.
func parseIPv6(b []byte, quote bool) (ipView, Reason) {
	if len(b) < ipv6Len {
		return ipView{}, Truncated
	}
	n := int(binary.BigEndian.Uint16(b[4:]))
	if n == 0 && b[6] == protoHopByHop {
		return ipView{}, BadHeader
	}
	v := ipView{l4: ipv6Len, end: ipv6Len + n, proto: b[6]}
	if v.end > len(b) {
		if !quote {
			return ipView{}, Truncated
		}
		v.end = len(b)
	}
	for range maxExtHeaders {
		switch v.proto {
		case protoFragment:
			return v, Fragment
		case protoHopByHop:
			if v.l4 != ipv6Len {
				return ipView{}, BadHeader // only the first may be hop-by-hop (RFC 8200 §4.1)
			}
		case protoDestOpts:
		default:
			return v, OK
		}
		if v.end-v.l4 < 8 {
			return ipView{}, Truncated
		}
		v.proto, v.l4 = b[v.l4], v.l4+8+8*int(b[v.l4+1])
		if v.l4 > v.end {
			return ipView{}, Truncated
		}
	}
	return ipView{}, BadHeader
}

// addrAt returns the address of the same family as the packet at b.
func addrAt(b []byte, v6 bool) netip.Addr {
	if v6 {
		return netip.AddrFrom16([16]byte(b))
	}
	return netip.AddrFrom4([4]byte(b))
}

// addrOffsets returns where source and destination address stand in an IP header.
func addrOffsets(v6 bool) (src, dst int) {
	if v6 {
		return 8, 24
	}
	return 12, 16
}

// putAddr writes a at off, noting the difference in the upper layer's sum (pseudo) and in the
// IPv4 header's (header). It returns false and changes nothing if the family differs.
func putAddr(b []byte, off int, a netip.Addr, pseudo, header *sumDiff) bool {
	be := binary.BigEndian
	if b[0]>>4 == 4 {
		if !a.Is4() {
			return false
		}
		a4 := a.As4()
		old, now := be.Uint32(b[off:]), be.Uint32(a4[:])
		pseudo.add32(0, old, now)
		header.add32(0, old, now)
		be.PutUint32(b[off:], now)
		return true
	}
	if !a.Is6() {
		return false
	}
	a16 := a.As16()
	for i := 0; i < 16; i += 4 {
		old, now := be.Uint32(b[off+i:]), be.Uint32(a16[i:])
		pseudo.add32(0, old, now)
		be.PutUint32(b[off+i:], now)
	}
	return true
}
