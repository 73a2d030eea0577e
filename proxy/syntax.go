package proxy

import (
	"net/http"
	"strings"
)

// isToken reports whether s is a token of RFC 9110 §5.6.2.
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		alnum := c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z'
		if !alnum && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return s != ""
}

// isValue reports whether s may stand as a field's value: no control character but tab.
func isValue(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

// isTarget reports whether s may stand as a request's target.
func isTarget(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c == 0x7f || c == '#' {
			return false
		}
	}
	return s != ""
}

// isHost reports whether s may stand as a Host field: the characters of RFC 3986 §3.2 without
// user information. The empty host is one.
func isHost(s string) bool {
	for i := range len(s) {
		c := s[i]
		alnum := c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z'
		if !alnum && strings.IndexByte("!$%&'()*+,-.:;=[]_~", c) < 0 {
			return false
		}
	}
	return true
}

// hasToken reports whether one of the comma-separated fields lists token, in any case.
func hasToken(fields []string, token string) bool {
	for _, f := range fields {
		for part := range strings.SplitSeq(f, ",") {
			if strings.EqualFold(strings.Trim(part, " \t"), token) {
				return true
			}
		}
	}
	return false
}

// removeHopByHop drops what is for this hop alone (RFC 9110 §7.6.1).
func removeHopByHop(h http.Header) {
	for _, f := range h["Connection"] {
		for part := range strings.SplitSeq(f, ",") {
			h.Del(strings.Trim(part, " \t"))
		}
	}
	for _, name := range [...]string{
		"Connection", "Keep-Alive", "Proxy-Connection", "Proxy-Authenticate", "Proxy-Authorization",
		"Te", "Trailer", "Transfer-Encoding", "Upgrade",
	} {
		delete(h, name)
	}
}
