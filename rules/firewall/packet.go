package firewall

import (
	"encoding/binary"
	"net/netip"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Packet is what is known of one kind of IPv4 packet, zero where anything is possible.
type Packet struct {
	In                          bool   // comes in for this host; else leaves it
	Interface                   string // by which
	Index                       int    // its index
	Source, Destination         netip.Addr
	Protocol                    uint8 // unix.IPPROTO_TCP or UDP
	SourcePort, DestinationPort uint16
	// Untracked packets have been taken out of connection tracking. Others begin a connection.
	Untracked bool
}

// The states of connection tracking as masks, linux/netfilter/nf_conntrack_common.h.
const (
	stateNew       = 8
	stateUntracked = 64
)

// value is some bytes of which some bits are known.
type value struct{ data, known []byte }

func unknown(n uint32) value { return value{make([]byte, n), make([]byte, n)} }

func exactly(b []byte) value {
	v := value{b, make([]byte, len(b))}
	for i := range v.known {
		v.known[i] = 0xff
	}
	return v
}

// put sets part of the value.
func (v value) put(at int, b []byte) {
	copy(v.data[at:], b)
	for i := range b {
		if at+i < len(v.known) {
			v.known[at+i] = 0xff
		}
	}
}

// complete reports whether all of it is known.
func (v value) complete() bool {
	for _, k := range v.known {
		if k != 0xff {
			return false
		}
	}
	return true
}

// headers returns what is known of the packet's network and transport header.
func (p *Packet) headers() (network, transport value) {
	network, transport = unknown(60), unknown(60)
	network.put(0, []byte{0x45})
	network.put(6, []byte{0}) // no fragment; DF may be set
	network.known[6] = 0x3f
	network.put(7, []byte{0})
	network.put(9, []byte{p.Protocol})
	if p.Source.Is4() {
		network.put(12, p.Source.AsSlice())
	}
	if p.Destination.Is4() {
		network.put(16, p.Destination.AsSlice())
	}
	for i, port := range []uint16{p.SourcePort, p.DestinationPort} {
		if port != 0 {
			transport.put(2*i, binary.BigEndian.AppendUint16(nil, port))
		}
	}
	return network, transport
}

// payload returns a piece of the packet.
func (p *Packet) payload(base expr.PayloadBase, offset, size uint32) value {
	network, transport := p.headers()
	from := transport
	switch base {
	case expr.PayloadBaseNetworkHeader:
		from = network
	case expr.PayloadBaseTransportHeader:
	default:
		return unknown(size)
	}
	if uint64(offset)+uint64(size) > uint64(len(from.data)) {
		return unknown(size)
	}
	return value{from.data[offset : offset+size], from.known[offset : offset+size]}
}

// meta returns what the kernel knows of the packet beside its bytes. A key of the other
// direction has no value, and a rule that asks for it does not match.
func (p *Packet) meta(key expr.MetaKey) (v value, there bool) {
	switch key {
	case expr.MetaKeyIIFNAME, expr.MetaKeyOIFNAME:
		v = exactly(make([]byte, unix.IFNAMSIZ))
		copy(v.data, p.Interface)
		return v, (key == expr.MetaKeyIIFNAME) == p.In
	case expr.MetaKeyIIF, expr.MetaKeyOIF:
		return exactly(binary.NativeEndian.AppendUint32(nil, uint32(p.Index))), (key == expr.MetaKeyIIF) == p.In
	case expr.MetaKeyNFPROTO:
		return exactly([]byte{unix.NFPROTO_IPV4}), true
	case expr.MetaKeyL4PROTO:
		return exactly([]byte{p.Protocol}), true
	case expr.MetaKeyPROTOCOL:
		return exactly(binary.BigEndian.AppendUint16(nil, unix.ETH_P_IP)), true
	}
	return unknown(16), true
}

// state returns the packet's state of connection tracking as a mask.
func (p *Packet) state() uint32 {
	if p.Untracked {
		return stateUntracked
	}
	return stateNew
}

// ct returns a key of connection tracking; an untracked packet has the state alone.
func (p *Packet) ct(key expr.CtKey) (v value, there bool) {
	if key == expr.CtKeySTATE {
		return exactly(binary.NativeEndian.AppendUint32(nil, p.state())), true
	}
	return unknown(16), !p.Untracked
}
