package rewrite

// Seq is a TCP sequence number, compared modulo 2^32 (RFC 9293 §3.4).
type Seq uint32

// Size is a count of sequence numbers: bytes, plus one each for SYN and FIN.
type Size uint32

// Delta is what is added to a number of the local kernel to get the common one:
// common = local + delta, modulo 2^32 (DESIGN §3, "Translation"). The zero Delta changes
// nothing.
type Delta uint32

// DeltaOf returns the delta that takes local to common.
func DeltaOf(common, local Seq) Delta { return Delta(common - local) }

// Common takes a local number to the common space.
func (d Delta) Common(local Seq) Seq { return local + Seq(d) }

// Local takes a common number to the local kernel's space.
func (d Delta) Local(common Seq) Seq { return common - Seq(d) }

// Add returns s moved forward by n.
func (s Seq) Add(n Size) Seq { return s + Seq(n) }

// Since returns how far s is ahead of t; it is meaningful only when s is not before t.
func (s Seq) Since(t Seq) Size { return Size(s - t) }

// Before reports whether s is before t.
func (s Seq) Before(t Seq) bool { return int32(s-t) < 0 }

// After reports whether s is after t.
func (s Seq) After(t Seq) bool { return int32(s-t) > 0 }

// Later returns the later of the two.
func (s Seq) Later(t Seq) Seq {
	if s.Before(t) {
		return t
	}
	return s
}

// Earlier returns the earlier of the two.
func (s Seq) Earlier(t Seq) Seq {
	if s.After(t) {
		return t
	}
	return s
}
