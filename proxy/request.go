package proxy

import (
	"bufio"
	"errors"
	"fmt"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"
)

// request is a parsed head, and the body once it was read.
type request struct {
	method, target, host string
	minor                int // of HTTP/1.x: 0 or 1
	header               http.Header
	length               int64 // of the body; -1: chunked
	expect               bool  // the client waits for a 100
	close                bool  // the connection ends after the reply

	body    *spill // nil when empty
	trailer http.Header
}

// fault is a request that is answered here, by status, and ends the connection.
type fault struct {
	status int
	why    string
}

func (f *fault) Error() string { return fmt.Sprintf("%d: %s", f.status, f.why) }

func bad(format string, args ...any) *fault {
	return &fault{http.StatusBadRequest, fmt.Sprintf(format, args...)}
}

const maxBlankLines = 4 // tolerated before a request line (RFC 9112 §2.2)

// readHead appends a head, its empty line included, to buf.
func readHead(br *bufio.Reader, buf []byte, limit int) ([]byte, error) {
	for blanks := 0; ; {
		start := len(buf)
		for {
			piece, err := br.ReadSlice('\n')
			buf = append(buf, piece...)
			if len(buf) > limit {
				return buf, &fault{http.StatusRequestHeaderFieldsTooLarge, "the head is too large"}
			}
			if err == nil {
				break
			}
			if !errors.Is(err, bufio.ErrBufferFull) {
				return buf, err
			}
		}
		if line := buf[start:]; len(line) > 2 || len(line) == 2 && line[0] != '\r' {
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

// parseRequest parses a head. It is stricter than RFC 9112 asks where leniency would let two
// readers see different requests.
func parseRequest(head string) (*request, error) {
	line, rest, _ := strings.Cut(head, "\n")
	line = strings.TrimSuffix(line, "\r")
	method, after, ok1 := strings.Cut(line, " ")
	target, version, ok2 := strings.Cut(after, " ")
	if !ok1 || !ok2 || !isToken(method) || !isTarget(target) {
		return nil, bad("malformed request line")
	}
	r := &request{method: method, target: target}
	switch {
	case version == "HTTP/1.1":
		r.minor = 1
	case version == "HTTP/1.0":
	case len(version) == 8 && strings.HasPrefix(version, "HTTP/"):
		return nil, &fault{http.StatusHTTPVersionNotSupported, "HTTP/1.0 and HTTP/1.1 are spoken here"}
	default:
		return nil, bad("malformed version")
	}
	var err error
	if r.header, err = parseFields(rest); err != nil {
		return nil, err
	}
	if err := r.route(); err != nil {
		return nil, err
	}
	if r.length, err = bodyLength(r.header, r.minor); err != nil {
		return nil, err
	}
	switch expect := r.header.Get("Expect"); {
	case expect == "" || r.minor == 0:
	case strings.EqualFold(expect, "100-continue"):
		r.expect = r.length != 0
	default:
		return nil, &fault{http.StatusExpectationFailed, "unknown expectation"}
	}
	keep := hasToken(r.header["Connection"], "keep-alive")
	r.close = hasToken(r.header["Connection"], "close") || r.minor == 0 && !keep
	return r, nil
}

// route settles the request's host and the origin form of its target (RFC 9112 §3.2).
func (r *request) route() error {
	hosts := r.header["Host"]
	if len(hosts) > 1 || len(hosts) == 0 && r.minor == 1 {
		return bad("%d Host fields", len(hosts))
	}
	if len(hosts) == 1 {
		r.host = hosts[0]
	}
	switch {
	case r.method == http.MethodConnect:
		return &fault{http.StatusMethodNotAllowed, "no tunnels here"}
	case r.target[0] == '/':
	case r.target == "*" && r.method == http.MethodOptions:
	default:
		scheme, rest, ok := strings.Cut(r.target, "://")
		if !ok || !strings.EqualFold(scheme, "http") && !strings.EqualFold(scheme, "https") {
			return bad("malformed target")
		}
		end := strings.IndexAny(rest, "/?")
		if end < 0 {
			end = len(rest)
		}
		r.host, r.target = rest[:end], rest[end:]
		if r.target == "" || r.target[0] == '?' {
			r.target = "/" + r.target
		}
	}
	if !isHost(r.host) {
		return bad("malformed host")
	}
	delete(r.header, "Host")
	return nil
}

// bodyLength applies RFC 9112 §6.3, with every ambiguity refused: -1 is chunked.
func bodyLength(h http.Header, minor int) (int64, error) {
	codings, lengths := h["Transfer-Encoding"], h["Content-Length"]
	switch {
	case len(codings) > 0 && len(lengths) > 0:
		return 0, bad("both Transfer-Encoding and Content-Length")
	case len(codings) > 0 && minor == 0:
		return 0, bad("Transfer-Encoding in HTTP/1.0")
	case len(codings) > 1 || len(codings) == 1 && !strings.EqualFold(codings[0], "chunked"):
		return 0, bad("unknown Transfer-Encoding")
	case len(codings) == 1:
		return -1, nil
	case len(lengths) == 0:
		return 0, nil
	}
	value := ""
	for _, field := range lengths {
		for part := range strings.SplitSeq(field, ",") {
			part = strings.Trim(part, " \t")
			if value != "" && part != value || part == "" || strings.Trim(part, "0123456789") != "" {
				return 0, bad("malformed Content-Length")
			}
			value = part
		}
	}
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil {
		return 0, bad("Content-Length out of range")
	}
	return n, nil
}

// parseFields parses the lines of a head or trailer, up to the empty one.
func parseFields(text string) (http.Header, error) {
	h := make(http.Header, 8)
	for text != "" {
		var line string
		line, text, _ = strings.Cut(text, "\n")
		if line = strings.TrimSuffix(line, "\r"); line == "" {
			break
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok || !isToken(name) { // continuation lines as well: obsolete, RFC 9112 §5.2
			return nil, bad("malformed header field")
		}
		value = strings.Trim(value, " \t")
		if !isValue(value) {
			return nil, bad("malformed header value")
		}
		key := textproto.CanonicalMIMEHeaderKey(name)
		h[key] = append(h[key], value)
	}
	return h, nil
}
