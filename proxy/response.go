package proxy

import (
	"errors"
	"net/http"
	"strings"
)

const (
	maxReplyHead   = 256 << 10 // bytes
	maxReplyFields = 1024
)

// response is the upstream's reply: its head, then its body.
type response struct {
	minor   int // of HTTP/1.x: 0 or 1
	status  int
	reason  string // may be empty
	header  header
	options options
	length  int64 // of the body; chunked and unframed as in request; 0 where the status or method has none
	trailer header
}

// readResponse reads one head, of an interim reply too. Errors are a *fault, which says what is wrong
// with it, or the connection's own.
func (c *upconn) readResponse(method string) (*response, error) {
	head := c.head[:0]
	for {
		start := len(head)
		var err error
		head, err = readLine(c.br, head, maxReplyHead)
		if errors.Is(err, errLong) {
			return nil, bad("the reply's head is too large")
		}
		if err != nil {
			return nil, unexpected(err)
		}
		if line := head[start:]; string(line) == "\r\n" || string(line) == "\n" {
			break
		}
	}
	if c.head = head; cap(head) > 8<<10 {
		c.head = nil
	}
	line, rest, _ := strings.Cut(string(head), "\n")
	p, err := parseStatusLine(strings.TrimSuffix(line, "\r"))
	if err != nil {
		return nil, err
	}
	if p.header, err = parseFields(rest, lenient, maxReplyFields); err != nil {
		return nil, err
	}
	if p.options, err = p.header.options(); err != nil {
		return nil, err
	}
	if p.length, err = p.header.bodyLength(p.minor); err != nil {
		return nil, err
	}
	if p.bodiless(method) {
		p.length = 0
	}
	return p, nil
}

func parseStatusLine(line string) (*response, error) {
	version, after, _ := strings.Cut(line, " ")
	code, reason, _ := strings.Cut(after, " ")
	p := &response{reason: reason}
	switch {
	case version == "HTTP/1.1":
		p.minor = 1
	case version != "HTTP/1.0":
		return nil, bad("the reply is not HTTP/1")
	}
	if len(code) != 3 || !digits.all(code) || code[0] == '0' || !isValue(reason) {
		return nil, bad("malformed status line")
	}
	for i := range len(code) {
		p.status = p.status*10 + int(code[i]-'0')
	}
	return p, nil
}

// bodiless reports whether the reply ends with its head (RFC 9112 §6.3).
func (p *response) bodiless(method string) bool {
	return method == http.MethodHead || p.status < 200 ||
		p.status == http.StatusNoContent || p.status == http.StatusNotModified
}

// lasts reports whether the connection may carry another exchange.
func (p *response) lasts() bool {
	return p.length != unframed && !p.options.close && (p.minor == 1 || p.options.keepAlive)
}

// readReply reads a reply's body into s.
func (c *upconn) readReply(p *response, s *spill) error {
	switch p.length {
	case unframed:
		_, err := s.ReadFrom(c.br)
		return err
	case chunked:
		body := newChunks(c.br, -1, maxReplyHead, maxReplyFields)
		_, err := s.ReadFrom(body)
		p.trailer = body.trailer
		return err
	default:
		return readExactly(s, c.br, p.length)
	}
}
