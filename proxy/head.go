package proxy

import (
	"bufio"
	"errors"
	"fmt"
	"net/http"
)

// fault is a message that cannot be passed on: a request is then answered here, by status, and
// most often ends the connection. why never quotes the message.
type fault struct {
	status int
	why    string
	field  string // a further line of the reply's head, or empty

	upstream bool // the upstream failed, and nothing of its reply but interims went out
}

func (f *fault) Error() string { return fmt.Sprintf("%d: %s", f.status, f.why) }

func bad(format string, args ...any) *fault {
	return &fault{status: http.StatusBadRequest, why: fmt.Sprintf(format, args...)}
}

func tooLarge(why string) *fault {
	return &fault{status: http.StatusRequestHeaderFieldsTooLarge, why: why}
}

const maxBlankLines = 4 // tolerated before a request line (RFC 9112 §2.2)

// readHead appends a client's head, its empty line included, to buf. Nothing in buf after an
// error means that no request has begun. Lines end in CRLF: RFC 9112 §2.2 would allow LF, but
// then another reader may see the head end elsewhere.
func readHead(br *bufio.Reader, buf []byte, maxLine, maxHead int) ([]byte, error) {
	for blanks := 0; ; {
		start := len(buf)
		var err error
		limit := maxHead
		if start == 0 {
			limit = min(maxLine+2, maxHead)
			if err := beginsRequest(br); err != nil {
				return buf, err
			}
		}
		buf, err = readLine(br, buf, limit)
		if errors.Is(err, errLong) {
			if start == 0 {
				return buf, &fault{status: http.StatusRequestURITooLong, why: "the request line is too long"}
			}
			return buf, tooLarge("the head is too large")
		}
		if err != nil {
			return buf, err
		}
		line := buf[start:]
		if len(line) < 2 || line[len(line)-2] != '\r' {
			return buf, bad("a line without CRLF")
		}
		if len(line) > 2 {
			continue
		}
		if start > 0 {
			return buf, nil
		}
		buf = buf[:0]
		if blanks++; blanks > maxBlankLines {
			return buf, bad("empty lines instead of a request")
		}
	}
}

// beginsRequest refuses what cannot be a request at its first octet: a TLS handshake has no
// line that could end.
func beginsRequest(br *bufio.Reader) error {
	b, err := br.Peek(1)
	if err == nil && b[0] != '\r' && classes[b[0]]&tchar == 0 {
		return bad("not a request")
	}
	return err
}

var errLong = errors.New("too long")

// readLine appends one line, its LF included, to buf, unless that grows beyond limit.
func readLine(br *bufio.Reader, buf []byte, limit int) ([]byte, error) {
	for {
		piece, err := br.ReadSlice('\n')
		buf = append(buf, piece...)
		if len(buf) > limit {
			return buf, errLong
		}
		if err == nil || !errors.Is(err, bufio.ErrBufferFull) {
			return buf, err
		}
	}
}
