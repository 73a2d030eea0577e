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
// standby notes it in case that it must go on; or, of one that is deferred, what it may have. It belongs
// to the connection's goroutine.
type prefix struct {
	parts   uint16
	status  int
	framing int64     // as in response.framing
	length  int64     // bytes of the body
	sum     hash.Hash // SHA-256 of them
	wrong   error     // the parts were not understood: nothing can follow them

	// Of a deferred reply only.
	vouched []byte // the executor's SHA-256 of that length, instead of sum; nil: it is not deferred
	begin   uint64 // of the body, in the connection's stream
	nature  [len(nature)]string
}

// nature are the fields that say which bytes a body has. Where one of them is another, so is the body; the
// type names the boundary between its ranges.
var nature = [...]string{"Content-Type", "ETag", "Last-Modified", "Content-Encoding", "Content-Range"}

func (h header) nature() (values [len(nature)]string) {
	for i, name := range nature {
		values[i] = h.named(name)
	}
	return values
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
	if p.wrong == nil && p.deferred() {
		p.wrong = errors.New("a part follows a digest")
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

// pass notes the next piece of a deferred reply, or that its record was not understood; written is how
// far the own socket is in the stream. p is nil before the first part.
func (p *prefix) pass(note passed, err error, written uint64) *prefix {
	if p == nil {
		p = &prefix{sum: sha256.New(), wrong: errors.New("a digest comes before the head")}
	}
	p.parts++
	switch {
	case p.wrong != nil:
		return p
	case err != nil:
		p.wrong = err
		return p
	case p.framing < 0 || note.length < uint64(p.length) || note.length > uint64(p.framing):
		p.wrong = fmt.Errorf("a digest of %d bytes follows one of %d, of %d", note.length, p.length, p.framing)
		return p
	}
	if p.vouched == nil {
		p.begin = written - uint64(p.length)
	}
	p.vouched, p.length = note.sum[:], int64(note.length)
	return p
}

// deferred reports whether p, which may be nil, is of a deferred reply.
func (p *prefix) deferred() bool { return p != nil && p.vouched != nil }

// end is where in the connection's stream a deferred reply has come to.
func (p *prefix) end() uint64 { return p.begin + uint64(p.length) }

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
	p.nature = h.nature()
	p.framing, err = h.bodyLength(1)
	return err
}

// skip reads the beginning of the new reply's body, which the client is not to get a second time. What
// the own socket, so far in the stream, lacks of it goes to rest.
func (p *prefix) skip(in io.Reader, reply *response, framing int64, written uint64, rest io.Writer) error {
	switch {
	case p.wrong != nil:
		return p.wrong
	case reply.status != p.status || framing != p.framing:
		return errDiffers
	}
	want, lacks := p.vouched, int64(0)
	if p.deferred() {
		lacks = int64(p.end() - written)
	} else {
		want = p.sum.Sum(nil)
	}
	if p.deferred() || p.length == 0 { // or the head went out alone, and no byte of the body says which it is
		for i, value := range reply.header.nature() {
			if value != p.nature[i] {
				return fmt.Errorf("%w: it has another %s", errDiffers, nature[i])
			}
		}
	}
	sum := sha256.New()
	n, err := io.Copy(sum, io.LimitReader(in, p.length-lacks))
	if err == nil {
		var more int64
		more, err = io.Copy(io.MultiWriter(sum, rest), io.LimitReader(in, lacks))
		n += more
	}
	if err != nil {
		return err
	}
	if n != p.length || !bytes.Equal(sum.Sum(nil), want) {
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
