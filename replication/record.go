package replication

import (
	"encoding/binary"
	"math"

	"github.com/ftgw/ftgw/rewrite"
)

// RecordKind says what a record holds.
type RecordKind uint8

// The kinds of records.
const (
	KindReply   RecordKind = 1 // the whole final reply of an exchange
	KindInterim RecordKind = 2 // a 100 or 103 that goes before it
	KindClose   RecordKind = 3 // the speaker ends the connection; no bytes

	// KindHandOver makes the receiver the executor from this exchange on; no bytes. Interim
	// counts the flow's handovers, from 1.
	KindHandOver RecordKind = 4
	// KindMove is a KindHandOver within an exchange: the sender's upstream has failed it, of its
	// reply nothing but interims went out, and the receiver executes it anew. Attempt says how
	// often it was tried. The receiver does not move it a second time.
	KindMove RecordKind = 5
	// KindPart is a piece of a reply that is too long to be stored whole before its first byte goes
	// out; the first one has the head. Interim counts them, from 0. A KindReply with the rest
	// follows, and only that answers the request.
	KindPart RecordKind = 6
	// KindSame stands for a KindReply that the receiver has made itself: its bytes are the body's
	// SHA-256, its length in 8 bytes, and the head. Stored says that the receiver has that reply now
	// as if it had come whole, ResultRefused that it has none, or not yet, and ResultFailed perhaps
	// that it has another. See LateSink.
	KindSame RecordKind = 7
	// KindDigest stands for a KindPart that goes out though the receiver does not have it: its bytes say
	// how much of the reply's body goes out with it and before it, the SHA-256 of that, and how far the
	// client has acknowledged the stream. A KindPart with the head is before the first.
	KindDigest RecordKind = 8
)

// Partial reports whether a record is about a piece of a reply, numbered by Interim.
func (k RecordKind) Partial() bool { return k == KindPart || k == KindDigest }

// Gives reports whether a record makes its receiver the executor of the flow.
func (k RecordKind) Gives() bool { return k == KindHandOver || k == KindMove }

// RecordKey names a record for good; storing is idempotent by it.
type RecordKey struct {
	Flow    rewrite.FlowID
	Index   uint64 // of the exchange in the flow, from 0
	Kind    RecordKind
	Interim uint16 // which of the exchange's interim records or parts, from 0, or of the flow's handovers; else 0
}

// Record describes what the speaker will write to the client (DESIGN §4).
type Record struct {
	RecordKey
	Epoch      uint64
	RequestEnd uint64 // bytes of the client's stream up to the end of this request; of one that gives: up to its start
	Size       int64  // of the reply in bytes, never negative
	Close      bool   // the connection ends after this reply
	Attempt    uint8  // of KindMove: how often an upstream was asked; else 0
}

// Result says what became of a record at the peer.
type Result uint8

// The results.
const (
	ResultStored  Result = 1
	ResultRefused Result = 2 // the peer did not want it: an old epoch, an unknown flow
	ResultFailed  Result = 3 // the peer could not keep it: no space, or damaged on the way
)

// StoredItem answers one record. RcvNxt and Edge confirm input on the way, as in
// rewrite.Confirmation; both zero: nothing to confirm.
type StoredItem struct {
	Stream uint64
	RecordKey
	Result       Result
	RcvNxt, Edge rewrite.Seq
}

// Confirmation returns what the item confirms, if anything.
func (s StoredItem) Confirmation() (rewrite.Confirmation, bool) {
	return rewrite.Confirmation{Flow: s.Flow, RcvNxt: s.RcvNxt, Edge: s.Edge}, s.RcvNxt != 0 || s.Edge != 0
}

func (k RecordKey) append(dst []byte) []byte {
	dst = appendFlow(dst, k.Flow)
	dst = binary.BigEndian.AppendUint64(dst, k.Index)
	dst = append(dst, byte(k.Kind))
	return binary.BigEndian.AppendUint16(dst, k.Interim)
}

func (p *parser) recordKey() RecordKey {
	return RecordKey{
		Flow: p.flow(), Index: p.u64(),
		Kind:    RecordKind(p.enum("kind of record", uint8(KindReply), uint8(KindDigest))),
		Interim: p.u16(),
	}
}

func appendStored(dst []byte, s StoredItem) []byte {
	dst = binary.BigEndian.AppendUint64(dst, s.Stream)
	dst = s.RecordKey.append(dst)
	dst = append(dst, byte(s.Result))
	dst = binary.BigEndian.AppendUint32(dst, uint32(s.RcvNxt))
	return binary.BigEndian.AppendUint32(dst, uint32(s.Edge))
}

// ParseStored appends the items of a Stored, its number split off, to into.
func ParseStored(into []StoredItem, rest []byte) ([]StoredItem, error) {
	p := parser{b: rest}
	for len(p.b) > 0 {
		into = append(into, StoredItem{
			Stream: p.u64(), RecordKey: p.recordKey(),
			Result: Result(p.enum("result", uint8(ResultStored), uint8(ResultFailed))),
			RcvNxt: p.seq(), Edge: p.seq(),
		})
	}
	return into, p.done(TypeStored)
}

func appendStream(dst []byte, t Type, stream uint64) []byte {
	return binary.BigEndian.AppendUint64(begin(dst, t), stream)
}

func appendBegin(dst []byte, stream uint64, r Record) []byte {
	at := len(dst)
	dst = appendStream(dst, TypeRecordBegin, stream)
	dst = binary.BigEndian.AppendUint64(dst, r.Epoch)
	dst = r.RecordKey.append(dst)
	dst = binary.BigEndian.AppendUint64(dst, r.RequestEnd)
	dst = binary.BigEndian.AppendUint64(dst, uint64(r.Size))
	dst = appendBool(dst, r.Close)
	dst = append(dst, r.Attempt)
	return end(dst, at)
}

func parseBegin(body []byte) (stream uint64, r Record, err error) {
	p := parser{b: body}
	stream = p.u64()
	r.Epoch = p.u64()
	r.RecordKey = p.recordKey()
	r.RequestEnd = p.u64()
	size := p.u64()
	if size > math.MaxInt64 {
		p.fail("size out of range")
	}
	r.Size = int64(size)
	r.Close = p.bool()
	r.Attempt = p.u8()
	return stream, r, p.done(TypeRecordBegin)
}
