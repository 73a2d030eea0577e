package rewrite

import "time"

// Outbound decides a segment that the local kernel sends from an advertised address. It is
// altered in place to what the client is to get. partial says that the kernel has left the
// TCP checksum to the hardware, so that a full one must be computed if anything changes.
func (t *Table) Outbound(s *Segment, partial bool, now time.Duration, o *Outcome) {
	o.reset()
	svc := t.services[s.Src()]
	if svc == nil {
		o.drop(UnknownAddress)
		return
	}
	if !svc.stance.Serve {
		o.drop(NotServing)
		return
	}
	f := t.flows[Key{Client: s.Dst(), Advertised: svc.Advertised}]
	if f == nil {
		o.drop(UnknownFlow)
		return
	}
	if s.Flags().Has(SYN) {
		t.outboundSynAck(f, s, partial, now, o)
		return
	}
	switch {
	case f.mode == Relay:
		o.drop(Relayed)
		if !s.Flags().Has(RST) {
			f.discard(s.Ack(), o)
		}
		return
	case f.phase == opening:
		o.drop(Unanswered)
		return
	}
	// Else it may be a challenge ACK in SYN-RECEIVED, or an RST for a stray.
	if !s.Flags().Has(RST) && (s.Len() > 0 || s.Ack() != f.id.ISN+1) {
		t.opened(f)
	}
	f.seen = now
	f.observe(s, now)
	if f.foreign && s.Len() > 0 {
		f.fakeAck(s, o)
	}
	if !f.speaker {
		f.keepTail(s)
		f.confirm(s, o)
		o.drop(NotSpeaker)
		return
	}
	f.tell(s, partial, o)
}

// outboundSynAck takes the local numbers from a SYN-ACK, and anew from each one: the kernel
// may have forgotten an earlier one. It makes a flow that waits behind a live pair the
// current one.
func (t *Table) outboundSynAck(f *flow, s *Segment, partial bool, now time.Duration, o *Outcome) {
	isn := s.Ack() - 1
	if n := f.next; n != nil && n.id.ISN == isn && f.id.ISN != isn {
		f = t.supersede(f, o)
	}
	if !s.Flags().Has(ACK) || f.id.ISN != isn || f.mode == Relay || f.phase == established {
		o.drop(UnknownFlow)
		return
	}
	f.seen = now
	f.handshake(s, now)
	s.SetSeq(f.iss)
	if _, ok := s.MSS(); ok {
		s.SetMSS(f.svc.MSS)
	}
	if f.hasScale {
		s.SetWindowScale(f.svc.Scale)
	}
	if f.hasTS {
		s.SetTimestamps(f.tsSyn+f.tsDelta, f.tsEcr)
	}
	s.Seal(partial)
	f.synAck = append(f.synAck[:0], s.Bytes()...)
	switch {
	case !f.speaker:
		o.Confirm = append(o.Confirm, f.confirmation())
		o.drop(NotSpeaker)
	case f.mode == Duplex && f.confAck == f.id.ISN:
		f.synHeld = true
		if !f.held {
			f.held, f.heldAt = true, now
		}
		o.drop(SynAckHeld)
	default:
		f.sentAck, f.sentEdge = f.rcvNxt, f.edge
		o.accept(OK)
	}
	t.unpark(f, now, o)
}

// handshake reads the local numbers and the agreed options off a SYN-ACK.
func (f *flow) handshake(s *Segment, now time.Duration) {
	fresh := f.phase == opening || f.localISS != s.Seq()
	f.phase = answered
	f.localISS, f.delta = s.Seq(), DeltaOf(f.iss, s.Seq())
	f.sndNxt = s.Seq() + 1
	f.scaleLocal, f.hasScale = s.WindowScale()
	f.hasSACK = s.SACKPermitted()
	var val, ecr uint32
	if val, ecr, f.hasTS = s.Timestamps(); f.hasTS {
		f.tsSyn, f.tsEcr = val, ecr
		f.tsLast, f.tsLastAt = val, now
		if fresh { // a repeated SYN-ACK keeps the delta, so that both hosts' clocks agree
			f.tsDelta = f.tsSwitch - val
			f.tsOld = f.tsDelta
		}
	}
	f.rcvNxt = f.id.ISN + 1
	f.edge = f.edge.Later(f.rcvNxt.Add(Size(s.Window())))
	f.wantAck, f.wantEdge = f.rcvNxt, f.edge
}

// unpark hands the kernel what came before the SYN-ACK was seen.
func (t *Table) unpark(f *flow, now time.Duration, o *Outcome) {
	for _, b := range f.parked {
		p := o.copyOf(b)
		s, why := ParseSegment(p)
		if why != OK {
			continue
		}
		var one Outcome
		t.deliver(f, &s, now, &one)
		if one.Accept {
			o.ToLocal = append(o.ToLocal, p)
		}
	}
	f.parked = nil
}

// observe notes what a segment tells of the local kernel.
func (f *flow) observe(s *Segment, now time.Duration) {
	if s.Flags().Has(RST) { // before the connection is established it is for a stray, whose number it bears
		f.closing = f.closing || f.phase == established
		return
	}
	f.sndNxt = f.sndNxt.Later(s.End())
	if s.Flags().Has(FIN) {
		f.closing = true
	}
	if val, ecr, ok := s.Timestamps(); ok && f.hasTS {
		f.tsLast, f.tsLastAt, f.tsEcr = val, now, ecr
	}
	if !s.Flags().Has(ACK) {
		return
	}
	edge := s.Ack().Add(Size(s.Window()) << f.scaleOwn())
	f.rcvNxt = f.rcvNxt.Later(s.Ack())
	f.edge = f.edge.Later(edge)
	f.wantAck = f.wantAck.Later(s.Ack())
	f.wantEdge = f.wantEdge.Later(edge)
}

// scaleOwn returns the scale of the local kernel's window fields.
func (f *flow) scaleOwn() uint8 {
	if f.hasScale {
		return f.scaleLocal
	}
	return 0
}

// fakeAck acknowledges to the local kernel the bytes of a segment that the client has
// acknowledged already, since it got them from another host (paper 000 §3, end).
func (f *flow) fakeAck(s *Segment, o *Outcome) {
	if !f.maxAck.After(f.delta.Common(s.Seq())) || s.Flags().Has(RST) {
		return
	}
	ack := f.maxAck.Earlier(f.delta.Common(f.sndNxt))
	h := Header{Src: s.Dst(), Dst: s.Src(), Flags: ACK, Seq: s.Ack(), Ack: f.delta.Local(ack),
		HasTS: f.hasTS, TSVal: f.tsClient, TSEcr: f.tsLast}
	if int32(f.tsEcr-f.tsClient) > 0 {
		h.TSVal = f.tsEcr
	}
	if f.sndEdge.After(ack) {
		h.Window = f.widened(f.sndEdge.Since(ack))
	}
	o.ToLocal = append(o.ToLocal, AppendSegment(o.room(maxHeader), h, nil))
}

// confirm tells the speaker what the local kernel holds by now (I2). A duplicate ACK with
// SACK blocks is passed on too: the client must learn of a hole that only this host has.
func (f *flow) confirm(s *Segment, o *Outcome) {
	if f.mode != Duplex || (f.rcvNxt == f.toldAck && f.edge == f.toldEdge && s.SACKCount() == 0) {
		return
	}
	c := f.confirmation()
	for i := 0; i < s.SACKCount() && i < len(c.SACK); i++ {
		c.SACK[i][0], c.SACK[i][1] = s.SACK(i)
		c.NSACK++
	}
	o.Confirm = append(o.Confirm, c)
}

// tell translates a segment of the speaker. In duplex it tells the client no more than the
// peer has confirmed; one that would tell nothing new for that reason is held.
func (f *flow) tell(s *Segment, partial bool, o *Outcome) {
	flags := s.Flags()
	o.accept(OK)
	s.SetSeq(f.delta.Common(s.Seq()))
	if val, ecr, ok := s.Timestamps(); ok && f.hasTS {
		s.SetTimestamps(val+f.tsDelta, ecr)
	}
	if flags.Has(ACK) && !flags.Has(RST) {
		edge := s.Ack().Add(Size(s.Window()) << f.scaleOwn())
		ack, lim := f.limit(s.Ack(), edge)
		field := f.window(ack, lim)
		emptied := f.sackBoth(s)
		if ack != s.Ack() {
			o.Reason = AckLimited
			if !f.held {
				f.held, f.heldAt = true, f.seen
			}
		}
		if (ack != s.Ack() || emptied) && s.Len() == 0 && ack == f.sentAck && !f.edgeOf(ack, field).After(f.sentEdge) {
			o.drop(AckHeld)
			return
		}
		s.SetAck(ack)
		s.SetWindow(field)
		f.told(ack, field)
	}
	s.Seal(partial)
}

// told notes what the client is told.
func (f *flow) told(ack Seq, field uint16) {
	f.sentAck = f.sentAck.Later(ack)
	f.sentEdge = f.sentEdge.Later(f.edgeOf(ack, field))
	if f.sentAck == f.wantAck {
		f.held = false
	}
}
