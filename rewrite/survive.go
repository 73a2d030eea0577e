package rewrite

import (
	"net/netip"
	"time"
)

// tsJump is how far the stamps jump at a takeover beyond anything that the client can have
// seen, milliseconds, so that PAWS (RFC 7323 §5) never bites.
const tsJump = 1000

// retries is how often the kernel is told of an unreachable client at a takeover. Each takes
// back one doubling of its retransmission timer (RFC 6069); at most one retransmission
// results, since the timer then counts from that.
const retries = 8

// Survive makes this host the only one of a service: every duplex flow becomes simplex and
// this host speaks for it from now on. What waited for the peer is released; flows that the
// peer spoke for are woken up. Flows that only the peer held are lost: their clients are told
// by an RST. emit is called for each flow with something to send; its Outcome is reused.
func (t *Table) Survive(advertised netip.AddrPort, now time.Duration, emit func(*Outcome)) {
	t.walk(advertised, emit, func(f *flow, o *Outcome) { t.survive(f, now, o) })
	t.loseElsewhere(advertised, emit)
}

func (t *Table) survive(f *flow, now time.Duration, o *Outcome) {
	switch {
	case f.mode == Relay:
		t.lose(f, now, o)
	case f.mode == Duplex && f.speaker:
		f.abroad, f.survived, f.ceiling = false, true, f.iss
		if f.foreign {
			f.ceiling = f.maxAck.Add(2 * f.sndMax)
		}
		t.simplify(f, PeerLost, now, o)
		f.stir(o)
	case f.mode == Duplex:
		f.mode, f.lone, f.speaker, f.abroad = Simplex, PeerLost, true, false
		f.survived, f.ceiling = true, f.maxAck.Add(2*f.sndMax)
		f.jump(now)
		f.wake(now, o)
	}
}

// lose resets the client of a flow whose state died with the peer and forgets the flow. What
// was on its way may have put the client ahead of its last acknowledgment, and then it ignores
// the RST; the probe makes it say where it is, which gets the right one as of no known flow.
func (t *Table) lose(f *flow, now time.Duration, o *Outcome) {
	h := Header{Src: f.id.Advertised, Dst: f.id.Client, Seq: f.maxAck, Flags: RST}
	o.ToClient = append(o.ToClient, AppendSegment(o.room(maxHeader), h, nil))
	if f.maxAck != f.iss {
		f.jump(now)
		o.ToClient = append(o.ToClient, f.probe(f.rcvNxt, 0, o))
	}
	if t.flows[f.id.Key] == f {
		t.end(f, o)
	}
}

// Reset ends a flow for which this host speaks where its client is in the stream, which may be ahead of
// what the local kernel has sent, and forgets it.
func (t *Table) Reset(id FlowID, now time.Duration, o *Outcome) {
	o.reset()
	if f := t.find(id); f != nil && f.speaker {
		t.lose(f, now, o)
	}
}

// jump moves the common stamps beyond all that the dead speaker can have sent: the latest
// echo, what time has passed since, and a second.
func (f *flow) jump(now time.Duration) {
	if !f.hasTS {
		return
	}
	own := f.tsNow(now) + f.tsDelta
	theirs := f.tsEcho + uint32((now-f.tsEchoAt)/time.Millisecond)
	target := own
	if int32(theirs-own) > 0 {
		target = theirs
	}
	target += tsJump
	f.tsOld, f.tsSwitch = f.tsDelta, target
	f.tsDelta += target - own
	f.tsLast, f.tsLastAt = f.tsNow(now), now
}

// wake gets a flow going whose speaker has died: the SYN-ACK again where the handshake is
// open, else an acknowledgment of all that the kernel has.
func (f *flow) wake(now time.Duration, o *Outcome) {
	if f.phase == answered && f.synAck != nil {
		o.ToClient = append(o.ToClient, o.copyOf(f.synAck))
	}
	if f.phase != established {
		return
	}
	f.wantAck, f.wantEdge = f.rcvNxt, f.edge
	field := f.window(f.rcvNxt, f.edge)
	o.ToClient = append(o.ToClient, f.freshAck(f.rcvNxt, field, nil, o))
	f.told(f.rcvNxt, field)
	f.sendTail(o)
	f.stir(o)
}

// stir asks the client about bytes that it has not acknowledged, or has no room for: a probe makes
// it repeat its acknowledgment and its window, news of which may have died with the peer (RFC 9293
// §3.8.6.1); and the kernel is made to retransmit at once instead of after a backed-off timer.
func (f *flow) stir(o *Outcome) {
	if f.phase != established || !f.unacked() && f.hasRoom() {
		return
	}
	ack, edge := f.limit(f.wantAck, f.wantEdge)
	o.ToClient = append(o.ToClient, f.probe(ack, f.window(ack, edge), o))
	if !f.unacked() {
		return
	}
	lost := AppendSegment(o.room(maxHeader), Header{Src: f.id.Advertised, Dst: f.id.Client,
		Flags: ACK, Seq: f.delta.Local(f.maxAck), Ack: ack}, nil)
	for range retries {
		o.ToLocal = append(o.ToLocal, AppendUnreachable(o.room(maxError), f.id.Client.Addr(), lost))
	}
}

// probe builds a segment that the client must answer, since it stands before its window.
func (f *flow) probe(ack Seq, field uint16, o *Outcome) []byte {
	return AppendSegment(o.room(maxHeader), Header{Src: f.id.Advertised, Dst: f.id.Client, Flags: ACK,
		Seq: f.maxAck - 1, Ack: ack, Window: field, HasTS: f.hasTS, TSVal: f.tsLast + f.tsDelta, TSEcr: f.tsEcr}, nil)
}

// maxError is room for an ICMP error that quotes a segment without payload.
const maxError = 40 + 8 + maxHeader

// Fence forgets every flow of a service: its sockets are closed by RSTs that, being of no
// known flow, never leave (I5). It returns how many there were.
func (t *Table) Fence(advertised netip.AddrPort) int {
	n := 0
	for id := range t.elsewhere { // it is told of them anew when this host joins again
		if id.Advertised == advertised {
			delete(t.elsewhere, id)
		}
	}
	for _, f := range t.flows {
		if f.id.Advertised == advertised {
			t.remove(f)
			n++
		}
	}
	return n
}

// Expire asks the peer to let go of flows whose acknowledgments have waited too long for it,
// gives up handshakes that came to nothing and forgets old early confirmations. It is called
// a few times a second.
func (t *Table) Expire(now time.Duration, emit func(*Outcome)) {
	var o Outcome
	t.ageEarly()
	for _, f := range t.flows {
		o.reset()
		switch {
		case f.phase < established && now-f.seen > halfOpenLife:
			t.end(f, &o)
		case f.held && !f.asked && f.mode == Duplex && f.speaker && now-f.heldAt > t.limits.Hold:
			f.asked, f.lone = true, PeerLate
			o.Notes = append(o.Notes, Note{Flow: f.id, Kind: NoteSimplex})
		}
		if n := f.next; n != nil && now-n.seen > halfOpenLife {
			t.opened(n)
			f.next = nil
		}
		if !o.Empty() {
			emit(&o)
		}
	}
}

// grace is how long a flow is kept without a look at the kernel's sockets: longer than a
// socket takes to show there after its last segment.
const grace = 3 * time.Second

// Sweep forgets the flows of a service for which the kernel has no socket any more, TIME_WAIT
// included, in two sweeps in a row, and those that are only relayed and seem over. It returns the
// identities of those of the former that this host held alone beside a peer, which is to be told
// that they are closed.
func (t *Table) Sweep(advertised netip.AddrPort, live func(client netip.AddrPort) bool, now time.Duration) []FlowID {
	var gone []FlowID
	for _, f := range t.flows {
		if f.id.Advertised != advertised {
			continue
		}
		if f.mode == Relay {
			if f.relayedOut(now) {
				t.remove(f)
			}
			continue
		}
		if now-f.seen < grace || live(f.id.Client) {
			f.miss = 0
			continue
		}
		if f.miss++; f.miss >= 2 && f.next == nil {
			t.remove(f)
			if f.mode == Simplex && f.svc.stance.Duplex {
				gone = append(gone, f.id)
			}
		}
	}
	return gone
}

// Count says how many flows of a service there are, by mode. Flows that the server's FIN or an RST
// has begun to end are Closing, whatever their mode: TIME_WAIT is no connection to be saved.
type Count struct {
	Duplex, Simplex, Relay, HalfOpen, Closing int
	Elsewhere                                 int // beside these: the peer alone holds them, and no segment passed here
}

// Count counts the flows of a service.
func (t *Table) Count(advertised netip.AddrPort) Count {
	var c Count
	for id := range t.elsewhere {
		if id.Advertised == advertised && t.flows[id.Key] == nil {
			c.Elsewhere++
		}
	}
	for _, f := range t.flows {
		switch {
		case f.id.Advertised != advertised:
		case f.phase < established:
			c.HalfOpen++
		case f.closing:
			c.Closing++
		case f.mode == Duplex:
			c.Duplex++
		case f.mode == Simplex:
			c.Simplex++
		default:
			c.Relay++
		}
	}
	return c
}
