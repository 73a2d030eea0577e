package rewrite

import (
	"net/netip"
	"time"
)

// Confirmed takes the peer's word of what its kernel holds and releases what waited for it
// (I2): a SYN-ACK, or one fresh acknowledgment in the place of those that were held.
func (t *Table) Confirmed(c Confirmation, now time.Duration, o *Outcome) {
	o.reset()
	f := t.find(c.Flow)
	if f == nil {
		t.keepEarly(c)
		return
	}
	if f.mode != Duplex {
		return
	}
	f.confAck, f.confEdge = f.confAck.Later(c.RcvNxt), f.confEdge.Later(c.Edge)
	f.confirmedSACK(&c)
	if !f.speaker {
		return // not yet: it is said only once
	}
	f.release(c.NSACK > 0, now, o)
}

// confirmedSACK notes the peer's selective acknowledgments. A confirmation without any says
// nothing of them: it may come from the proxy.
func (f *flow) confirmedSACK(c *Confirmation) {
	if c.NSACK == 0 {
		return
	}
	f.confSACK = blocks{}
	for _, b := range c.SACK[:min(int(c.NSACK), len(c.SACK))] {
		f.confSACK.add(b[0], b[1])
	}
}

// release tells the client what it may be told by now and has not been. hole says that the
// peer has just reported a hole, with what it has beyond.
func (f *flow) release(hole bool, now time.Duration, o *Outcome) {
	if f.synHeld {
		if f.mode == Duplex && f.confAck == f.id.ISN {
			return
		}
		f.synHeld, f.held = false, false
		f.sentAck, f.sentEdge = f.rcvNxt, f.edge
		o.ToClient = append(o.ToClient, o.copyOf(f.synAck))
		return
	}
	if f.phase == opening {
		return
	}
	ack, edge := f.limit(f.wantAck, f.wantEdge)
	field := f.window(ack, edge)
	opens := f.edgeOf(ack, field)
	news := ack.After(f.sentAck) && f.held
	wider := opens.After(f.sentEdge) && opens.Since(f.sentEdge) >= 2*Size(f.svc.MSS)
	var sack blocks
	if hole && f.hasSACK && (f.sackHeld || ack.Before(f.wantAck)) {
		sack = f.confSACK.within(f.wantAck, &f.sack)
		sack = sack.beyond(ack)
	}
	if !news && !wider && sack.n == 0 {
		return
	}
	o.ToClient = append(o.ToClient, f.freshAck(ack, field, sack.all(), o))
	f.told(ack, field)
	if ack.Before(f.wantAck) {
		f.heldAt = now // it moves, if not as far as the kernel wanted
	}
}

// freshAck builds an acknowledgment as the local kernel would send it now.
// Its stamp is the kernel's latest that was seen, not its clock: data that the kernel has sent
// may still wait in the queue, and would look older than this (RFC 7323 §5).
func (f *flow) freshAck(ack Seq, field uint16, sack [][2]Seq, o *Outcome) []byte {
	h := Header{Src: f.id.Advertised, Dst: f.id.Client, Flags: ACK, Ack: ack, Window: field,
		Seq: f.delta.Common(f.sndNxt), SACK: sack, HasTS: f.hasTS}
	if f.foreign {
		h.Seq = h.Seq.Later(f.maxAck)
	}
	if f.hasTS {
		h.TSVal, h.TSEcr = f.tsLast+f.tsDelta, f.tsEcr
	}
	return AppendSegment(o.room(maxHeader), h, nil)
}

// Received notes that the local proxy has read n bytes of the client's stream, and its end:
// proof that the kernel has them, often earlier than its next acknowledgment.
func (t *Table) Received(id FlowID, n uint64, eof bool, now time.Duration, o *Outcome) {
	o.reset()
	f := t.find(id)
	if f == nil || f.phase == opening {
		return
	}
	next := id.ISN + 1 + Seq(n)
	if eof {
		next++
	}
	if !next.After(f.rcvNxt) {
		return
	}
	f.rcvNxt = next
	f.edge = f.edge.Later(next)
	if !f.speaker && f.mode == Duplex {
		o.Confirm = append(o.Confirm, f.confirmation())
	}
}

// Confirmations appends what this host holds of every duplex flow of a service for which the
// peer speaks, for a session that was resumed.
func (t *Table) Confirmations(advertised netip.AddrPort, dst []Confirmation) []Confirmation {
	for _, f := range t.flows {
		if f.id.Advertised == advertised && f.mode == Duplex && !f.speaker && f.phase != opening {
			dst = append(dst, f.confirmation())
		}
	}
	return dst
}

// Noted takes the peer's news of a flow.
func (t *Table) Noted(n Note, now time.Duration, o *Outcome) {
	o.reset()
	f := t.find(n.Flow)
	if n.Kind == NoteClosed {
		t.closedElsewhere(n.Flow, f)
		return
	}
	if n.Kind == NoteSimplex && (f == nil || !f.speaker) {
		// Only now may the peer tell the client what this host does not have: if it died before,
		// this host would go on with the flow as if it knew all (I1, I2).
		o.Notes = append(o.Notes, Note{Flow: n.Flow, Kind: NoteRelayed})
	}
	if f == nil {
		t.keepElsewhere(n)
		return
	}
	if f.mode != Duplex {
		return
	}
	switch {
	case n.Kind == NoteSimplex && !f.speaker:
		if old := t.flows[f.id.Key]; old != f {
			// The peer's kernel has believed the SYN, this one not yet: the old connection is over.
			old.discard(old.rcvNxt, o)
			t.supersede(old, o)
		}
		f.mode, f.lone, f.seen = Relay, PeerHolds, now
		f.freeTail()
		if f.phase != opening {
			f.discard(f.rcvNxt, o)
		}
		t.opened(f) // its handshake is the peer's
	case (n.Kind == NoteUnknown || n.Kind == NoteRelayed) && f.speaker:
		why := PeerUnaware
		if f.asked {
			why = f.lone
		}
		t.simplify(f, why, now, o)
	}
}

// Simplify lets one duplex flow for which this host speaks go on alone, since the peer cannot
// store what belongs to it. It reports whether there is such a flow.
func (t *Table) Simplify(id FlowID, now time.Duration, o *Outcome) bool {
	o.reset()
	f := t.find(id)
	if f == nil || f.mode != Duplex || !f.speaker {
		return false
	}
	o.Notes = append(o.Notes, Note{Flow: id, Kind: NoteSimplex})
	t.simplify(f, NotStored, now, o)
	return true
}

// simplify makes a flow for which this host speaks its own alone and releases what waited
// for the peer.
func (t *Table) simplify(f *flow, why Lone, now time.Duration, o *Outcome) {
	f.mode, f.lone, f.abroad = Simplex, why, false
	f.release(false, now, o)
}
