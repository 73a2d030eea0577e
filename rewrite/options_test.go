package rewrite

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestOptionLengths(t *testing.T) {
	for name, c := range map[string]struct {
		opts []byte
		want Reason
	}{
		"none":                         {nil, OK},
		"NOPs":                         {[]byte{1, 1, 1, 1}, OK},
		"lies after end":               {[]byte{0, 8, 200, 3}, OK},
		"unknown":                      {[]byte{253, 4, 1, 2}, OK},
		"unknown, empty":               {[]byte{253, 2, 1, 1}, OK},
		"length 0":                     {[]byte{253, 0, 1, 1}, BadOption},
		"length 1":                     {[]byte{253, 1, 1, 1}, BadOption},
		"kind without length":          {[]byte{1, 1, 1, 253}, BadOption},
		"one too long":                 {[]byte{253, 5, 1, 1}, BadOption},
		"length 255":                   {[]byte{8, 255, 1, 1}, BadOption},
		"MSS of 3":                     {[]byte{2, 3, 1, 1}, BadOption},
		"window scale of 4":            {[]byte{3, 4, 1, 1}, BadOption},
		"SACK-permitted of 4":          {[]byte{4, 4, 1, 1}, BadOption},
		"SACK without blocks":          {[]byte{5, 2, 1, 1}, BadOption},
		"SACK of half a block":         {[]byte{5, 6, 0, 0, 0, 0, 1, 1}, BadOption},
		"timestamps of 8":              {[]byte{8, 8, 0, 0, 0, 0, 0, 0}, BadOption},
		"timestamps cut by the header": {[]byte{1, 1, 1, 1, 1, 1, 8, 10}, BadOption},
	} {
		if _, got := ParseSegment(wire{opts: c.opts, payload: make([]byte, 40)}.bytes()); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func TestOptionsAtEveryOffset(t *testing.T) {
	for pad := range 4 {
		opts := bytes.Repeat([]byte{optNOP}, pad)
		opts = append(opts, optMSS, 4, 5, 0xb4, optWindowScale, 3, 7, optSACKPermitted, 2)
		opts = append(opts, optTimestamps, 10, 0, 0, 0, 1, 0, 0, 0, 2)
		opts = append(opts, optSACK, 10, 0, 0, 0, 3, 0, 0, 0, 4)
		b := wire{opts: opts, payload: []byte("x")}.bytes()
		s := mustParse(t, b)
		requireOptions(t, &s, 1460, 7, 1, 2, 3, 4)
		s.SetMSS(1400)
		s.SetWindowScale(9)
		s.SetTimestamps(0xfffffffe, 0x01020304)
		s.SetSACK(0, 0xa0b0c0d0, 0)
		s.Seal(false)
		again := mustParse(t, b)
		requireOptions(t, &again, 1400, 9, 0xfffffffe, 0x01020304, 0xa0b0c0d0, 0)
		requireGopacketSums(t, b)
	}
}

func requireOptions(t *testing.T, s *Segment, mss uint16, scale uint8, val, ecr uint32, start, end Seq) {
	t.Helper()
	m, ok1 := s.MSS()
	w, ok2 := s.WindowScale()
	v, e, ok3 := s.Timestamps()
	if !ok1 || !ok2 || !ok3 || !s.SACKPermitted() || s.SACKCount() != 1 {
		t.Fatalf("options not found: %v %v %v %v %d", ok1, ok2, ok3, s.SACKPermitted(), s.SACKCount())
	}
	from, to := s.SACK(0)
	if m != mss || w != scale || v != val || e != ecr || from != start || to != end {
		t.Errorf("got %d %d %d/%d [%d,%d)", m, w, v, e, from, to)
	}
}

func TestAbsentOptions(t *testing.T) {
	b := wire{payload: []byte("x")}.bytes()
	before := bytes.Clone(b)
	s := mustParse(t, b)
	_, okMSS := s.MSS()
	_, okScale := s.WindowScale()
	_, _, okTS := s.Timestamps()
	if okMSS || okScale || okTS || s.SACKPermitted() || s.SACKCount() != 0 {
		t.Error("options found where there are none")
	}
	s.SetMSS(1)
	s.SetWindowScale(1)
	s.SetTimestamps(1, 1)
	s.KeepSYNOptions()
	s.Seal(false)
	if s.Changed() || !bytes.Equal(b, before) {
		t.Error("setting absent options changed the segment")
	}
	defer func() {
		if recover() == nil {
			t.Error("a SACK block beyond the last was returned")
		}
	}()
	s.SACK(0)
}

func TestLastOfAKindCounts(t *testing.T) {
	s := mustParse(t, wire{opts: []byte{optMSS, 4, 0, 1, optMSS, 4, 0, 2}}.bytes())
	if v, _ := s.MSS(); v != 2 {
		t.Errorf("MSS %d, Linux takes 2", v)
	}
}

func TestKeepSYNOptions(t *testing.T) {
	keep := []byte{optMSS, optWindowScale, optSACKPermitted, optTimestamps, optNOP, optEnd}
	rnd := rand.New(rand.NewPCG(11, 12))
	for range 5000 {
		b := randomWire(rnd).bytes()
		s := mustParse(t, b)
		before := tcpOptions(b)
		s.KeepSYNOptions()
		s.Seal(false)
		requireGopacketSums(t, b)
		again := mustParse(t, b)
		if s.opt != again.opt {
			t.Fatalf("% x: the view says %+v, the bytes %+v", b, s.opt, again.opt)
		}
		var kept, want [][]byte
		for _, o := range tcpOptions(b) {
			if !slices.Contains(keep, o[0]) {
				t.Fatalf("option %d was kept", o[0])
			}
			if o[0] > optNOP {
				kept = append(kept, o)
			}
		}
		for _, o := range before {
			if o[0] > optNOP && slices.Contains(keep, o[0]) {
				want = append(want, o)
			}
		}
		if !slices.EqualFunc(kept, want, bytes.Equal) {
			t.Fatalf("kept % x, want % x", kept, want)
		}
	}
}

// tcpOptions lists all options of packet b up to the end, each with kind and content, without
// its length. The options are honest.
func tcpOptions(b []byte) (all [][]byte) {
	s, _ := ParseSegment(b)
	for o := b[s.l4+20 : s.data]; len(o) > 0 && o[0] != 0; {
		if o[0] == 1 {
			all, o = append(all, []byte{1}), o[1:]
			continue
		}
		all, o = append(all, append([]byte{o[0]}, o[2:o[1]]...)), o[o[1]:]
	}
	return all
}
