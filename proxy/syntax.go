package proxy

import (
	"net/netip"
	"strconv"
	"strings"
)

// class is what an octet may be part of.
type class uint8

const (
	tchar  class = 1 << iota // a token, RFC 9110 §5.6.2
	vchar                    // a field's value: no control character but tab
	uchar                    // a request's target
	hchar                    // a registered name, RFC 3986 §3.2.2, but for '%'
	digits                   // a number
	xdigit                   // a hexadecimal one
)

// classes is never written to.
var classes = func() (t [256]class) {
	for c := range 256 {
		alnum := c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z' && c < 0x80
		in := func(set string) bool { return c < 0x80 && strings.IndexByte(set, byte(c)) >= 0 }
		for class, is := range map[class]bool{
			tchar:  alnum || in("!#$%&'*+-.^_`|~"),
			vchar:  c >= ' ' && c != 0x7f || c == '\t',
			uchar:  c > ' ' && c != 0x7f && c != '#',
			hchar:  alnum || in("-._~!$&'()*+,;="),
			digits: c >= '0' && c <= '9',
			xdigit: c >= '0' && c <= '9' || in("abcdefABCDEF"),
		} {
			if is {
				t[c] |= class
			}
		}
	}
	return t
}()

// all reports whether s consists of octets of one class.
func (k class) all(s string) bool {
	for i := range len(s) {
		if classes[s[i]]&k == 0 {
			return false
		}
	}
	return true
}

// isToken reports whether s is a token of RFC 9110 §5.6.2.
func isToken(s string) bool { return s != "" && tchar.all(s) }

// isValue reports whether s may stand as a field's value: no control character but tab.
func isValue(s string) bool { return vchar.all(s) }

// isTarget reports whether s may stand as a request's target. Octets beyond ASCII may: they
// split nothing, and clients send them.
func isTarget(s string) bool { return s != "" && uchar.all(s) }

// isHost reports whether s is a host and perhaps a port (RFC 9110 §7.2), without user
// information.
func isHost(s string) bool {
	name, port := s, ""
	if strings.HasPrefix(s, "[") {
		end := strings.IndexByte(s, ']')
		if end < 0 {
			return false
		}
		if a, err := netip.ParseAddr(s[1:end]); err != nil || !a.Is6() || a.Zone() != "" {
			return false
		}
		name, port = "x", s[end+1:]
	} else if colon := strings.IndexByte(s, ':'); colon >= 0 {
		name, port = s[:colon], s[colon:]
	}
	if port != "" && port != ":" {
		if _, err := strconv.ParseUint(port[1:], 10, 16); err != nil || port[0] != ':' || !digits.all(port[1:]) {
			return false
		}
	}
	for i := 0; i < len(name); i++ {
		switch {
		case classes[name[i]]&hchar != 0:
		case name[i] == '%' && i+2 < len(name) && xdigit.all(name[i+1:i+3]):
			i += 2
		default:
			return false
		}
	}
	return name != ""
}

// equalFold compares in any case. Only ASCII can be equal: what Unicode folds to it is longer.
func equalFold(a, b string) bool { return len(a) == len(b) && strings.EqualFold(a, b) }
