package accesslog

import (
	"net/netip"
	"strconv"
	"time"
	"unicode/utf16"
	"unicode/utf8"
)

// maxText bounds each text of a line, in bytes of its source. A cut one ends with "...".
const maxText = 4096

const digits = "0123456789abcdef"

// appendQuoted adds a text in quotes as Apache httpd does: \" \\ \t \n \r, \xhh for what is not
// printable ASCII. An empty text is "-", and one that is a dash "\x2d".
func appendQuoted(b []byte, s string) []byte {
	return append(appendText(append(b, '"'), s, ' '), '"')
}

// appendWord is appendQuoted without the quotes, for a text that stands between spaces: those
// within it are \x20.
func appendWord(b []byte, s string) []byte { return appendText(b, s, '!') }

// appendText escapes what is below least too.
func appendText(b []byte, s string, least byte) []byte {
	switch s {
	case "":
		return append(b, '-')
	case "-":
		return append(b, `\x2d`...)
	}
	s, cut := shorten(s)
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c == '\n':
			b = append(b, `\n`...)
		case c == '\r':
			b = append(b, `\r`...)
		case c == '\t':
			b = append(b, `\t`...)
		case c < least || c >= 0x7f:
			b = append(b, '\\', 'x', digits[c>>4], digits[c&15])
		default:
			b = append(b, c)
		}
	}
	return append(b, cut...)
}

func shorten(s string) (head, cut string) {
	if len(s) > maxText {
		return s[:maxText], "..."
	}
	return s, ""
}

// AppendJSON adds the entry as one object: time (RFC 3339), client, method, target, proto,
// host, referer, user_agent, status, bytes, duration_us, upstream_us, outcome, mode and
// transaction. Empty texts and an upstream that was not asked are left out. It is ASCII; bytes
// that are no UTF-8 become U+FFFD, for JSON has none.
func AppendJSON(b []byte, e *Entry) []byte {
	b = append(b, `{"time":"`...)
	b = e.Time.AppendFormat(b, "2006-01-02T15:04:05.000000Z07:00")
	b = append(b, '"')
	if e.Client.IsValid() {
		client := netip.AddrPortFrom(e.Client.Addr().Unmap().WithZone(""), e.Client.Port())
		b = append(b, `,"client":"`...)
		b = append(client.AppendTo(b), '"')
	}
	b = appendMember(b, "method", e.Method)
	b = appendMember(b, "target", e.Target)
	b = appendMember(b, "proto", e.Proto)
	b = appendMember(b, "host", e.Host)
	b = appendMember(b, "referer", e.Referer)
	b = appendMember(b, "user_agent", e.UserAgent)
	b = appendNumber(b, "status", int64(e.Status))
	b = appendNumber(b, "bytes", e.Bytes)
	b = appendNumber(b, "duration_us", micros(e.Duration))
	if e.Upstream > 0 {
		b = appendNumber(b, "upstream_us", micros(e.Upstream))
	}
	b = appendMember(b, "outcome", e.Outcome)
	b = appendMember(b, "mode", e.Mode)
	b = appendMember(b, "transaction", e.Transaction)
	return append(b, '}')
}

func micros(d time.Duration) int64 { return max(0, d.Microseconds()) }

func appendNumber(b []byte, name string, n int64) []byte {
	b = append(append(append(b, `,"`...), name...), `":`...)
	return strconv.AppendInt(b, n, 10)
}

func appendMember(b []byte, name, s string) []byte {
	if s == "" {
		return b
	}
	b = append(append(append(b, `,"`...), name...), `":"`...)
	s, cut := shorten(s)
	for i := 0; i < len(s); {
		c := s[i]
		if c >= ' ' && c < 0x7f && c != '"' && c != '\\' {
			b = append(b, c)
			i++
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		i += size
		if high, low := utf16.EncodeRune(r); high != utf8.RuneError {
			b = appendUnit(appendUnit(b, high), low)
		} else {
			b = appendUnit(b, r)
		}
	}
	return append(append(b, cut...), '"')
}

// appendUnit adds one UTF-16 code unit (RFC 8259 §7).
func appendUnit(b []byte, r rune) []byte {
	switch r {
	case '"', '\\':
		return append(b, '\\', byte(r))
	}
	return append(b, '\\', 'u', digits[r>>12&15], digits[r>>8&15], digits[r>>4&15], digits[r&15])
}
