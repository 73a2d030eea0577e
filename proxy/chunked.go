package proxy

import (
	"bufio"
	"errors"
	"io"
	"net/http"
	"strings"
)

// chunkReader reads a body in chunked coding (RFC 9112 §7.1), to the end of its trailers. What is
// allowed is the grammar and nothing else: readers that forgive differently here see
// different messages. Chunk extensions are read and forgotten (§7.1.1).
type chunkReader struct {
	br      *bufio.Reader
	room    int64 // bytes that the body may still have; negative: any number
	extra   int   // bytes that extensions and trailers may still take
	fields  int   // that the trailer may have
	left    int64 // of the present chunk
	opened  bool  // a chunk was begun
	err     error // lasting
	line    []byte
	trailer header // as it came
}

// newChunks returns a reader of a body of at most maxBody bytes, unless that is negative.
func newChunks(br *bufio.Reader, maxBody int64, maxExtra, maxFields int) *chunkReader {
	return &chunkReader{br: br, room: maxBody, extra: maxExtra, fields: maxFields}
}

// Read implements io.Reader. Errors are a *fault or br's own; io.EOF comes after the trailers.
func (c *chunkReader) Read(p []byte) (int, error) {
	for c.err == nil && c.left == 0 {
		c.err = c.next()
	}
	if c.err != nil {
		return 0, c.err
	}
	n, err := c.br.Read(p[:min(int64(len(p)), c.left)])
	c.left -= int64(n)
	if err != nil {
		c.err = unexpected(err)
	}
	return n, c.err
}

// next ends the present chunk and begins the next one; io.EOF after the last.
func (c *chunkReader) next() error {
	if c.opened {
		var end [2]byte
		if _, err := io.ReadFull(c.br, end[:]); err != nil {
			return unexpected(err)
		}
		if end != [2]byte{'\r', '\n'} {
			return bad("a chunk is longer than its size")
		}
	}
	c.opened = true
	line, err := c.readLine()
	if err != nil {
		return err
	}
	size, rest := int64(0), line
	for len(rest) > 0 && classes[rest[0]]&xdigit != 0 {
		if len(line)-len(rest) == 15 { // more would not fit
			return bad("a chunk's size is out of range")
		}
		size = size<<4 | int64(hexValue(rest[0]))
		rest = rest[1:]
	}
	if len(rest) == len(line) {
		return bad("malformed chunk size")
	}
	if rest != "" && !strings.HasPrefix(trimSpace(rest), ";") || !isValue(rest) {
		return bad("malformed chunk extension")
	}
	if c.extra -= len(rest); c.extra < 0 {
		return bad("chunk extensions are too long")
	}
	if size == 0 {
		return c.readTrailer()
	}
	if c.room >= 0 {
		if c.room -= size; c.room < 0 {
			return errBodySize
		}
	}
	c.left = size
	return nil
}

var errBodySize = &fault{status: http.StatusRequestEntityTooLarge, why: "the body is too large"}

// readLine reads a line of the framing and returns it without its CRLF.
func (c *chunkReader) readLine() (string, error) {
	var err error
	c.line, err = readLine(c.br, c.line[:0], 18+max(0, c.extra))
	switch n := len(c.line); {
	case errors.Is(err, errLong):
		return "", bad("a chunk's head is too long")
	case err != nil:
		return "", unexpected(err)
	case n < 2 || c.line[n-2] != '\r':
		return "", bad("a line without CRLF")
	default:
		return string(c.line[:n-2]), nil
	}
}

// readTrailer reads the fields after the last chunk.
func (c *chunkReader) readTrailer() error {
	var text []byte
	for {
		start := len(text)
		var err error
		text, err = readLine(c.br, text, c.extra+2)
		if errors.Is(err, errLong) {
			return tooLarge("the trailer is too large")
		}
		if err != nil {
			return unexpected(err)
		}
		if len(text)-start > 2 {
			continue
		}
		if string(text[start:]) != "\r\n" {
			return bad("a line without CRLF")
		}
		if start > 0 {
			if c.trailer, err = parseFields(string(text), strict, c.fields); err != nil {
				return err
			}
		}
		return io.EOF
	}
}

// fit returns the fields that may come in a trailer and go on: none that frames, routes, authenticates or
// says how to read the content (RFC 9110 §6.5.1), nor one for the sender's hop alone.
func (h header) fit(o *options) header {
	kept := h[:0]
	for _, f := range h {
		if f.kind == kindEndToEnd && !equalFold(f.name, "Via") && !o.drops(f.name) {
			kept = append(kept, f)
		}
	}
	return kept
}

// names returns the names of the fields, for the field Trailer.
func (h header) names() string {
	all := make([]string, len(h))
	for i, f := range h {
		all[i] = f.name
	}
	return strings.Join(all, ", ")
}

func hexValue(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return c | 0x20 - 'a' + 10
}

// unexpected makes the end of a connection an error where a message is not at its end.
func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
