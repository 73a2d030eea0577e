package rewrite

import (
	"net/netip"
	"time"
)

// Inbound decides a segment that came from the network: to an advertised address, or as a
// clone to this host's forwarding port. The segment is altered in place to what the local
// kernel is to get. Its checksum must be complete; verify asks for it to be checked first,
// since a sum recomputed over a corrupt segment would hide the corruption.
func (t *Table) Inbound(s *Segment, verify bool, now time.Duration, o *Outcome) {
	o.reset()
	svc, cloned := t.services[s.Dst()], false
	if svc == nil {
		if svc, cloned = t.forwards[s.Dst()], true; svc == nil {
			o.drop(UnknownAddress)
			return
		}
	}
	if verify && !s.VerifyChecksum() {
		o.drop(BadChecksum)
		return
	}
	o.FromPeer = cloned
	switch st := svc.stance; {
	case !st.Serve:
		o.drop(NotServing)
		return
	case cloned && !st.Duplex:
		o.drop(NotReceiver)
		return
	}
	key := Key{Client: s.Src(), Advertised: svc.Advertised}
	f := t.flows[key]
	if s.Flags().Has(SYN) && !s.Flags().Has(ACK) {
		t.inboundSyn(s, svc, key, f, cloned, now, o)
		return
	}
	if f == nil {
		t.inboundUnknown(s, svc, cloned, o)
		return
	}
	f.seen = now
	if !cloned && f.mode != Simplex {
		o.Clone = o.cloneOf(s, svc.Peer)
	}
	if f.mode == Relay {
		f.relay(s)
		o.drop(Relayed)
		return
	}
	if cloned {
		s.SetDst(svc.Advertised)
	}
	t.deliver(f, s, now, o)
}

// inboundSyn takes a SYN. On a live pair it does not touch the flow that is there: only the
// local kernel's SYN-ACK shows that the old connection is over; a challenge ACK shows that
// it is not.
func (t *Table) inboundSyn(s *Segment, svc *service, key Key, f *flow, cloned bool, now time.Duration, o *Outcome) {
	if s.Flags().Any(FIN | RST) { // no stack sends these with a SYN
		o.drop(BadFlags)
		return
	}
	id := FlowID{Key: key, ISN: s.Seq()}
	mode := Simplex
	if svc.stance.Duplex {
		mode = Duplex
	}
	if f == nil || (f.id.ISN != id.ISN && (f.next == nil || f.next.id.ISN != id.ISN)) {
		n, why := t.open(id, svc, mode, svc.stance.Speak, now, o)
		if n == nil {
			o.drop(why)
			return
		}
		if f = t.flows[key]; f == nil { // the one that was there may have been given up for this one
			t.flows[key] = n
		} else {
			if f.next != nil {
				t.opened(f.next)
			}
			f.next = n
		}
		n.readSyn(s)
	} else if f.id.ISN == id.ISN {
		mode = f.mode
	}
	if !cloned && mode != Simplex {
		o.Clone = o.cloneOf(s, svc.Peer)
	}
	if mode == Relay {
		o.drop(Relayed)
		return
	}
	s.KeepSYNOptions()
	if cloned {
		s.SetDst(svc.Advertised)
	}
	s.Seal(false)
	o.accept(OK)
}

// readSyn notes what the client offers; what is in force the SYN-ACK decides.
func (f *flow) readSyn(s *Segment) {
	f.scaleClient, _ = s.WindowScale()
	f.scaleClient = min(f.scaleClient, 14) // RFC 7323 §2.3
	if val, _, ok := s.Timestamps(); ok {
		f.tsClient, f.tsEcr = val, val
	}
}

// inboundUnknown answers a segment of no known connection. A host that speaks tells the
// client by an RST at its last ACK, so that a client that only listens does not hang; a
// receiver that does not speak lets the peer decide.
func (t *Table) inboundUnknown(s *Segment, svc *service, cloned bool, o *Outcome) {
	switch {
	case svc.stance.Speak && !s.Flags().Has(RST) && s.Flags().Has(ACK):
		o.drop(ResetUnknown)
		o.ToClient = append(o.ToClient, AppendSegment(o.room(maxHeader),
			Header{Src: svc.Advertised, Dst: s.Src(), Seq: s.Ack(), Flags: RST}, nil))
	case !cloned && svc.stance.Duplex:
		o.Clone = o.cloneOf(s, svc.Peer)
		o.drop(UnknownFlow)
	default:
		o.drop(UnknownFlow)
	}
}

// maxHeader is room for the largest segment without payload: IPv6 and 60 bytes of TCP.
const maxHeader = 40 + 60

// cloneOf copies the segment as the client sent it, addressed to the peer's forwarding port.
func (o *Outcome) cloneOf(s *Segment, peer netip.AddrPort) []byte {
	b := o.copyOf(s.Bytes())
	c, why := ParseSegment(b)
	if why != OK {
		return nil // cannot be: s was parsed from the same bytes
	}
	c.SetDst(peer)
	c.Seal(false)
	return b
}

// deliver translates a segment of a known flow for the local kernel.
func (t *Table) deliver(f *flow, s *Segment, now time.Duration, o *Outcome) {
	flags := s.Flags()
	if flags.Has(URG) { // the kernel would skip a byte that the peer's might not
		s.SetFlags(flags &^ URG)
		s.SetUrgent(0)
	}
	if flags.Has(RST) { // a client that has said FIN may still wait for a reply
		f.closing = true
	}
	if f.phase == opening {
		f.park(s, o)
		return
	}
	if flags.Has(ACK) && f.overtaken(s) {
		o.drop(ResetUnknown)
		o.ToClient = append(o.ToClient, AppendSegment(o.room(maxHeader),
			Header{Src: f.id.Advertised, Dst: f.id.Client, Seq: s.Ack(), Flags: RST}, nil))
		f.discard(f.rcvNxt, o)
		t.end(f, o)
		return
	}
	o.accept(OK)
	if val, ecr, ok := s.Timestamps(); ok && f.hasTS {
		if int32(val-f.tsClient) > 0 && !s.Seq().After(f.rcvNxt) {
			f.tsClient = val // as the kernel does (RFC 7323 §4.3): not from beyond a hole
		}
		if int32(ecr-f.tsEcho) >= 0 && flags.Has(ACK) {
			f.tsEcho, f.tsEchoAt = ecr, now
		}
		s.SetTimestamps(val, f.echo(ecr))
	}
	if flags.Has(ACK) {
		f.acknowledge(s, o)
	}
	for i := range s.SACKCount() {
		start, end := s.SACK(i)
		s.SetSACK(i, f.delta.Local(start), f.delta.Local(end))
	}
	s.Seal(false)
}

// park keeps a copy of a segment that came before the local kernel's SYN-ACK was seen, when
// the numbers to translate it are not known.
func (f *flow) park(s *Segment, o *Outcome) {
	s.Seal(false)
	if len(f.parked) < maxParked {
		f.parked = append(f.parked, append([]byte(nil), s.Bytes()...))
	}
	o.drop(Parked)
}

// maxAhead bounds how far an acknowledgment may be ahead of what the local kernel has sent:
// the largest window there is (RFC 7323 §2.3).
const maxAhead = Size(1 << 30)

// overtaken reports whether the client has gone on with another host: both hosts have claimed,
// each cut off from the other, and this one has come back into the client's sight. It shows by
// an acknowledgment of what neither this kernel nor the lost speaker can have sent (DESIGN §5:
// such flows are dropped at the heal).
func (f *flow) overtaken(s *Segment) bool {
	return f.survived && s.Ack().After(f.delta.Common(f.sndNxt)) && s.Ack().After(f.ceiling) && f.acceptable(s)
}

// acknowledge translates the acknowledgment number. A client that was served by another host
// may acknowledge what the local kernel has not sent yet. A kernel drops such a segment with
// its payload, so it is told only what it did send, the window widened by as much as that
// falls short; fakeAck makes up for it later (paper 000 §3, end).
func (f *flow) acknowledge(s *Segment, o *Outcome) {
	ack := s.Ack()
	local := f.delta.Local(ack)
	ahead := local.After(f.sndNxt)
	if ahead && (!f.foreign || local.Since(f.sndNxt) > maxAhead) || !f.acceptable(s) {
		s.SetAck(local) // the kernel answers with a challenge ACK (RFC 5961 §5)
		return
	}
	if !ack.Before(f.maxAck) {
		o.Progress = f.mode == Duplex && !f.speaker && !ahead && ack.After(f.maxAck)
		window := Size(s.Window()) << f.scaleShift()
		if ack != f.maxAck {
			f.freeTail()
		}
		f.maxAck, f.sndEdge, f.sndMax = ack, ack.Add(window), max(f.sndMax, window)
	}
	if !ahead {
		s.SetAck(local)
		return
	}
	o.Reason = AckClamped
	s.SetAck(f.sndNxt)
	s.SetWindow(f.widened(Size(s.Window())<<f.scaleShift() + local.Since(f.sndNxt)))
}

// widened returns the window field that tells the local kernel of so many bytes, but of no more
// than the client has offered at some time. A kernel that has seen more than a window of less
// than two segments would not fit its segments into that window, and once it speaks send one
// each time that its probe timer runs out (RFC 9293 §3.8.6.2.1).
func (f *flow) widened(window Size) uint16 {
	return uint16(min(min(window, f.sndMax)>>f.scaleShift(), 0xffff))
}

// acceptable reports whether a segment is within the window, so that the kernel will look at
// its acknowledgment number (RFC 9293 §3.10.7.4). A stranger who does not know the window must
// not make this host give up bytes that the client does not have.
func (f *flow) acceptable(s *Segment) bool {
	return !s.Seq().After(f.edge.Later(f.sentEdge)) && !s.End().Before(f.wantAck)
}

// scaleShift returns the scale of the client's window fields.
func (f *flow) scaleShift() uint8 {
	if f.hasScale {
		return f.scaleClient
	}
	return 0
}

// InboundError decides an ICMP error that quotes a segment sent from an advertised address;
// path MTU discovery lives on these. It is cloned like a segment and the quoted sequence
// number translated.
func (t *Table) InboundError(e *ICMPError, verify bool, now time.Duration, o *Outcome) {
	o.reset()
	svc := t.services[e.QuotedSrc()]
	if svc == nil {
		o.accept(OK) // of this host's own traffic: none of our business
		return
	}
	cloned := e.OuterDst() != svc.Advertised.Addr()
	if verify && !e.VerifyChecksum() {
		o.drop(BadChecksum)
		return
	}
	f := t.flows[Key{Client: e.QuotedDst(), Advertised: svc.Advertised}]
	switch {
	case !svc.stance.Serve:
		o.drop(NotServing)
		return
	case f == nil || f.phase == opening:
		o.drop(UnknownFlow)
		return
	}
	if !cloned && f.mode != Simplex {
		b := o.copyOf(e.Bytes())
		if c, why := ParseICMPError(b); why == OK {
			c.SetOuterDst(svc.Peer.Addr())
			c.Seal()
			o.Clone = b
		}
	}
	if f.mode == Relay {
		o.drop(Relayed)
		return
	}
	if cloned {
		e.SetOuterDst(svc.Advertised.Addr())
	}
	e.SetQuotedSeq(f.delta.Local(e.QuotedSeq()))
	e.Seal()
	o.accept(OK)
}
