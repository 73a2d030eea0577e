package proxy

import (
	"bufio"
	"io"
)

// readBody reads the whole body of r, trailers included, so that the reader then stands at the
// request's end. Errors are a *fault, errSpill or the connection's own.
func readBody(br *bufio.Reader, r *request, d *depot, cfg *Config) error {
	if !r.hasBody() {
		return nil
	}
	r.body = d.newSpill()
	if r.length == chunked {
		c := newChunks(br, cfg.MaxBody, cfg.MaxHeader, cfg.MaxFields)
		_, err := r.body.ReadFrom(c)
		r.trailer = c.trailer.fit(&r.options)
		return err
	}
	return readExactly(r.body, br, r.length)
}

// readExactly appends n bytes of br to s.
func readExactly(s *spill, br io.Reader, n int64) error {
	got, err := s.ReadFrom(io.LimitReader(br, n))
	if err == nil && got < n {
		err = io.ErrUnexpectedEOF
	}
	return err
}

func (r *request) free() {
	r.body.release()
	r.body = nil
}
