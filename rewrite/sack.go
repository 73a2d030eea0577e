package rewrite

// maxBlocks is how many SACK blocks a segment can have (RFC 2018 §3).
const maxBlocks = 4

// blocks are selective acknowledgments, [start, end) each, in the client's space.
type blocks struct {
	b [maxBlocks][2]Seq
	n uint8
}

func (k *blocks) all() [][2]Seq { return k.b[:k.n] }

// add appends a block that is not empty, while there is room.
func (k *blocks) add(from, to Seq) {
	if from.Before(to) && int(k.n) < len(k.b) {
		k.b[k.n] = [2]Seq{from, to}
		k.n++
	}
}

func blocksOf(s *Segment) (k blocks) {
	for i := range s.SACKCount() {
		from, to := s.SACK(i)
		k.add(from, to)
	}
	return k
}

// within returns what of k a kernel has as well that acknowledged everything before next and,
// selectively, others. A D-SACK block (RFC 2883) lies before next and is kept.
func (k *blocks) within(next Seq, others *blocks) (both blocks) {
	for _, x := range k.all() {
		if x[0].Before(next) {
			both.add(x[0], x[1].Earlier(next))
			continue
		}
		for _, y := range others.all() {
			both.add(x[0].Later(y[0]), x[1].Earlier(y[1])) // nothing if they do not meet
		}
	}
	return both
}

// beyond returns the blocks of k that end after seq.
func (k *blocks) beyond(seq Seq) (rest blocks) {
	for _, x := range k.all() {
		if x[1].After(seq) {
			rest.add(x[0], x[1])
		}
	}
	return rest
}

// sackBoth takes out of a segment for the client what the peer's kernel does not have (I2): a
// client that is told of it does not send it again, and after a takeover nobody has it. It
// reports whether that leaves nothing of what was news; the peer's next confirmation may
// release it. Blocks that the kernel repeats are no news: it has another reason to speak (a
// challenge ACK, say).
func (f *flow) sackBoth(s *Segment) (emptied bool) {
	old := f.sack
	f.sack = blocksOf(s)
	if f.sack.n == 0 || f.mode != Duplex {
		return false
	}
	both := f.sack.within(f.confAck, &f.confSACK)
	if both == f.sack {
		f.sackHeld = false
		return false
	}
	f.sackHeld = true
	both.n = min(both.n, f.sack.n) // one block may have become two, for which there is no room
	s.TrimSACK(both.all())
	return both.n == 0 && f.sack != old
}
