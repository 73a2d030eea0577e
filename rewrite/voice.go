package rewrite

import (
	"net/netip"
	"time"
)

// A switchover moves the voice of every duplex flow of a service from one living host to the
// other: Yield on the one, then Speak on the other. In between nobody speaks. The executor is
// another matter: a running exchange stays where it is, and the proxies hand over between two
// exchanges (DESIGN §5, "Switchover").

// Yield makes this host silent for the duplex flows of a service. It tells the peer, by the
// Outcomes given to emit, what the local kernel holds: from now on the peer waits for that
// (I2).
func (t *Table) Yield(advertised netip.AddrPort, emit func(*Outcome)) {
	t.walk(advertised, emit, (*flow).yield)
}

func (f *flow) yield(o *Outcome) {
	if f.mode != Duplex || !f.speaker {
		return
	}
	f.speaker, f.foreign = false, true
	f.held, f.synHeld = false, false
	if f.phase != opening {
		o.Confirm = append(o.Confirm, f.confirmation())
	}
}

// Speak makes this host the voice of the duplex flows of a service that the peer has yielded.
// The clients are told what both kernels have as soon as the peer has confirmed it.
func (t *Table) Speak(advertised netip.AddrPort, now time.Duration, emit func(*Outcome)) {
	t.walk(advertised, emit, func(f *flow, o *Outcome) { t.speak(f, now, o) })
}

// speak takes the voice of one flow. One that the peer alone holds has none any more: it fell to
// simplex in the very moment of the switchover, and its client is told rather than left waiting.
func (t *Table) speak(f *flow, now time.Duration, o *Outcome) {
	if f.mode == Relay && !f.closing {
		t.lose(f, now, o)
		return
	}
	if f.mode != Duplex || f.speaker {
		return
	}
	f.speaker = true
	f.jump(now)
	switch {
	case f.phase == opening:
	case f.phase == answered && f.synAck != nil:
		f.synHeld, f.held, f.heldAt = true, true, now
		f.release(false, now, o)
	default:
		// The peer may have owed the client an acknowledgment when it fell silent.
		f.wantAck, f.wantEdge = f.rcvNxt, f.edge
		f.held, f.heldAt = f.wantAck != f.sentAck, now
		f.release(false, now, o)
		f.sendTail(o)
		f.stir(o)
	}
}

// Speaks reports whether this host sends for a flow.
func (t *Table) Speaks(id FlowID) bool {
	f := t.find(id)
	return f != nil && f.speaker && f.mode != Relay
}

// Executes notes that the peer executes the exchanges of a flow, though this host speaks for
// new ones: the flow began before the voice moved.
func (t *Table) Executes(id FlowID) {
	if f := t.find(id); f != nil {
		f.abroad = true
		return
	}
	if len(t.abroad) < t.limits.Early {
		t.abroad[id] = struct{}{}
	}
}

// ExecutedByPeer reports whether the peer executes the exchanges of a flow for which this host
// speaks.
func (t *Table) ExecutedByPeer(id FlowID) bool {
	f := t.find(id)
	return f != nil && f.abroad
}
