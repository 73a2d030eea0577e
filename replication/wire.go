package replication

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/ftgw/ftgw/rewrite"
)

// ValidFlow reports whether id can go over the wire: both addresses valid, of one family,
// unmapped and without zone.
func ValidFlow(id rewrite.FlowID) bool {
	c, a := id.Client.Addr(), id.Advertised.Addr()
	if c.Is4() {
		return a.Is4()
	}
	return c.Is6() && a.Is6() && !c.Is4In6() && !a.Is4In6() && c.Zone() == "" && a.Zone() == ""
}

func appendFlow(dst []byte, id rewrite.FlowID) []byte {
	if id.Client.Addr().Is4() {
		dst = append(dst, 4)
	} else {
		dst = append(dst, 6)
	}
	dst = appendAddrPort(dst, id.Client)
	dst = appendAddrPort(dst, id.Advertised)
	return binary.BigEndian.AppendUint32(dst, uint32(id.ISN))
}

func appendAddrPort(dst []byte, a netip.AddrPort) []byte {
	if a.Addr().Is4() {
		b := a.Addr().As4()
		dst = append(dst, b[:]...)
	} else {
		b := a.Addr().As16()
		dst = append(dst, b[:]...)
	}
	return binary.BigEndian.AppendUint16(dst, a.Port())
}

func appendBool(dst []byte, b bool) []byte {
	if b {
		return append(dst, 1)
	}
	return append(dst, 0)
}

// appendString cuts s at 255 bytes: names are bounded by the config long before that.
func appendString(dst []byte, s string) []byte {
	s = s[:min(len(s), 255)]
	return append(append(dst, byte(len(s))), s...)
}

// appendName cuts s at MaxGroup bytes.
func appendName(dst []byte, s string) []byte {
	s = s[:min(len(s), MaxGroup)]
	return append(binary.BigEndian.AppendUint16(dst, uint16(len(s))), s...)
}

// parser takes a body apart. The first violation sticks and every later read returns zero,
// so that callers check once, at the end.
type parser struct {
	b   []byte
	bad string
}

func (p *parser) fail(what string) {
	if p.bad == "" {
		p.bad = what
	}
	p.b = nil
}

func (p *parser) take(n int) []byte {
	if len(p.b) < n {
		p.fail("body too short")
		return nil
	}
	b := p.b[:n]
	p.b = p.b[n:]
	return b
}

func (p *parser) u8() uint8 {
	if b := p.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (p *parser) u16() uint16 {
	if b := p.take(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (p *parser) u32() uint32 {
	if b := p.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (p *parser) u64() uint64 {
	if b := p.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

func (p *parser) seq() rewrite.Seq { return rewrite.Seq(p.u32()) }

func (p *parser) bool() bool {
	v := p.u8()
	if v > 1 {
		p.fail("boolean out of range")
	}
	return v == 1
}

// enum reads a u8 in [low, high].
func (p *parser) enum(what string, low, high uint8) uint8 {
	v := p.u8()
	if v < low || v > high {
		p.fail(what + " out of range")
	}
	return v
}

func (p *parser) string() string { return string(p.take(int(p.u8()))) }

// name reads what appendName wrote.
func (p *parser) name() string {
	n := int(p.u16())
	if n > MaxGroup {
		p.fail("name too long")
	}
	return string(p.take(n))
}

func (p *parser) flow() (id rewrite.FlowID) {
	switch p.u8() {
	case 4:
		if b := p.take(16); b != nil {
			id.Client = netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[0:4])), binary.BigEndian.Uint16(b[4:]))
			id.Advertised = netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[6:10])), binary.BigEndian.Uint16(b[10:]))
			id.ISN = rewrite.Seq(binary.BigEndian.Uint32(b[12:]))
		}
	case 6:
		if b := p.take(40); b != nil {
			id.Client = netip.AddrPortFrom(netip.AddrFrom16([16]byte(b[0:16])), binary.BigEndian.Uint16(b[16:]))
			id.Advertised = netip.AddrPortFrom(netip.AddrFrom16([16]byte(b[18:34])), binary.BigEndian.Uint16(b[34:]))
			id.ISN = rewrite.Seq(binary.BigEndian.Uint32(b[36:]))
			if !ValidFlow(id) {
				p.fail("IPv4-mapped address in an IPv6 flow")
			}
		}
	default:
		p.fail("address family neither 4 nor 6")
	}
	return id
}

// done returns the violation, or one if bytes are left.
func (p *parser) done(t Type) error {
	if p.bad == "" && len(p.b) > 0 {
		p.bad = fmt.Sprintf("%d bytes left over", len(p.b))
	}
	if p.bad != "" {
		return fmt.Errorf("%w: type %d: %s", ErrFrame, t, p.bad)
	}
	return nil
}
