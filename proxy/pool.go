package proxy

import "sync"

const (
	smallBuffer = 16 << 10  // heads, small replies
	largeBuffer = 256 << 10 // bulk copies
)

// pool lends byte slices. The zero value is ready.
type pool struct {
	small, large sync.Pool
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

func (p *pool) putLarge(b []byte) { p.large.Put(&b) }
