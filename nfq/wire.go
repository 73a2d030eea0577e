package nfq

import (
	"encoding/binary"
	"errors"

	nfqueue "github.com/florianl/go-nfqueue/v2"
	"golang.org/x/sys/unix"
)

// Message types, attributes and flags of linux/netfilter/nfnetlink_queue.h.
const (
	subsystem  = unix.NFNL_SUBSYS_QUEUE << 8
	msgPacket  = subsystem // the first of its messages
	msgVerdict = subsystem | 1
	msgConfig  = subsystem | 2

	cfgCmd     = 1
	cfgParams  = 2
	cfgMaxLen  = 3
	cfgMask    = 4
	cfgFlags   = 5
	cfgCmdBind = 1

	attrPacketHeader  = 1
	attrVerdictHeader = 2
	attrMark          = 3
	attrHWAddr        = 9
	attrPayload       = 10
	attrCapLen        = 13
	attrSkbInfo       = 14

	skbPartialChecksum = 1
	skbGSO             = 2
	skbUnverified      = 4

	hookInput = 1 // hooks up to this one are inbound: prerouting 0, input 1

	messageHeader = 16 // struct nlmsghdr
	familyHeader  = 4  // struct nfgenmsg
	attrHeader    = 4  // struct nlattr
)

var (
	errShort     = errors.New("message ends early")
	errNoPayload = errors.New("message lacks packet id or payload")
)

// parsePacket reads one packet message (the bytes after struct nlmsghdr) into p, whose Data
// then points into b. haveID tells, also on an error, whether p.ID is valid. datagramCut says
// that the message itself lost its end.
func parsePacket(b []byte, datagramCut bool, p *Packet) (haveID bool, err error) {
	*p = Packet{Truncated: datagramCut}
	if len(b) < familyHeader {
		return false, errShort
	}
	b = b[familyHeader:]
	for len(b) >= attrHeader {
		size := int(binary.NativeEndian.Uint16(b))
		kind := binary.NativeEndian.Uint16(b[2:]) &^ (unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER)
		if size < attrHeader || size > len(b) {
			return haveID, errShort
		}
		v := b[attrHeader:size:size]
		switch {
		case kind == attrPacketHeader && len(v) >= 7:
			p.ID, p.In = binary.BigEndian.Uint32(v), v[6] <= hookInput
			haveID = true
		case kind == attrMark && len(v) >= 4:
			p.Mark = binary.BigEndian.Uint32(v)
		case kind == attrHWAddr && len(v) >= 10:
			p.HasHW = binary.BigEndian.Uint16(v) == 6
			p.HWAddr = [6]byte(v[4:10])
		case kind == attrSkbInfo && len(v) >= 4:
			info := binary.BigEndian.Uint32(v)
			p.PartialChecksum = info&skbPartialChecksum != 0
			p.GSO = info&skbGSO != 0
			p.Unverified = info&skbUnverified != 0
		case kind == attrCapLen:
			p.Truncated = true // present only if the payload was cut
		case kind == attrPayload:
			p.Data = v
		}
		b = b[min(align(size), len(b)):]
	}
	if !haveID || len(p.Data) == 0 {
		return haveID, errNoPayload
	}
	return true, nil
}

// verdictHeader is room for everything of a verdict message before its payload.
type verdictHeader [messageHeader + familyHeader + attrHeader + 8 + attrHeader + 4 + attrHeader]byte

// encodeVerdict writes the message for v up to its payload, which follows with padding to
// four bytes. payload is v.Data's length, or 0 to leave the packet unchanged.
func encodeVerdict(h *verdictHeader, queue uint16, id uint32, v Verdict, payload int) []byte {
	b := h[:messageHeader]
	b = append(b, unix.AF_UNSPEC, 0, byte(queue>>8), byte(queue))
	action := uint32(nfqueue.NfDrop)
	if v.Accept {
		action = nfqueue.NfAccept
	}
	b = appendAttrHeader(b, attrVerdictHeader, 8)
	b = binary.BigEndian.AppendUint32(b, action)
	b = binary.BigEndian.AppendUint32(b, id)
	if v.Accept && v.Mark != 0 {
		b = appendAttrHeader(b, attrMark, 4)
		b = binary.BigEndian.AppendUint32(b, v.Mark)
	}
	total := len(b)
	if payload > 0 {
		b = appendAttrHeader(b, attrPayload, payload)
		total = len(b) + align(payload)
	}
	binary.NativeEndian.PutUint32(b, uint32(total))
	binary.NativeEndian.PutUint16(b[4:], msgVerdict)
	binary.NativeEndian.PutUint16(b[6:], unix.NLM_F_REQUEST)
	clear(b[8:messageHeader]) // sequence and port: the kernel needs neither
	return b
}

func appendAttrHeader(b []byte, kind uint16, size int) []byte {
	b = binary.NativeEndian.AppendUint16(b, uint16(attrHeader+size))
	return binary.NativeEndian.AppendUint16(b, kind)
}

func align(n int) int { return (n + 3) &^ 3 }
