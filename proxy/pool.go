package proxy

import "sync"

const (
	smallBuffer = 16 << 10         // heads, small replies
	largeBuffer = 256 << 10        // bulk copies
	pieceBuffer = partBody + 1<<10 // a part of a long reply and its frame
)

// pool lends byte slices. The zero value is ready.
type pool struct {
	small, large, piece sync.Pool
}

func (p *pool) getSmall() []byte {
	if b, ok := p.small.Get().(*[]byte); ok {
		return (*b)[:0]
	}
	return make([]byte, 0, smallBuffer)
}

// putSmall takes back what getSmall lent, grown or not; very large ones are left to the
// collector.
func (p *pool) putSmall(b []byte) {
	if cap(b) >= smallBuffer && cap(b) <= 8*smallBuffer {
		p.small.Put(&b)
	}
}

func (p *pool) getLarge() []byte {
	if b, ok := p.large.Get().(*[]byte); ok {
		return *b
	}
	return make([]byte, largeBuffer)
}

func (p *pool) getPiece() []byte {
	if b, ok := p.piece.Get().(*[]byte); ok {
		return (*b)[:0]
	}
	return make([]byte, 0, pieceBuffer)
}

// put takes back what getSmall or getPiece lent, or nil.
func (p *pool) put(b []byte) {
	if cap(b) >= pieceBuffer && cap(b) < 2*pieceBuffer {
		p.piece.Put(&b)
	} else {
		p.putSmall(b)
	}
}

func (p *pool) putLarge(b []byte) { p.large.Put(&b) }
