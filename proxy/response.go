package proxy

import (
	"bufio"
	"errors"
	"io"
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
	// doubtful: the head names the length of a body that a reply of this kind has not.
	doubtful bool
	trailer  header
}

// readResponse reads one head, of an interim reply too. Errors are a *fault, which says what is wrong
// with it, or the connection's own.
func (x *executor) readResponse(br *bufio.Reader, method string) (*response, error) {
	head := x.head[:0]
	for {
		start := len(head)
		var err error
		head, err = readLine(br, head, maxReplyHead)
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
	if x.head = head; cap(head) > 8<<10 {
		x.head = nil
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
		p.doubtful = p.length != 0 && p.length != unframed
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

// lasts reports whether the connection may carry another exchange. After a reply that ends with
// its head and yet names a length it may not: a server that sends that body all the same, a
// moment later, would have it taken for the reply to another client's request.
func (p *response) lasts() bool {
	return !p.doubtful && p.length != unframed && !p.options.close && (p.minor == 1 || p.options.keepAlive)
}

// body returns a reader of a reply's body: io.EOF comes at its end, another error where it is not
// whole. At the end p has its trailer.
func (p *response) body(br *bufio.Reader) io.Reader {
	switch p.length {
	case unframed:
		return br
	case chunked:
		return &replyChunks{newChunks(br, -1, maxReplyHead, maxReplyFields), p}
	default:
		return &exactly{br, p.length}
	}
}

// replyChunks is a chunked body that gives its trailer to the reply.
type replyChunks struct {
	*chunkReader
	of *response
}

func (b *replyChunks) Read(p []byte) (int, error) {
	n, err := b.chunkReader.Read(p)
	if err == io.EOF {
		b.of.trailer = b.trailer.fit(&b.of.options)
	}
	return n, err
}

// exactly reads so many bytes and no more.
type exactly struct {
	from io.Reader
	left int64
}

func (b *exactly) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, io.EOF
	}
	n, err := b.from.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, unexpected(err)
}
