package rewrite

import (
	"bytes"
	"slices"
)

// NoteKind says what one host tells the other about a flow.
type NoteKind uint8

const (
	NoteNone    NoteKind = iota
	NoteSimplex          // the sender goes on alone: the receiver of the note holds it no longer
	NoteUnknown          // the sender has no such flow
	NoteRelayed          // the sender holds it no longer, as NoteSimplex has asked
	NoteClosed           // the sender held it alone, and its kernel has no socket for it any more
)

// Note is news of a flow for the peer.
type Note struct {
	Flow FlowID
	Kind NoteKind
}

// Outcome is what becomes of a packet, or of an event. Its byte slices belong to the Outcome
// and are valid until it is used again. One Outcome serves one goroutine; reused, it does not
// allocate.
type Outcome struct {
	Accept   bool   // the verdict; false drops the packet
	Reason   Reason // why, counted; OK for an accepted packet that nothing noteworthy happened to
	Clone    []byte // to be sent to the peer after the verdict, or nil
	ToLocal  [][]byte
	ToClient [][]byte
	Confirm  []Confirmation // for the peer
	Notes    []Note         // for the peer
	FromPeer bool           // it is a clone: the peer's daemon sent it
	Progress bool           // it acknowledges more of a flow for which the peer speaks

	arena []byte
}

// reset makes o an undecided outcome: dropped, for no reason yet.
func (o *Outcome) reset() {
	o.Accept, o.Reason, o.Clone = false, OK, nil
	o.FromPeer, o.Progress = false, false
	o.ToLocal, o.ToClient = o.ToLocal[:0], o.ToClient[:0]
	o.Confirm, o.Notes = o.Confirm[:0], o.Notes[:0]
	o.arena = o.arena[:0]
}

// Refuse makes o the outcome of a packet that no table has seen: dropped, and nothing to send.
func (o *Outcome) Refuse(r Reason) { o.reset(); o.drop(r) }

func (o *Outcome) drop(r Reason)   { o.Accept, o.Reason = false, r }
func (o *Outcome) accept(r Reason) { o.Accept, o.Reason = true, r }

// room returns an empty slice with n bytes of capacity in the arena. Slices handed out before
// stay valid when the arena grows.
func (o *Outcome) room(n int) []byte {
	if cap(o.arena)-len(o.arena) < n {
		o.arena = make([]byte, 0, max(4096, 2*n))
	}
	at := len(o.arena)
	o.arena = o.arena[:at+n]
	return o.arena[at:at:cap(o.arena)][:0:n]
}

func (o *Outcome) copyOf(b []byte) []byte { return append(o.room(len(b)), b...) }

// Empty reports whether there is nothing to send.
func (o *Outcome) Empty() bool {
	return len(o.ToLocal)+len(o.ToClient)+len(o.Confirm)+len(o.Notes) == 0
}

// Copy returns a copy of what there is to send, which shares no memory with o.
func (o *Outcome) Copy() *Outcome {
	c := &Outcome{Confirm: slices.Clone(o.Confirm), Notes: slices.Clone(o.Notes)}
	for _, b := range o.ToLocal {
		c.ToLocal = append(c.ToLocal, bytes.Clone(b))
	}
	for _, b := range o.ToClient {
		c.ToClient = append(c.ToClient, bytes.Clone(b))
	}
	return c
}
