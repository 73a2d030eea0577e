package address

import (
	"errors"
	"net"
	"net/netip"

	"github.com/mdlayher/arp"
)

const (
	macLen        = 6
	hardwareEther = 1
	protocolIPv4  = 0x0800
)

var (
	broadcast = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	noMAC     = net.HardwareAddr{0, 0, 0, 0, 0, 0}

	errNotARP = errors.New("no IPv4-over-Ethernet ARP")
)

// parse reads an ARP packet (RFC 826) for IPv4 over Ethernet. Bytes behind it are padding.
func parse(b []byte) (*arp.Packet, error) {
	var p arp.Packet
	if err := p.UnmarshalBinary(b); err != nil {
		return nil, err
	}
	if p.HardwareType != hardwareEther || p.ProtocolType != protocolIPv4 ||
		p.HardwareAddrLength != macLen || p.IPLength != net.IPv4len {
		return nil, errNotARP
	}
	if p.Operation != arp.OperationRequest && p.Operation != arp.OperationReply {
		return nil, errNotARP
	}
	if p.SenderHardwareAddr[0]&1 != 0 { // a group address is nobody's
		return nil, errNotARP
	}
	return &p, nil
}

// build makes an ARP packet's bytes. All addresses are of the right kind: the callers
// checked them.
func build(op arp.Operation, mac net.HardwareAddr, sender netip.Addr, targetMAC net.HardwareAddr, target netip.Addr) []byte {
	p := arp.Packet{
		HardwareType:       hardwareEther,
		ProtocolType:       protocolIPv4,
		HardwareAddrLength: macLen,
		IPLength:           net.IPv4len,
		Operation:          op,
		SenderHardwareAddr: mac,
		SenderIP:           sender,
		TargetHardwareAddr: targetMAC,
		TargetIP:           target,
	}
	b, _ := p.MarshalBinary() // documented never to fail
	return b
}

// probeFor builds the question who has an address, which names none as its sender's (RFC 5227 §1.1).
func probeFor(a netip.Addr, mac net.HardwareAddr) []byte {
	return build(arp.OperationRequest, mac, netip.IPv4Unspecified(), noMAC, a)
}

// announcement builds both forms in which stations learn an address unasked. Linux takes the
// reply only with the sender's MAC as target too; broadcast there it ignores for a second.
func announcement(v netip.Addr, mac net.HardwareAddr) (request, reply []byte) {
	return build(arp.OperationRequest, mac, v, noMAC, v),
		build(arp.OperationReply, mac, v, mac, v)
}
