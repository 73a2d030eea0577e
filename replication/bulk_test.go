package replication

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/ftgw/ftgw/rewrite"
)

// memory is a sink that remembers how it ended.
type memory struct {
	bytes.Buffer
	ended     string
	writeFail error
}

func (m *memory) Write(p []byte) (int, error) {
	if m.writeFail != nil {
		return 0, m.writeFail
	}
	return m.Buffer.Write(p)
}
func (m *memory) Commit() error { m.ended += "commit"; return nil }
func (m *memory) Abort()        { m.ended += "abort" }

// Confirmed lets the answer carry input confirmation.
func (m *memory) Confirmed() (rcvNxt, edge rewrite.Seq) { return 3, 4 }

type receiver struct {
	BulkInbox
	sinks   map[uint64]*memory // by exchange index
	refuse  error
	answers []StoredItem
}

func newReceiver() *receiver {
	r := &receiver{sinks: make(map[uint64]*memory)}
	r.Open = func(rec Record) (RecordSink, error) {
		r.sinks[rec.Index] = &memory{}
		return r.sinks[rec.Index], r.refuse
	}
	return r
}

func (r *receiver) take(t *testing.T, wire []byte) {
	t.Helper()
	for rd := NewReader(bytes.NewReader(wire)); ; {
		f, err := rd.Next()
		if err != nil {
			return
		}
		a, ok, _, err := r.Frame(f)
		if err != nil {
			t.Fatal(err)
		}
		if ok {
			r.answers = append(r.answers, a)
		}
	}
}

func body(n int) []byte {
	b := make([]byte, n)
	rnd := rand.NewChaCha8([32]byte{byte(n)})
	rnd.Read(b)
	return b
}

func TestBulkTurns(t *testing.T) {
	var b BulkOutbox
	large, small := body(1<<20), body(100)
	b.Add(Record{RecordKey: key(1, 1), Size: int64(len(large))}, bytes.NewReader(large))
	wire, _ := b.Append(nil, 100_000)
	b.Add(Record{RecordKey: key(1, 2), Size: int64(len(small))}, bytes.NewReader(small))
	b.Add(Record{RecordKey: RecordKey{Flow: flow4(1), Index: 3, Kind: KindClose}}, nil)
	for !b.Empty() {
		from := len(wire)
		if wire, _ = b.Append(wire, from+batchLimit); len(wire)-from > batchLimit+MaxFrame+100 {
			t.Errorf("a batch of %d bytes", len(wire)-from)
		}
	}
	r := newReceiver()
	r.take(t, wire)
	var order []uint64
	for _, a := range r.answers {
		order = append(order, a.Index)
		if a.Result != ResultStored || a.RcvNxt != 3 || a.Edge != 4 {
			t.Errorf("answer %+v", a)
		}
	}
	if fmt.Sprint(order) != "[2 3 1]" {
		t.Errorf("records ended in order %v: the small ones did not pass the large one", order)
	}
	if !bytes.Equal(r.sinks[1].Bytes(), large) || !bytes.Equal(r.sinks[2].Bytes(), small) || r.sinks[3].Len() != 0 {
		t.Error("bytes arrived changed")
	}
}

func TestBulkRewind(t *testing.T) {
	var b BulkOutbox
	data := body(200_000)
	for i := range uint64(3) {
		b.Add(Record{RecordKey: key(1, i), Size: int64(len(data))}, bytes.NewReader(data))
	}
	first, _ := b.Append(nil, 300_000)
	lost := newReceiver()
	lost.take(t, first)
	lost.Close()
	for i, s := range lost.sinks {
		if s.ended != "abort" {
			t.Errorf("sink %d ended with %q when the connection was lost", i, s.ended)
		}
	}
	b.Remove(2)
	b.Rewind()
	wire, _ := b.Append(nil, 1<<20)
	r := newReceiver()
	r.take(t, wire)
	if len(r.answers) != 2 || r.answers[0].Stream != 1 || r.answers[1].Stream != 3 || !b.Empty() {
		t.Errorf("after Rewind: answers %+v", r.answers)
	}
	b.Remove(1)
	b.Remove(3)
	b.Rewind()
	if !b.Empty() || len(b.streams) != 0 {
		t.Error("answered records went again")
	}
}

func TestBulkRemove(t *testing.T) {
	var b BulkOutbox
	data := body(200_000)
	id, _ := b.Add(Record{RecordKey: key(1, 0), Size: int64(len(data))}, bytes.NewReader(data))
	waiting, _ := b.Add(Record{RecordKey: key(1, 1), Size: 5}, strings.NewReader("12345"))
	wire, _ := b.Append(nil, 10)
	b.Remove(id)
	b.Remove(waiting)
	b.Remove(99)
	wire, _ = b.Append(wire, batchLimit)
	r := newReceiver()
	r.take(t, wire)
	if r.sinks[0].ended != "abort" || len(r.sinks) != 1 || len(r.answers) != 0 || len(r.streams) != 0 {
		t.Errorf("sinks %v, answers %v", r.sinks, r.answers)
	}
}

func TestBulkBodyFails(t *testing.T) {
	var b BulkOutbox
	id, _ := b.Add(Record{RecordKey: key(1, 0), Size: 100_000}, bytes.NewReader(body(80_000)))
	ok, _ := b.Add(Record{RecordKey: key(1, 1), Size: 5}, strings.NewReader("12345"))
	wire, failed := b.Append(nil, batchLimit)
	if len(failed) != 1 || failed[0].Stream != id {
		t.Errorf("failed %+v", failed)
	}
	r := newReceiver()
	r.take(t, wire)
	if r.sinks[0].ended != "abort" || len(r.answers) != 1 || r.answers[0].Stream != ok {
		t.Errorf("first ended %q, answers %v", r.sinks[0].ended, r.answers)
	}
	for _, rec := range []Record{{}, {RecordKey: key(1, 0), Size: -1}, {RecordKey: key(1, 0), Size: 1}, {RecordKey: RecordKey{Flow: flow4(1)}}} {
		if _, err := b.Add(rec, nil); err == nil {
			t.Errorf("took %+v", rec)
		}
	}
}

func TestBulkManyStreams(t *testing.T) {
	var b BulkOutbox
	data := body(100_000)
	for i := range uint64(MaxStreams + 10) {
		b.Add(Record{RecordKey: key(1, i), Size: int64(len(data))}, bytes.NewReader(data))
	}
	r := newReceiver()
	for !b.Empty() {
		wire, _ := b.Append(nil, batchLimit)
		r.take(t, wire)
	}
	if len(r.answers) != MaxStreams+10 {
		t.Errorf("%d records stored", len(r.answers))
	}
}

func TestBulkInboxResults(t *testing.T) {
	no := errors.New("no")
	var b BulkOutbox
	data := body(150_000)
	b.Add(Record{RecordKey: key(1, 0), Size: int64(len(data))}, bytes.NewReader(data))
	wire, _ := b.Append(nil, 1<<20)

	refusing := newReceiver()
	refusing.refuse = no
	refusing.take(t, wire)
	full := newReceiver()
	open := full.Open
	full.Open = func(rec Record) (RecordSink, error) {
		s, err := open(rec)
		s.(*memory).writeFail = no
		return s, err
	}
	full.take(t, wire)
	damaged := newReceiver()
	bad := bytes.Clone(wire)
	bad[len(bad)-1] ^= 1
	damaged.take(t, bad)
	for _, tt := range []struct {
		name  string
		r     *receiver
		want  Result
		ended string
	}{{"refused", refusing, ResultRefused, ""}, {"full", full, ResultFailed, "abort"}, {"damaged", damaged, ResultFailed, "abort"}} {
		if a := tt.r.answers; len(a) != 1 || a[0].Result != tt.want || tt.r.sinks[0].ended != tt.ended || len(tt.r.streams) != 0 {
			t.Errorf("%s: answers %+v, sink ended %q, %d streams left", tt.name, a, tt.r.sinks[0].ended, len(tt.r.streams))
		}
	}
}

func TestBulkInboxViolations(t *testing.T) {
	frame := func(t Type, stream uint64, rest string) Frame {
		return Frame{Type: t, Body: append(appendStream(nil, t, stream)[HeaderSize:], rest...)}
	}
	start := Frame{Type: TypeRecordBegin, Body: appendBegin(nil, 1, Record{RecordKey: key(1, 0), Size: 5})[HeaderSize:]}
	sum := crc32.Checksum([]byte("12345"), castagnoli)
	good := string([]byte{byte(sum >> 24), byte(sum >> 16), byte(sum >> 8), byte(sum)})
	for _, tt := range []struct {
		name   string
		frames []Frame
	}{
		{"unknown stream", []Frame{frame(TypeRecordPart, 1, "x")}},
		{"abort of an unknown stream", []Frame{frame(TypeRecordAbort, 1, "")}},
		{"opened twice", []Frame{start, start}},
		{"empty part", []Frame{start, frame(TypeRecordPart, 1, "")}},
		{"part too long", []Frame{start, frame(TypeRecordPart, 1, "123456")}},
		{"too short", []Frame{start, frame(TypeRecordPart, 1, "1234"), frame(TypeRecordEnd, 1, good)}},
		{"sum too short", []Frame{start, frame(TypeRecordPart, 1, "12345"), frame(TypeRecordEnd, 1, "")}},
		{"control frame", []Frame{start, frame(TypeConfirm, 1, "")}},
		{"no stream", []Frame{{Type: TypeRecordEnd}}},
	} {
		r := newReceiver()
		for i, f := range tt.frames {
			_, _, _, err := r.Frame(f)
			if last := i == len(tt.frames)-1; last != errors.Is(err, ErrFrame) {
				t.Errorf("%s: frame %d: %v", tt.name, i, err)
			}
		}
		r.Close()
		if s := r.sinks[0]; s != nil && s.ended != "abort" {
			t.Errorf("%s: sink ended with %q", tt.name, s.ended)
		}
	}
}

// late is a sink that answers when it is told to.
type late struct {
	memory
	answer func(error)
	now    bool
}

func (l *late) Later(answer func(error)) bool {
	l.answer = answer
	return !l.now
}

// A sink may answer after its record, after the connection too.
func TestBulkLater(t *testing.T) {
	sinks := []*late{{}, {}, {now: true}}
	var opened int
	var told []StoredItem
	in := BulkInbox{Open: func(Record) (RecordSink, error) { opened++; return sinks[opened-1], nil },
		Late: func(s StoredItem, cause error) {
			if (cause == nil) != (s.Result == ResultStored) {
				t.Errorf("%+v with %v", s, cause)
			}
			told = append(told, s)
		}}
	var b BulkOutbox
	for i := range uint64(3) {
		b.Add(Record{RecordKey: key(1, i), Size: 5}, strings.NewReader("12345"))
	}
	wire, _ := b.Append(nil, 1<<20)
	rd := NewReader(bytes.NewReader(wire))
	var answers []StoredItem
	for {
		f, err := rd.Next()
		if err != nil {
			break
		}
		if a, answered, _, err := in.Frame(f); err != nil {
			t.Fatal(err)
		} else if answered {
			answers = append(answers, a)
		}
	}
	if len(told) != 0 || len(answers) != 1 || answers[0].Stream != 3 {
		t.Fatalf("told %+v, answers %+v", told, answers)
	}
	sinks[1].answer(errDamaged)
	in.Close()
	sinks[0].answer(nil)
	if len(told) != 2 || told[0].Stream != 2 || told[0].Result != ResultRefused || told[1].Stream != 1 || told[1].RecordKey != key(1, 0) {
		t.Errorf("told %+v", told)
	}
	if sinks[0].ended != "" {
		t.Errorf("a sink that answered late was ended by %q", sinks[0].ended)
	}
}
