package rewrite

// The last segment of a reply may be lost on both hosts in the moment in which the voice moves:
// dropped where it is stored, because the peer speaks, and by the peer, because it speaks no more. A
// kernel sends a segment that is alone on its way again only after the shortest RTO (RFC 8985
// §7.2), tens of milliseconds. So the host that does not speak keeps a copy of such a one until
// the client acknowledges it, and sends it when it takes the voice.

const (
	maxTail  = 1500 // bytes, headers included: what is longer is more than one segment
	maxSpare = 64   // buffers that wait for the next ones, of each service
)

// keepTail takes a segment that is dropped, if it is all that the client has not acknowledged.
func (f *flow) keepTail(s *Segment) {
	if f.mode != Duplex || s.PayloadLen() == 0 || len(s.Bytes()) > maxTail || f.delta.Common(s.Seq()) != f.maxAck {
		return
	}
	if n := len(f.svc.spare); f.tail == nil && n > 0 {
		f.tail, f.svc.spare = f.svc.spare[n-1], f.svc.spare[:n-1]
	}
	f.tail = append(f.tail[:0], s.Bytes()...)
}

// freeTail forgets the copy.
func (f *flow) freeTail() {
	if f.tail == nil {
		return
	}
	if len(f.svc.spare) < maxSpare {
		f.svc.spare = append(f.svc.spare, f.tail)
	}
	f.tail = nil
}

// sendTail lets the client have the copy.
func (f *flow) sendTail(o *Outcome) {
	if f.tail == nil {
		return
	}
	s, why := ParseSegment(o.copyOf(f.tail))
	f.freeTail()
	if why != OK || f.delta.Common(s.Seq()) != f.maxAck {
		return
	}
	var one Outcome
	if f.tell(&s, true, &one); one.Accept {
		o.ToClient = append(o.ToClient, s.Bytes())
	}
}
