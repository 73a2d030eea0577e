package replication

import "github.com/ftgw/ftgw/rewrite"

const (
	controlBody = 16 << 10 // aimed-at length of a batch frame: the kinds take turns by it
	maxKept     = 4 << 20  // unacknowledged bytes at which new frames wait, and coalesce
	maxConfirms = 8192     // waiting confirmations before those with SACK blocks coalesce too
	maxWaiting  = 1 << 16  // waiting notes or stored items before the oldest are dropped
)

// Outbox is the control connection's queue: what is still to be said, and what was said but
// may not have arrived. Order is kept within each kind of frame only. The zero Outbox is
// ready. It is not safe for concurrent use.
type Outbox struct {
	// Dropped counts what was given up because the peer did not take it for too long.
	Dropped uint64

	beat     *Heartbeat
	beatBuf  Heartbeat
	leave    bool
	epochs   []Epoch
	confirms queue[rewrite.Confirmation]
	newest   map[rewrite.FlowID]int // position in confirms of the flow's newest that waits
	stored   queue[StoredItem]
	notes    queue[FlowNote]

	// Invariant: kept holds whole frames numbered next-count..next-1 in order;
	// kept[:sent] went out on this connection.
	kept  []byte
	sent  int
	next  uint64
	count uint64
}

// Beat queues a heartbeat in place of one that has not gone yet. It is said once: a
// heartbeat that is lost with its connection is not repeated.
func (o *Outbox) Beat(h Heartbeat) { o.beatBuf = h; o.beat = &o.beatBuf }

// Leave queues the farewell.
func (o *Outbox) Leave() { o.leave = true }

// Epoch queues an epoch.
func (o *Outbox) Epoch(e Epoch) { o.epochs = append(o.epochs, e) }

// Confirm queues a confirmation. It joins one of the same flow that still waits, the later
// number and edge winning, except that SACK blocks are kept apart: each stands for a
// duplicate ACK, which the client counts. Flows that are not ValidFlow are dropped.
func (o *Outbox) Confirm(c rewrite.Confirmation) {
	if !ValidFlow(c.Flow) {
		o.Dropped++
		return
	}
	if o.newest == nil {
		o.newest = make(map[rewrite.FlowID]int)
	}
	pos, waits := o.newest[c.Flow]
	if waits && (c.NSACK == 0 && o.confirms.at(pos).NSACK == 0 || o.confirms.len() >= maxConfirms) {
		old := o.confirms.at(pos)
		c.RcvNxt, c.Edge = c.RcvNxt.Later(old.RcvNxt), c.Edge.Later(old.Edge)
		*old = c
		return
	}
	o.newest[c.Flow] = o.confirms.push(c)
}

// Stored queues the answer to a record.
func (o *Outbox) Stored(s StoredItem) {
	o.stored.push(s)
	o.Dropped += o.stored.bound(maxWaiting)
}

// Note queues a note. Flows that are not ValidFlow are dropped.
func (o *Outbox) Note(n FlowNote) {
	if !ValidFlow(n.Flow) {
		o.Dropped++
		return
	}
	o.notes.push(n)
	o.Dropped += o.notes.bound(maxWaiting)
}

// Empty reports whether Append would append nothing.
func (o *Outbox) Empty() bool {
	return o.beat == nil && o.sent == len(o.kept) && (len(o.kept) >= maxKept || !o.waiting())
}

func (o *Outbox) waiting() bool {
	return o.leave || len(o.epochs) > 0 || o.confirms.len() > 0 || o.stored.len() > 0 || o.notes.len() > 0
}

// Append appends whole frames to dst until nothing waits or limit is passed: the heartbeat,
// what a broken connection lost, epochs and farewell, then confirmations, stored items and
// notes in turn.
func (o *Outbox) Append(dst []byte, limit int) []byte {
	if o.beat != nil {
		dst, o.beat = o.beat.Append(dst), nil
	}
	for len(dst)+len(o.kept)-o.sent < limit && len(o.kept) < maxKept && o.waiting() {
		o.encode()
	}
	for o.sent < len(o.kept) && len(dst) < limit {
		n := frameLen(o.kept[o.sent:])
		dst = append(dst, o.kept[o.sent:o.sent+n]...)
		o.sent += n
	}
	return dst
}

// encode moves one frame of each kind from what waits to kept.
func (o *Outbox) encode() {
	for _, e := range o.epochs {
		at := o.open(TypeEpoch)
		o.kept = end(e.append(o.kept), at)
	}
	o.epochs = o.epochs[:0]
	if o.leave {
		at := o.open(TypeLeave)
		o.kept = end(o.kept, at)
		o.leave = false
	}
	if o.confirms.len() > 0 {
		at := o.open(TypeConfirm)
		for o.confirms.len() > 0 && len(o.kept)-at < controlBody {
			o.kept = appendConfirm(o.kept, o.popConfirm())
		}
		o.kept = end(o.kept, at)
	}
	if o.stored.len() > 0 {
		at := o.open(TypeStored)
		for o.stored.len() > 0 && len(o.kept)-at < controlBody {
			o.kept = appendStored(o.kept, o.stored.pop())
		}
		o.kept = end(o.kept, at)
	}
	if o.notes.len() > 0 {
		at := o.open(TypeNote)
		for o.notes.len() > 0 && len(o.kept)-at < controlBody {
			o.kept = appendNote(o.kept, o.notes.pop())
		}
		o.kept = end(o.kept, at)
	}
}

// open begins a numbered frame in kept and returns where.
func (o *Outbox) open(t Type) int {
	at := len(o.kept)
	o.kept = appendNumbered(o.kept, t, o.next)
	o.next++
	o.count++
	return at
}

func (o *Outbox) popConfirm() rewrite.Confirmation {
	pos := o.confirms.frontPos()
	c := o.confirms.pop()
	if o.newest[c.Flow] == pos {
		delete(o.newest, c.Flow)
	}
	return c
}

// Got tells the Outbox that all frames numbered below n arrived; they are forgotten.
func (o *Outbox) Got(n uint64) {
	if n > o.next {
		n = o.next // a peer that claims more than was said has no more than all
	}
	drop := 0
	for o.next-o.count < n {
		drop += frameLen(o.kept[drop:])
		o.count--
	}
	if drop > 0 {
		o.kept = append(o.kept[:0], o.kept[drop:]...)
		o.sent = max(0, o.sent-drop)
	}
}

// Restart begins a new connection with the same process, which has all frames below got:
// the others go again, in order.
func (o *Outbox) Restart(got uint64) {
	o.beat, o.sent = nil, 0
	o.Got(got)
}

// Reset forgets everything, waiting or unacknowledged: the peer is another process, or is
// given up. Numbers go on, and the receiver takes the gap.
func (o *Outbox) Reset() {
	*o = Outbox{Dropped: o.Dropped, next: o.next}
}

func frameLen(b []byte) int {
	return HeaderSize + int(uint32(b[4])<<24|uint32(b[5])<<16|uint32(b[6])<<8|uint32(b[7]))
}
