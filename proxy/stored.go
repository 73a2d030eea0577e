package proxy

import (
	"io"

	"github.com/ftgw/ftgw/config"
	"github.com/ftgw/ftgw/replication"
)

// order is a record's place within its flow: exchanges count up, and within one a handover comes
// before the interims, these before the parts, and all before the reply or the close.
type order struct {
	index uint64
	sub   uint32
}

func orderOf(r Record) order {
	switch r.Kind {
	case replication.KindHandOver, replication.KindMove:
		return order{r.Index, 2 << 16}
	case replication.KindInterim:
		return order{r.Index, uint32(r.Interim)}
	case replication.KindPart, replication.KindDigest:
		return order{r.Index, 3<<16 + uint32(r.Interim)}
	}
	return order{r.Index, 1 << 16}
}

// stored is a record with its bytes; body is nil for a close.
type stored struct {
	Record
	body *spill
	mode config.Mode // of a reply that was not stored but made here; else empty
}

// outbox holds a flow's stored records until they are written, and knows what is next. It is
// not safe for concurrent use.
type outbox struct {
	index    uint64 // the exchange that is next
	interims uint16 // of that exchange, already taken
	parts    uint16 // likewise
	turn     uint16 // handovers of the flow so far, in either direction
	closed   bool   // the closing record was taken
	waiting  map[order]stored
}

// has reports whether r was committed before.
func (o *outbox) has(r Record) bool {
	at := orderOf(r)
	if at.index < o.index || o.closed {
		return true
	}
	if r.Kind.Gives() {
		return r.Interim <= o.turn
	}
	if r.Kind == replication.KindInterim && at.index == o.index && r.Interim < o.interims ||
		r.Kind.Partial() && at.index == o.index && r.Interim < o.parts {
		return true
	}
	_, ok := o.waiting[at]
	return ok
}

func (o *outbox) put(s stored) {
	if o.waiting == nil {
		o.waiting = make(map[order]stored)
	}
	o.waiting[orderOf(s.Record)] = s
}

// take returns the next record to write.
func (o *outbox) take() (stored, bool) {
	if len(o.waiting) == 0 {
		return stored{}, false
	}
	at := order{o.index, 2 << 16}
	s, ok := o.waiting[at]
	if ok {
		o.turn = s.Interim
	} else if s, ok = o.waiting[order{o.index, uint32(o.interims)}]; ok {
		at.sub = uint32(o.interims)
		o.interims++
	} else if s, ok = o.waiting[order{o.index, 3<<16 + uint32(o.parts)}]; ok {
		at.sub = 3<<16 + uint32(o.parts)
		o.parts++
	} else {
		at.sub = 1 << 16
		if s, ok = o.waiting[at]; !ok {
			return stored{}, false
		}
		o.index, o.interims, o.parts = o.index+1, 0, 0
		o.closed = s.Close || s.Kind == replication.KindClose
	}
	delete(o.waiting, at)
	return s, true
}

// handedOver reports whether a handover waits to be taken.
func (o *outbox) handedOver() bool {
	for _, s := range o.waiting {
		if s.Kind.Gives() {
			return true
		}
	}
	return false
}

func (o *outbox) free() {
	for _, s := range o.waiting {
		s.body.release()
	}
	o.waiting = nil
}

// Sink takes the bytes of one record from the peer. It is for one goroutine.
type Sink interface {
	io.Writer
	// Commit stores the record. Nil means that this host has it for good; committing what is
	// stored already is nil as well.
	Commit() error
	// Abort forgets what was written. It may follow Commit, then it does nothing.
	Abort()
}
