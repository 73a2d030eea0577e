package rewrite

import "encoding/binary"

// TCP option kinds (RFC 9293 §3.2, RFC 7323 §2 and §3, RFC 2018 §2 and §3).
const (
	optEnd           = 0
	optNOP           = 1
	optMSS           = 2
	optWindowScale   = 3
	optSACKPermitted = 4
	optSACK          = 5
	optTimestamps    = 8
)

// Option lengths, kind and length bytes included.
const (
	lenMSS           = 4
	lenWindowScale   = 3
	lenSACKPermitted = 2
	lenTimestamps    = 10
	sackBlock        = 8
)

// options says where in the packet the option's value stands; zero means absent. Where a kind
// comes twice the last one counts, as for Linux.
type options struct {
	mss, windowScale, timestamps, sack uint16
	blocks                             uint8 // of sack
	sackPermitted                      bool
}

// parse walks the options from offset i of the packet to the end of b. It returns false if a
// length leaves the header or does not fit the kind. What follows an end-of-options is not
// looked at (RFC 9293 §3.2).
func (o *options) parse(b []byte, i int) bool {
	for i < len(b) {
		kind, n, ok := option(b[i:])
		if !ok {
			return false
		}
		at := uint16(i + 2)
		switch kind {
		case optEnd:
			return true
		case optMSS:
			o.mss = at
		case optWindowScale:
			o.windowScale = at
		case optSACKPermitted:
			o.sackPermitted = true
		case optSACK:
			o.sack, o.blocks = at, uint8((n-2)/sackBlock)
		case optTimestamps:
			o.timestamps = at
		}
		i += n
	}
	return true
}

// option returns kind and length in bytes of the option at the start of b, which is not empty,
// and whether the length is possible.
func option(b []byte) (kind uint8, n int, ok bool) {
	kind = b[0]
	if kind == optEnd || kind == optNOP {
		return kind, 1, true
	}
	if len(b) < 2 {
		return kind, 0, false
	}
	n = int(b[1])
	if n < 2 || n > len(b) {
		return kind, 0, false
	}
	switch kind {
	case optMSS:
		ok = n == lenMSS
	case optWindowScale:
		ok = n == lenWindowScale
	case optSACKPermitted:
		ok = n == lenSACKPermitted
	case optTimestamps:
		ok = n == lenTimestamps
	case optSACK:
		ok = n > 2 && (n-2)%sackBlock == 0
	default:
		ok = true
	}
	return kind, n, ok
}

// Timestamps returns TSval and TSecr (RFC 7323 §3.2) and whether the option is there.
func (s *Segment) Timestamps() (val, ecr uint32, ok bool) {
	at := int(s.opt.timestamps)
	if at == 0 {
		return 0, 0, false
	}
	p := s.b[at : at+8]
	return binary.BigEndian.Uint32(p), binary.BigEndian.Uint32(p[4:]), true
}

// SetTimestamps changes TSval and TSecr; without the option it does nothing.
func (s *Segment) SetTimestamps(val, ecr uint32) {
	if at := int(s.opt.timestamps); at != 0 {
		s.put32(at, val)
		s.put32(at+4, ecr)
	}
}

// MSS returns the maximum segment size in bytes and whether the option is there.
func (s *Segment) MSS() (uint16, bool) {
	at := s.opt.mss
	if at == 0 {
		return 0, false
	}
	return binary.BigEndian.Uint16(s.b[at:]), true
}

// SetMSS changes the maximum segment size; without the option it does nothing.
func (s *Segment) SetMSS(v uint16) {
	if at := s.opt.mss; at != 0 {
		s.put16(int(at), v)
	}
}

// WindowScale returns the shift count as on the wire (RFC 7323 §2.3 limits its use to 14) and
// whether the option is there.
func (s *Segment) WindowScale() (uint8, bool) {
	at := s.opt.windowScale
	if at == 0 {
		return 0, false
	}
	return s.b[at], true
}

// SetWindowScale changes the shift count; without the option it does nothing.
func (s *Segment) SetWindowScale(v uint8) {
	if at := s.opt.windowScale; at != 0 {
		s.put8(int(at), v)
	}
}

// SACKPermitted reports whether the option of that name is there.
func (s *Segment) SACKPermitted() bool { return s.opt.sackPermitted }

// SACKCount returns the number of SACK blocks, 0 to 4.
func (s *Segment) SACKCount() int { return int(s.opt.blocks) }

// SACK returns block i, [start, end), of SACKCount. It panics if i is out of range.
func (s *Segment) SACK(i int) (start, end Seq) {
	p := s.b[s.sackAt(i):]
	return Seq(binary.BigEndian.Uint32(p)), Seq(binary.BigEndian.Uint32(p[4:]))
}

// SetSACK changes block i of SACKCount. It panics if i is out of range.
func (s *Segment) SetSACK(i int, start, end Seq) {
	at := s.sackAt(i)
	s.put32(at, uint32(start))
	s.put32(at+4, uint32(end))
}

// TrimSACK leaves only the given blocks, which must be no more than there are. What was there
// besides becomes NOP.
func (s *Segment) TrimSACK(blocks [][2]Seq) {
	at, old := int(s.opt.sack)-2, int(s.opt.blocks)
	if old == 0 {
		return
	}
	for i, b := range blocks {
		s.SetSACK(i, b[0], b[1])
	}
	keep := 2 + len(blocks)*sackBlock
	if len(blocks) == 0 {
		keep, s.opt.sack = 0, 0
	} else {
		s.put8(at+1, uint8(keep))
	}
	for i := at + keep; i < at+2+old*sackBlock; i++ {
		s.put8(i, optNOP)
	}
	s.opt.blocks = uint8(len(blocks))
}

func (s *Segment) sackAt(i int) int {
	if uint(i) >= uint(s.opt.blocks) {
		panic("rewrite: no such SACK block")
	}
	return int(s.opt.sack) + i*sackBlock
}

// KeepSYNOptions overwrites with NOP every option that takes no part in the translation: all
// but MSS, window scale, SACK-permitted and timestamps. It is for SYN segments, so that
// neither end believes in an extension (fast open, multipath) that the other host knows
// nothing of.
func (s *Segment) KeepSYNOptions() {
	for i := s.l4 + tcpLen; i < s.data; {
		kind, n, ok := option(s.b[i:s.data])
		if !ok || kind == optEnd {
			return
		}
		switch kind {
		case optNOP, optMSS, optWindowScale, optSACKPermitted, optTimestamps:
		case optSACK:
			s.opt.sack, s.opt.blocks = 0, 0
			fallthrough
		default:
			for j := i; j < i+n; j++ {
				s.put8(j, optNOP)
			}
		}
		i += n
	}
}
