package proxy

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// prefix is what a client has, or gets from this kernel, of a reply that came in parts, as the
// standby notes it in case that it must go on. It belongs to the connection's goroutine.
type prefix struct {
	parts   uint16
	status  int
	framing int64     // as in response.framing
	length  int64     // bytes of the body
	sum     hash.Hash // SHA-256 of them
	wrong   error     // the parts were not understood: nothing can follow them
}

// errDiffers ends a reply whose second execution is not as the first: what follows would be spliced.
var errDiffers = errors.New("the reply differs from that of the lost host, of which the client has a part")

// add notes the next part; p is nil before the first.
func (p *prefix) add(part *spill) *prefix {
	from := io.NewSectionReader(part, 0, part.Len())
	br := bufio.NewReaderSize(from, 4<<10)
	if p == nil {
		p = &prefix{sum: sha256.New()}
		p.wrong = p.head(br)
	}
	p.parts++
	size := part.Len()
	if p.wrong == nil && p.framing == chunked {
		line, err := br.ReadString('\n')
		if err == nil {
			size, err = strconv.ParseInt(strings.TrimSuffix(line, "\r\n"), 16, 64)
		}
		p.wrong = err
	}
	if p.wrong != nil {
		return p
	}
	n, err := io.Copy(p.sum, io.LimitReader(br, size))
	p.length += n
	if err == nil && p.framing == chunked && n < size {
		err = io.ErrUnexpectedEOF
	}
	p.wrong = err
	return p
}

// head reads the reply's head, which the peer wrote as streamHead does.
func (p *prefix) head(br *bufio.Reader) error {
	var head []byte
	for !bytes.HasSuffix(head, []byte("\r\n\r\n")) {
		var err error
		if head, err = readLine(br, head, 2*maxReplyHead); err != nil {
			return fmt.Errorf("read the head of a part: %w", err)
		}
	}
	line, fields, _ := strings.Cut(string(head), "\r\n")
	r, err := parseStatusLine(line)
	if err != nil {
		return err
	}
	p.status = r.status
	h, err := parseFields(fields, lenient, maxReplyFields+16)
	if err != nil {
		return err
	}
	p.framing, err = h.bodyLength(1)
	return err
}

// skip reads the beginning of the new reply's body, which the client is not to get a second time.
func (p *prefix) skip(in io.Reader, status int, framing int64) error {
	switch {
	case p.wrong != nil:
		return p.wrong
	case status != p.status || framing != p.framing:
		return errDiffers
	}
	sum := sha256.New()
	n, err := io.Copy(sum, io.LimitReader(in, p.length))
	if err != nil {
		return err
	}
	if n != p.length || !bytes.Equal(sum.Sum(nil), p.sum.Sum(nil)) {
		return errDiffers
	}
	return nil
}

// statusOf reads the status of a reply off its first bytes, 0 if they are none.
func statusOf(head []byte) int16 {
	if len(head) < len("HTTP/1.1 200") {
		return 0
	}
	code, err := strconv.ParseUint(string(head[9:12]), 10, 10)
	if err != nil || code < http.StatusContinue {
		return 0
	}
	return int16(code)
}
