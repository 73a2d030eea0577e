package capture

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/ftgw/ftgw/rewrite"
)

// Flags are the control bits of a TCP header (RFC 9293 §3.1).
type Flags uint8

// The control bits.
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

// Has reports whether all of want are set.
func (f Flags) Has(want Flags) bool { return f&want == want }

func (f Flags) String() string {
	const letters = "FSRPAUEC"
	var b strings.Builder
	for i := range letters {
		if f&(1<<i) != 0 {
			b.WriteByte(letters[i])
		}
	}
	return b.String()
}

// MAC is an Ethernet address.
type MAC [6]byte

func (m MAC) String() string { return net.HardwareAddr(m[:]).String() }

// Segment is one TCP segment as an interface saw it. Where the kernel segments late, it is as
// large as 64 KiB.
type Segment struct {
	Time           time.Time // CLOCK_REALTIME, so times of different captures compare
	SrcMAC, DstMAC MAC       // zero where there is no Ethernet
	Src, Dst       netip.AddrPort
	Seq, Ack       rewrite.Seq
	Flags          Flags
	Window         uint16 // as in the header, not scaled
	Len            int    // payload, bytes
	Outgoing       bool   // leaves by the interface, from the namespace that captured
}

// End returns the number after the segment's last; SYN and FIN count.
func (s Segment) End() rewrite.Seq {
	n := rewrite.Size(s.Len)
	if s.Flags.Has(SYN) {
		n++
	}
	if s.Flags.Has(FIN) {
		n++
	}
	return s.Seq.Add(n)
}

func (s Segment) String() string {
	return fmt.Sprintf("%s %s %s>%s %s seq %d+%d ack %d win %d", s.Time.Format("05.000000"), s.SrcMAC,
		s.Src, s.Dst, s.Flags, uint32(s.Seq), s.Len, uint32(s.Ack), s.Window)
}

const (
	etherLen  = 14
	etherIPv4 = 0x0800
	etherIPv6 = 0x86dd
	protoTCP  = 6
)

// ParseFrame reads an Ethernet frame, of which the end may have been cut off behind the TCP
// header. It is false for anything but a whole, unfragmented TCP header.
func ParseFrame(frame []byte) (Segment, bool) {
	if len(frame) < etherLen {
		return Segment{}, false
	}
	switch binary.BigEndian.Uint16(frame[12:]) {
	case etherIPv4, etherIPv6:
	default:
		return Segment{}, false
	}
	s, ok := ParsePacket(frame[etherLen:])
	s.DstMAC, s.SrcMAC = MAC(frame[0:6]), MAC(frame[6:12])
	return s, ok
}

// ParsePacket is ParseFrame for an IPv4 or IPv6 packet without Ethernet.
func ParsePacket(ip []byte) (Segment, bool) {
	switch {
	case len(ip) >= 20 && ip[0]>>4 == 4:
		head := int(ip[0]&15) * 4
		total := int(binary.BigEndian.Uint16(ip[2:]))
		fragment := binary.BigEndian.Uint16(ip[6:]) & 0x3fff // offset and MF
		if head < 20 || len(ip) < head || ip[9] != protoTCP || fragment != 0 {
			return Segment{}, false
		}
		return parseTCP(ip[head:], total-head, netip.AddrFrom4([4]byte(ip[12:16])), netip.AddrFrom4([4]byte(ip[16:20])))
	case len(ip) >= 40 && ip[0]>>4 == 6 && ip[6] == protoTCP:
		total := int(binary.BigEndian.Uint16(ip[4:]))
		return parseTCP(ip[40:], total, netip.AddrFrom16([16]byte(ip[8:24])), netip.AddrFrom16([16]byte(ip[24:40])))
	default:
		return Segment{}, false
	}
}

// parseTCP reads the header; total is its length with payload, as the IP header has it.
func parseTCP(b []byte, total int, src, dst netip.Addr) (Segment, bool) {
	if len(b) < 20 {
		return Segment{}, false
	}
	offset := int(b[12]>>4) * 4
	if offset < 20 || offset > total {
		return Segment{}, false
	}
	return Segment{
		Src:    netip.AddrPortFrom(src, binary.BigEndian.Uint16(b[0:])),
		Dst:    netip.AddrPortFrom(dst, binary.BigEndian.Uint16(b[2:])),
		Seq:    rewrite.Seq(binary.BigEndian.Uint32(b[4:])),
		Ack:    rewrite.Seq(binary.BigEndian.Uint32(b[8:])),
		Flags:  Flags(b[13]),
		Window: binary.BigEndian.Uint16(b[14:]),
		Len:    total - offset,
	}, true
}
