package replication

import (
	"bytes"
	"testing"
)

// frameOf reads the one frame of b.
func frameOf(t *testing.T, b []byte) Frame {
	t.Helper()
	r := NewReader(bytes.NewReader(b))
	f, err := r.Next()
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// Each frame of the witness reads back as it was written, and no shorter or longer body does.
func TestWitnessFrames(t *testing.T) {
	check := func(frame []byte, want Type, parse func([]byte) (any, error), was any) {
		t.Helper()
		f := frameOf(t, frame)
		if got, err := parse(f.Body); f.Type != want || err != nil || got != was {
			t.Errorf("type %d: %+v, %v, want %+v", f.Type, got, err, was)
		}
		for n := range f.Body {
			if _, err := parse(f.Body[:n]); err == nil {
				t.Errorf("type %d: %d of %d bytes were accepted", f.Type, n, len(f.Body))
			}
		}
		if _, err := parse(append(bytes.Clone(f.Body), 0)); err == nil {
			t.Errorf("type %d: a byte left over was accepted", f.Type)
		}
	}
	r := GrantRequest{"a,b", 7, 6, true, 5}
	check(r.Append(nil), TypeGrantRequest, func(b []byte) (any, error) { return ParseGrantRequest(b) }, r)
	a := GrantAnswer{"a,b", 7, 8, false, true, "granted to a"}
	check(a.Append(nil), TypeGrantAnswer, func(b []byte) (any, error) { return ParseGrantAnswer(b) }, a)
	n := Notice{"a,b", 7}
	check(n.Append(nil), TypeNotice, func(b []byte) (any, error) { return ParseNotice(b) }, n)
	s := Silence{"", 1 << 63}
	check(s.Append(nil), TypeSilence, func(b []byte) (any, error) { return ParseSilence(b) }, s)
}

// FuzzWitnessFrames: a body is refused or means one thing, which is written as it was read.
func FuzzWitnessFrames(f *testing.F) {
	f.Add(GrantRequest{"a,b", 7, 6, true, 5}.Append(nil)[HeaderSize:])
	f.Add(GrantAnswer{"a,b", 7, 8, false, true, "why"}.Append(nil)[HeaderSize:])
	f.Add(Notice{"a,b", 7}.Append(nil)[HeaderSize:])
	f.Fuzz(func(t *testing.T, b []byte) {
		same := func(again []byte, err error) {
			if err == nil && !bytes.Equal(again[HeaderSize:], b) {
				t.Errorf("read %x, wrote %x", b, again[HeaderSize:])
			}
		}
		r, err := ParseGrantRequest(b)
		same(r.Append(nil), err)
		a, err := ParseGrantAnswer(b)
		same(a.Append(nil), err)
		n, err := ParseNotice(b)
		same(n.Append(nil), err)
		s, err := ParseSilence(b)
		same(s.Append(nil), err)
	})
}
