package replication

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/ftgw/ftgw/rewrite"
)

// RecordSink takes one record's bytes in order. Write must not keep its argument. Exactly one
// of Commit and Abort ends it; Commit is called once the whole record came and its sum is
// right, and returns only when the record is stored.
//
// A sink may also have
//
//	Confirmed() (rcvNxt, edge rewrite.Seq)
//
// asked after Commit, to let the answer confirm input on the way.
type RecordSink interface {
	io.Writer
	Commit() error
	Abort()
}

// LateSink is a RecordSink whose record may be stored later than it has come.
type LateSink interface {
	RecordSink
	// Later is called in the place of Commit. Where it returns true the sink calls answer once,
	// from any goroutine and perhaps before it returns; an error then refuses the record, ErrDiffers
	// as ResultFailed. Else Commit follows.
	Later(answer func(error)) bool
}

// BulkInbox puts records together from the frames of one bulk connection. It keeps a few
// words for each of at most MaxStreams records and no byte of them. It is not safe for
// concurrent use.
type BulkInbox struct {
	// Open is asked for the sink of each record. Its error refuses the record.
	Open func(Record) (RecordSink, error)
	// Late is told the results that LateSinks give; nil: they are asked to Commit. It is called
	// from any goroutine, after Close too.
	Late func(answer StoredItem, cause error)

	streams map[uint64]*incoming
}

// incoming is a record under way. A nil sink skips what is left of it.
type incoming struct {
	rec  Record
	sink RecordSink
	got  int64
	sum  uint32
}

// ErrDiffers says of a record of KindSame that the receiver has made another reply.
var ErrDiffers = errors.New("the reply made here differs")

var errDamaged = errors.New("replication: record damaged on the way")

// Frame takes the next frame. A record that comes to its result, good or bad, is returned
// with answered true, once. cause says why a result is not ResultStored. err is ErrFrame:
// the connection cannot go on, and Close is due.
func (b *BulkInbox) Frame(f Frame) (answer StoredItem, answered bool, cause, err error) {
	if f.Type == TypeRecordBegin {
		return b.begin(f.Body)
	}
	p := parser{b: f.Body}
	id := p.u64()
	in, ok := b.streams[id]
	if !ok {
		return answer, false, nil, fmt.Errorf("%w: type %d for stream %d, which is not open", ErrFrame, f.Type, id)
	}
	answer = StoredItem{Stream: id, RecordKey: in.rec.RecordKey, Result: ResultFailed}
	switch f.Type {
	case TypeRecordPart:
		part := p.b
		if n := int64(len(part)); n == 0 || n > in.rec.Size-in.got {
			p.fail("part outside the record's size")
		}
		p.b = nil
		if err = p.done(f.Type); err == nil {
			cause = in.write(part)
			answered = cause != nil
		}
	case TypeRecordEnd:
		sum := p.u32()
		if in.got != in.rec.Size {
			p.fail("record shorter than its size")
		}
		if err = p.done(f.Type); err == nil {
			delete(b.streams, id)
			if answered = in.sink != nil && !b.later(in, answer, sum); answered {
				answer, cause = in.finish(answer, sum)
			}
		}
	case TypeRecordAbort:
		if err = p.done(f.Type); err == nil {
			delete(b.streams, id)
			in.abort()
		}
	default:
		err = fmt.Errorf("%w: type %d on the bulk connection", ErrFrame, f.Type)
	}
	return answer, answered, cause, err
}

func (b *BulkInbox) begin(body []byte) (answer StoredItem, answered bool, cause, err error) {
	id, rec, err := parseBegin(body)
	if err != nil {
		return answer, false, nil, err
	}
	if _, ok := b.streams[id]; ok || len(b.streams) >= MaxStreams {
		return answer, false, nil, fmt.Errorf("%w: stream %d is open already or one too many", ErrFrame, id)
	}
	if b.streams == nil {
		b.streams = make(map[uint64]*incoming)
	}
	in := &incoming{rec: rec}
	b.streams[id] = in
	if in.sink, cause = b.Open(rec); cause != nil {
		in.sink = nil
		return StoredItem{Stream: id, RecordKey: rec.RecordKey, Result: ResultRefused}, true, cause, nil
	}
	return answer, false, nil, nil
}

// write passes a part on; after an error the rest of the record is skipped.
func (in *incoming) write(part []byte) error {
	in.got += int64(len(part))
	if in.sink == nil {
		return nil
	}
	in.sum = crc32.Update(in.sum, castagnoli, part)
	if _, err := in.sink.Write(part); err != nil {
		in.abort()
		return err
	}
	return nil
}

// later leaves a whole record's answer to its sink, and reports whether it has.
func (b *BulkInbox) later(in *incoming, s StoredItem, sum uint32) bool {
	sink, ok := in.sink.(LateSink)
	return ok && b.Late != nil && sum == in.sum && sink.Later(func(cause error) {
		switch {
		case cause == nil:
			s.Result = ResultStored
		case errors.Is(cause, ErrDiffers):
			s.Result = ResultFailed
		default:
			s.Result = ResultRefused
		}
		b.Late(s, cause)
	})
}

// finish ends the sink of a whole record and completes the answer.
func (in *incoming) finish(s StoredItem, sum uint32) (StoredItem, error) {
	if sum != in.sum {
		in.abort()
		return s, errDamaged
	}
	if err := in.sink.Commit(); err != nil {
		return s, err
	}
	s.Result = ResultStored
	if c, ok := in.sink.(interface {
		Confirmed() (rcvNxt, edge rewrite.Seq)
	}); ok {
		s.RcvNxt, s.Edge = c.Confirmed()
	}
	return s, nil
}

func (in *incoming) abort() {
	if in.sink != nil {
		in.sink.Abort()
		in.sink = nil
	}
}

// Close aborts every record under way. The connection is gone.
func (b *BulkInbox) Close() {
	for id, in := range b.streams {
		in.abort()
		delete(b.streams, id)
	}
}
