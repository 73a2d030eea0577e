package nfq

import (
	"encoding/binary"

	"github.com/ftgw/ftgw/rewrite"
)

// Cutter is a Sender that also takes TCP packets larger than the MTU, as the kernel hands them
// over where Config.GSO asks for it, and sends the segments that they stand for. The zero MTU
// cuts nothing. Like Sender it is safe for concurrent use and does not allocate.
type Cutter struct {
	*Sender
	// MTU is the largest packet on the way in bytes, IP header included.
	MTU int
}

// maxPiece bounds a segment in bytes, whatever the MTU: it is put together on the stack.
const maxPiece = 9216

// Send sends one packet, or the segments of one in order. What cannot be cut goes as it is, and
// fails as Sender.Send says. It returns the last error of any segment; the others are sent.
func (c Cutter) Send(packet []byte) (err error) {
	if len(packet) <= c.MTU || c.MTU == 0 {
		return c.Sender.Send(packet)
	}
	s, why := rewrite.ParseSegment(packet)
	size := min(c.MTU, maxPiece) - (len(s.Bytes()) - int(s.PayloadLen()))
	if why != rewrite.OK || s.Flags().Has(rewrite.SYN) || size <= 0 {
		return c.Sender.Send(packet)
	}
	var room [maxPiece]byte
	for i := 0; i*size < int(s.PayloadLen()); i++ {
		if e := c.Sender.Send(piece(room[:0], &s, i, size)); e != nil {
			err = e
		}
	}
	return err
}

// piece appends the segment that carries the payload of s from i*size on, of size bytes or what
// is left, as a network card would make it: the flags of an end only with the last, CWR only
// with the first (RFC 3168 §6.1.2). The IPv4 header's checksum is for the kernel to fill in.
func piece(dst []byte, s *rewrite.Segment, i, size int) []byte {
	whole, payload := s.Bytes(), s.Payload()
	from, to := i*size, min((i+1)*size, len(payload))
	b := append(dst, whole[:len(whole)-len(payload)]...)
	b = append(b, payload[from:to]...)
	if s.IsIPv6() {
		binary.BigEndian.PutUint16(b[4:], uint16(len(b)-40))
	} else {
		binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
		if id := binary.BigEndian.Uint16(b[4:]); id != 0 { // else the kernel chooses
			binary.BigEndian.PutUint16(b[4:], id+uint16(i))
		}
	}
	p, why := rewrite.ParseSegment(b)
	if why != rewrite.OK {
		return nil // cannot be: s was parsed with the same headers
	}
	flags := s.Flags()
	if to < len(payload) {
		flags &^= rewrite.FIN | rewrite.PSH
	}
	if i > 0 {
		flags &^= rewrite.CWR
	}
	p.SetFlags(flags)
	p.SetSeq(s.Seq().Add(rewrite.Size(from)))
	p.Seal(true)
	return b
}
