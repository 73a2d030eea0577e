package proxy

import (
	"net/http"
	"strconv"
	"strings"
)

// request is a parsed head, and the body once it was read.
type request struct {
	method, target, host string // host is empty in HTTP/1.0 without a Host field
	minor                int    // of HTTP/1.x: 0 or 1
	header               header
	options              options
	length               int64  // of the body; chunked and none as below
	expect               bool   // the client waits for a 100
	close                bool   // the connection ends after the reply
	here                 bool   // to be answered by this host: Max-Forwards is used up
	upgrade              string // protocols that the upstream may switch to; unprotected routes only

	body    *spill // nil when empty
	trailer header
}

// What is not a length of a body.
const (
	chunked  = -1 // it comes in chunks
	unframed = -2 // nothing tells: a request has none, a reply's lasts until the connection ends
)

// parseRequest parses a head. It is stricter than RFC 9112 asks where leniency would let two
// readers see different requests. After a fault in the fields the request is returned as far as
// it is known.
func parseRequest(head string, maxFields int) (*request, error) {
	line, rest, _ := strings.Cut(head, "\r\n")
	method, after, ok1 := strings.Cut(line, " ")
	target, version, ok2 := strings.Cut(after, " ")
	if !ok1 || !ok2 || !isToken(method) || !isTarget(target) {
		return nil, bad("malformed request line")
	}
	r := &request{method: method, target: target, length: unframed}
	switch {
	case version == "HTTP/1.1":
		r.minor = 1
	case version == "HTTP/1.0":
	case isVersion(version):
		return nil, &fault{status: http.StatusHTTPVersionNotSupported, why: "HTTP/1.0 and HTTP/1.1 are spoken here"}
	default:
		return nil, bad("malformed version")
	}
	var err error
	if r.header, err = parseFields(rest, strict, maxFields); err != nil {
		return r, err
	}
	if r.options, err = r.header.options(); err != nil {
		return r, err
	}
	r.close = r.options.close || r.minor == 0 && !r.options.keepAlive
	// Framing comes first: no other answer may leave a doubt about where the request ends.
	if r.length, err = r.header.bodyLength(r.minor); err != nil {
		return r, err
	}
	if err := r.route(); err != nil {
		return r, err
	}
	return r, r.expectations()
}

// isVersion reports whether s is an HTTP-version, RFC 9112 §2.3.
func isVersion(s string) bool {
	return len(s) == 8 && strings.HasPrefix(s, "HTTP/") && s[6] == '.' && digits.all(s[5:6]) && digits.all(s[7:])
}

// expectations applies Expect (RFC 9110 §10.1.1) and Max-Forwards (§7.6.2).
func (r *request) expectations() error {
	known := true
	r.header.list(kindExpect, func(what string) bool {
		known = known && equalFold(what, "100-continue")
		r.expect = r.length == chunked || r.length > 0
		return true
	})
	if r.minor == 0 {
		r.expect = false
	} else if !known {
		return &fault{status: http.StatusExpectationFailed, why: "unknown expectation"}
	}
	if hops, ok := r.header.first(kindMaxForwards); ok && r.method == http.MethodOptions {
		r.here = hops != "" && strings.Trim(hops, "0") == ""
	}
	return nil
}

// hasBody reports whether a body is to be read.
func (r *request) hasBody() bool { return r.length > 0 || r.length == chunked }

// clientKey returns the transaction ID that the client gave itself, if it did.
func (r *request) clientKey() string {
	for i := range r.header {
		if f := &r.header[i]; f.kind == kindKey && f.value != "" && !r.options.drops(f.name) {
			return f.value
		}
	}
	return ""
}

// bodyLength applies RFC 9112 §6.3, with every ambiguity refused.
func (h header) bodyLength(minor int) (int64, error) {
	length, coded := int64(unframed), false
	last := ""
	for i := range h {
		switch h[i].kind {
		case kindCoding:
			if coded || !equalFold(h[i].value, "chunked") {
				return 0, bad("unknown Transfer-Encoding")
			}
			coded = true
		case kindLength:
			for part := range strings.SplitSeq(h[i].value, ",") {
				part = trimSpace(part)
				if last != "" && part != last || part == "" || !digits.all(part) {
					return 0, bad("malformed Content-Length")
				}
				last = part
			}
		}
	}
	switch {
	case coded && last != "":
		return 0, bad("both Transfer-Encoding and Content-Length")
	case coded && minor == 0:
		return 0, bad("Transfer-Encoding in HTTP/1.0")
	case coded:
		return chunked, nil
	case last != "":
		var err error
		if length, err = strconv.ParseInt(last, 10, 64); err != nil {
			return 0, bad("Content-Length out of range")
		}
	}
	return length, nil
}
