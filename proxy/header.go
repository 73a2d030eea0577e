package proxy

import (
	"strings"
)

// kind says what the gateway does with a field, by its name.
type kind uint8

const (
	kindEndToEnd kind = iota // passed on
	kindLate                 // passed on, but not as a trailer: RFC 9110 §6.5.1
	kindHop                  // for this hop alone, RFC 9110 §7.6.1: dropped
	kindForged               // a known name with '_' for '-', which CGI cannot tell apart: dropped
	kindConnection
	kindLength
	kindDate
	kindExpect
	kindForwarded
	kindForwardedFor
	kindForwardedHost
	kindForwardedProto
	kindHost
	kindKey
	kindAttempt
	kindMaxForwards
	kindTE
	kindCoding
)

// kindOf classifies a field's name, in any case.
func kindOf(name string) kind {
	var low [24]byte
	if len(name) > len(low) {
		return kindEndToEnd
	}
	underscore := false
	for i := range len(name) {
		c := name[i]
		switch {
		case c >= 'A' && c <= 'Z':
			c |= 0x20
		case c == '_':
			c, underscore = '-', true
		}
		low[i] = c
	}
	k := kindEndToEnd
	switch string(low[:len(name)]) {
	case "authorization", "cache-control", "content-encoding", "content-range", "content-type", "cookie",
		"range", "set-cookie", "www-authenticate":
		k = kindLate
	case "http2-settings", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "trailer", "upgrade":
		k = kindHop
	case "connection":
		k = kindConnection
	case "content-length":
		k = kindLength
	case "date":
		k = kindDate
	case "expect":
		k = kindExpect
	case "forwarded":
		k = kindForwarded
	case "x-forwarded-for":
		k = kindForwardedFor
	case "x-forwarded-host":
		k = kindForwardedHost
	case "x-forwarded-proto":
		k = kindForwardedProto
	case "host":
		k = kindHost
	case "idempotency-key":
		k = kindKey
	case "ftgw-attempt":
		k = kindAttempt
	case "max-forwards":
		k = kindMaxForwards
	case "te":
		k = kindTE
	case "transfer-encoding":
		k = kindCoding
	}
	if underscore && k > kindLate {
		return kindForged
	}
	return k
}

// field is one field as it was spelt; its value has no white space around it.
type field struct {
	name, value string
	kind        kind
}

// header is the fields of a message in their order. It is searched from front to end: their
// number is bounded.
type header []field

// first returns the first field's value of a kind.
func (h header) first(k kind) (string, bool) {
	for i := range h {
		if h[i].kind == k {
			return h[i].value, true
		}
	}
	return "", false
}

// list calls f with each member of the comma-separated lists that the fields of a kind hold.
// Empty members are left out (RFC 9110 §5.6.1.2). It stops when f returns false.
func (h header) list(k kind, f func(member string) bool) {
	for i := range h {
		if h[i].kind != k {
			continue
		}
		for member := range strings.SplitSeq(h[i].value, ",") {
			if member = strings.Trim(member, " \t"); member != "" && !f(member) {
				return
			}
		}
	}
}

// dialect says how lenient the reader of a head is. A client's is read strictly: two readers
// that forgive differently see different requests. A reply is read as RFC 9112 lets a
// gateway, since it is written anew.
type dialect uint8

const (
	strict  dialect = iota
	lenient         // lines may end in LF alone, be folded (§5.2), and have space before the colon (§5.1)
)

// parseFields parses the lines of a head or trailer, up to the empty one.
func parseFields(text string, d dialect, max int) (header, error) {
	h := make(header, 0, 16)
	for lines := 0; text != ""; lines++ {
		var line string
		line, text, _ = strings.Cut(text, "\n")
		if n := len(line); n > 0 && line[n-1] == '\r' {
			line = line[:n-1]
		} else if d == strict {
			return nil, bad("a line without CRLF")
		}
		if line == "" {
			break
		}
		if lines == max { // folded ones too: each copies what went before
			return nil, tooLarge("too many header fields")
		}
		colon := strings.IndexByte(line, ':')
		if d == lenient {
			if last := len(h) - 1; last >= 0 && (line[0] == ' ' || line[0] == '\t') && isValue(line) {
				h[last].value += " " + strings.Trim(line, " \t")
				continue
			}
			if colon > 0 {
				name := strings.TrimRight(line[:colon], " \t")
				line, colon = name+line[colon:], len(name)
			}
		}
		if colon < 0 || !isToken(line[:colon]) { // folded lines as well, RFC 9112 §5.2
			return nil, bad("malformed header field")
		}
		f := field{name: line[:colon], value: trimSpace(line[colon+1:])}
		if !isValue(f.value) {
			return nil, bad("malformed header value")
		}
		f.kind = kindOf(f.name)
		h = append(h, f)
	}
	return h, nil
}

// trimSpace removes what RFC 9110 §5.6.3 calls OWS.
func trimSpace(s string) string {
	for s != "" && (s[0] == ' ' || s[0] == '\t') {
		s = s[1:]
	}
	for s != "" && (s[len(s)-1] == ' ' || s[len(s)-1] == '\t') {
		s = s[:len(s)-1]
	}
	return s
}

const maxOptions = 32 // of Connection; each costs a pass over the header

// options are what Connection names, but for close and keep-alive.
type options struct {
	named            []string
	close, keepAlive bool
}

func (h header) options() (o options, err error) {
	h.list(kindConnection, func(name string) bool {
		switch {
		case equalFold(name, "close"):
			o.close = true
		case equalFold(name, "keep-alive"):
			o.keepAlive = true
		case len(o.named) == maxOptions:
			err = bad("too many connection options")
		default:
			o.named = append(o.named, name)
		}
		return err == nil
	})
	return o, err
}

// drops reports whether the sender named the field as one for its hop alone.
func (o *options) drops(name string) bool {
	for _, n := range o.named {
		if equalFold(n, name) {
			return true
		}
	}
	return false
}
