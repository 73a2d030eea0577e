package replication

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
)

// MaxStreams bounds the records that are under way at once on one connection. Sender and
// receiver both keep it.
const MaxStreams = 1024

// maxPart is the most bytes of a reply in one frame.
const maxPart = MaxBody - 8

// BulkOutbox is the bulk connection's queue of records. Records under way take turns frame by
// frame, so that a small one passes a large one. A record stays until Remove, and goes again
// whole after Rewind. The zero BulkOutbox is ready. It is not safe for concurrent use.
type BulkOutbox struct {
	last    uint64
	streams map[uint64]*outgoing
	waiting []*outgoing // not begun, first come first served
	active  []*outgoing // taking turns; Invariant: at most MaxStreams
	aborts  []uint64
}

// outgoing is one record: waiting, active, or sent and waiting for its answer.
type outgoing struct {
	id    uint64
	rec   Record
	body  io.ReaderAt
	off   int64
	begun bool
	sum   uint32
}

// StreamError is a record whose body could not be read; it has been removed.
type StreamError struct {
	Stream uint64
	Err    error
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Add queues a record whose reply is the first r.Size bytes of body and returns its stream
// number, from 1. body is read in Append only, and until Remove. Close records and empty
// replies may pass a nil body.
func (b *BulkOutbox) Add(r Record, body io.ReaderAt) (stream uint64, err error) {
	if !ValidFlow(r.Flow) || r.Size < 0 || (r.Size > 0 && body == nil) || r.Kind < KindReply || r.Kind > KindDigest {
		return 0, fmt.Errorf("replication: record %v #%d kind %d of %d bytes cannot be sent", r.Flow, r.Index, r.Kind, r.Size)
	}
	b.last++
	s := &outgoing{id: b.last, rec: r, body: body}
	if b.streams == nil {
		b.streams = make(map[uint64]*outgoing)
	}
	b.streams[s.id] = s
	b.waiting = append(b.waiting, s)
	return s.id, nil
}

// Remove forgets a record: it was answered, or is given up. One that is partly sent is
// aborted. Unknown streams are ignored.
func (b *BulkOutbox) Remove(stream uint64) {
	s, ok := b.streams[stream]
	if !ok {
		return
	}
	delete(b.streams, stream)
	is := func(o *outgoing) bool { return o == s }
	if i := slices.IndexFunc(b.active, is); i >= 0 {
		b.active = slices.Delete(b.active, i, i+1)
		if s.begun {
			b.aborts = append(b.aborts, stream)
		}
	} else if i := slices.IndexFunc(b.waiting, is); i >= 0 {
		b.waiting = slices.Delete(b.waiting, i, i+1)
	}
}

// Rewind begins a new connection: every record that is left goes again whole, oldest first.
func (b *BulkOutbox) Rewind() {
	b.aborts, b.active, b.waiting = nil, nil, nil
	for _, s := range b.streams {
		s.off, s.begun, s.sum = 0, false, 0
		b.waiting = append(b.waiting, s)
	}
	slices.SortFunc(b.waiting, func(x, y *outgoing) int { return cmp.Compare(x.id, y.id) })
}

// Empty reports whether Append would append nothing.
func (b *BulkOutbox) Empty() bool {
	return len(b.aborts) == 0 && len(b.active) == 0 && len(b.waiting) == 0
}

// Append appends frames to dst until nothing is left or limit is reached; it may pass limit
// by no more than a frame. It returns the records whose body failed.
func (b *BulkOutbox) Append(dst []byte, limit int) ([]byte, []StreamError) {
	for _, id := range b.aborts {
		at := len(dst)
		dst = end(appendStream(dst, TypeRecordAbort, id), at)
	}
	b.aborts = b.aborts[:0]
	var failed []StreamError
	for len(dst) < limit {
		if n := min(len(b.waiting), MaxStreams-len(b.active)); n > 0 {
			b.active = append(b.active, b.waiting[:n]...)
			b.waiting = slices.Delete(b.waiting, 0, n)
		}
		if len(b.active) == 0 {
			break
		}
		s := b.active[0]
		b.active = append(b.active[:0], b.active[1:]...)
		var err error
		if dst, err = s.append(dst); err != nil {
			failed = append(failed, StreamError{Stream: s.id, Err: err})
			delete(b.streams, s.id)
			continue
		}
		if s.off < s.rec.Size {
			b.active = append(b.active, s)
		}
	}
	return dst, failed
}

// append appends one turn of the record: its begin, one part, its end, as far as they are due.
func (s *outgoing) append(dst []byte) ([]byte, error) {
	if !s.begun {
		dst, s.begun = appendBegin(dst, s.id, s.rec), true
	}
	if n := int(min(maxPart, s.rec.Size-s.off)); n > 0 {
		at := len(dst)
		dst = appendStream(dst, TypeRecordPart, s.id)
		from := len(dst)
		dst = slices.Grow(dst, n)[:from+n]
		if got, err := s.body.ReadAt(dst[from:], s.off); got < n {
			if err == nil || err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			dst = end(appendStream(dst[:at], TypeRecordAbort, s.id), at)
			return dst, fmt.Errorf("read body of record at byte %d of %d: %w", s.off+int64(got), s.rec.Size, err)
		}
		s.sum = crc32.Update(s.sum, castagnoli, dst[from:])
		s.off += int64(n)
		dst = end(dst, at)
	}
	if s.off == s.rec.Size {
		at := len(dst)
		dst = appendStream(dst, TypeRecordEnd, s.id)
		dst = end(binary.BigEndian.AppendUint32(dst, s.sum), at)
	}
	return dst, nil
}
