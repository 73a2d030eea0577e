package rewrite

import "net/netip"

// Flows that the peer alone holds and that this host never saw: those of a survivor, when this
// host has joined it. All that can be done for them is to tell their clients at its death.

// Alone tells the peer of every flow of a service that this host holds alone.
func (t *Table) Alone(advertised netip.AddrPort, emit func(*Outcome)) {
	t.walk(advertised, emit, func(f *flow, o *Outcome) {
		if f.mode == Simplex && f.phase != opening && !f.closing {
			o.Notes = append(o.Notes, Note{Flow: f.id, Kind: NoteSimplex})
		}
	})
}

// keepElsewhere remembers such a flow, until the peer says that it is closed.
func (t *Table) keepElsewhere(n Note) {
	if n.Kind == NoteSimplex && t.services[n.Flow.Advertised] != nil && len(t.elsewhere) < t.limits.Flows {
		t.elsewhere[n.Flow] = struct{}{}
	}
}

// closedElsewhere forgets a flow that the peer alone held; f is it if segments of it passed here.
func (t *Table) closedElsewhere(id FlowID, f *flow) {
	delete(t.elsewhere, id)
	if f != nil && f.mode == Relay && f.next == nil && t.flows[id.Key] == f {
		t.remove(f)
	}
}

// loseElsewhere asks the clients of these flows where they are, by an acknowledgment from before
// their window (RFC 9293 §3.10.7.4). The answer is of no known flow and gets the RST.
func (t *Table) loseElsewhere(advertised netip.AddrPort, emit func(*Outcome)) {
	var o Outcome
	for id := range t.elsewhere {
		if id.Advertised != advertised {
			continue
		}
		delete(t.elsewhere, id)
		if t.flows[id.Key] != nil {
			continue // the client has a new connection by that port
		}
		o.reset()
		iss, _ := t.initial(id)
		o.ToClient = append(o.ToClient, AppendSegment(o.room(maxHeader),
			Header{Src: id.Advertised, Dst: id.Client, Seq: iss, Ack: id.ISN + 1, Flags: ACK}, nil))
		emit(&o)
	}
}
