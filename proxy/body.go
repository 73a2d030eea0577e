package proxy

import (
	"bufio"
	"errors"
	"io"
	"net/http/httputil"
)

// readBody reads the whole body of r, trailers included, so that the reader then stands at the
// request's end. An error that is neither a *fault, errSpill nor the connection's own is
// malformed framing.
func readBody(br *bufio.Reader, r *request, d *depot, maxTrailer int) error {
	if r.length == 0 {
		return nil
	}
	r.body = d.newSpill()
	if r.length > 0 {
		n, err := r.body.ReadFrom(io.LimitReader(br, r.length))
		if err == nil && n < r.length {
			err = io.ErrUnexpectedEOF
		}
		return err
	}
	if _, err := r.body.ReadFrom(httputil.NewChunkedReader(br)); err != nil {
		return err
	}
	lines, err := readTrailer(br, maxTrailer)
	if err != nil {
		return err
	}
	if r.trailer, err = parseFields(string(lines)); err != nil {
		return err
	}
	removeHopByHop(r.trailer)
	for _, name := range [...]string{"Content-Length", "Host", "Content-Encoding", "Content-Type", "Expect"} {
		delete(r.trailer, name) // framing and routing may not come late, RFC 9110 §6.5.1
	}
	return nil
}

// readTrailer reads the lines after the last chunk, the empty one included.
func readTrailer(br *bufio.Reader, limit int) (lines []byte, err error) {
	for {
		piece, err := br.ReadSlice('\n')
		if len(lines)+len(piece) > limit {
			return nil, bad("the trailer is too large")
		}
		whole := len(lines) == 0 || lines[len(lines)-1] == '\n'
		lines = append(lines, piece...)
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return nil, err
		}
		if whole && (string(piece) == "\r\n" || string(piece) == "\n") {
			return lines, nil
		}
	}
}

func (r *request) free() {
	r.body.release()
	r.body = nil
}
