package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Forwarding says how the web server learns of the client. Clients are not trusted: by default
// what they say of themselves is replaced, and Forwarded removed.
type Forwarding struct {
	For       Forward `toml:"for"`       // X-Forwarded-For, the client's address
	Proto     Forward `toml:"proto"`     // X-Forwarded-Proto, "http"
	Host      Forward `toml:"host"`      // X-Forwarded-Host, what the client asked for
	Forwarded Forward `toml:"forwarded"` // Forwarded, which says all three (RFC 7239)
}

// Forward says what becomes of one such field of a request.
type Forward string

// The ways. Off lets the client's own field pass as it is.
const (
	ForwardReplace Forward = "replace"
	ForwardAppend  Forward = "append" // right behind another proxy and nowhere else
	ForwardRemove  Forward = "remove"
	ForwardOff     Forward = "off"
)

// FormatCombined is the default of access_log_format.
const FormatCombined = "combined"

// setHTTPDefaults fills in what has to do with the requests of a service.
func (s *Service) setHTTPDefaults() {
	s.HeadTimeout, s.BodyTimeout, s.BodyRate = 20*time.Second, time.Minute, 500
	s.Via = "ftgw"
	s.Forwarding = Forwarding{For: ForwardReplace, Proto: ForwardReplace, Host: ForwardReplace, Forwarded: ForwardRemove}
	s.AccessLogFormat = FormatCombined
}

// checkHTTP checks what setHTTPDefaults fills in. logs holds the formats of the access logs so far,
// by path.
func checkHTTP(f *findings, at string, s Service, logs map[string]string) {
	for _, d := range []struct {
		key string
		d   time.Duration
	}{{"head_timeout", s.HeadTimeout}, {"body_timeout", s.BodyTimeout}} {
		if key := at + "." + d.key; (d.d < time.Millisecond || d.d > 24*time.Hour) && !f.has(key) {
			f.add(key, `choose "1ms" to "24h"`, "%s is out of range", d.d)
		}
	}
	if !isToken(s.Via) && !f.has(at+".via") {
		f.add(at+".via", `write a name of letters, digits and any of !#$%&'*+-.^_|~, or "-" for none`, "%q is not a name", s.Via)
	}
	for _, w := range []struct {
		key string
		way Forward
	}{{"for", s.Forwarding.For}, {"proto", s.Forwarding.Proto}, {"host", s.Forwarding.Host}, {"forwarded", s.Forwarding.Forwarded}} {
		key := at + ".forwarding." + w.key
		if !slices.Contains([]Forward{ForwardReplace, ForwardAppend, ForwardRemove, ForwardOff}, w.way) && !f.has(key) {
			f.add(key, "write replace, append, remove or off", "%q is no way to forward", w.way)
		}
	}
	checkAccessLog(f, at, s, logs)
}

func checkAccessLog(f *findings, at string, s Service, logs map[string]string) {
	key, format := at+".access_log", at+".access_log_format"
	if !slices.Contains([]string{"common", FormatCombined, "extended", "json"}, s.AccessLogFormat) && !f.has(format) {
		f.add(format, "write common, combined, extended or json", "%q is not a format", s.AccessLogFormat)
	}
	if s.AccessLog == "" || f.has(key) {
		return
	}
	last := s.AccessLog[strings.LastIndexByte(s.AccessLog, '/')+1:]
	control := strings.ContainsFunc(s.AccessLog, func(r rune) bool { return r < ' ' || r == 0x7f })
	if control || slices.Contains([]string{"", ".", ".."}, last) {
		f.add(key, `name a file, as in "/var/log/ftgw/access.log", or write "" for none`, "%q is not a file", s.AccessLog)
		return
	}
	if first := cmp.Or(logs[s.AccessLog], s.AccessLogFormat); first != s.AccessLogFormat && !f.has(format) {
		f.add(format, "choose one format for a file, or another file", "%s is written in format %s by another service", s.AccessLog, first)
	}
	logs[s.AccessLog] = cmp.Or(logs[s.AccessLog], s.AccessLogFormat)
}

// isToken reports whether s is a token, RFC 9110 §5.6.2.
func isToken(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("!#$%&'*+-.^_`|~", r))
	})
}

// checkRequestLimits checks what bounds a request and its reply.
func checkRequestLimits(f *findings, l Limits) {
	for _, b := range []struct {
		key          string
		n, low, high Bytes
	}{
		{"request_line", l.RequestLine, 1 << 10, 1 << 20}, {"request_head", l.RequestHead, 1 << 10, 16 << 20},
		{"request_body", l.RequestBody, 0, 1 << 50}, {"max_reply", l.MaxReply, 64 << 10, 1 << 50},
	} {
		if key := "limits." + b.key; !f.has(key) && (b.n < b.low || b.n > b.high) {
			f.add(key, fmt.Sprintf("choose %q to %q", b.low, b.high), "%s is out of range", b.n)
		}
	}
	if l.RequestLine > l.RequestHead && !f.has("limits.request_line") && !f.has("limits.request_head") {
		f.add("limits.request_line", "choose at most request_head, which it is part of", "%s is more than request_head, %s", l.RequestLine, l.RequestHead)
	}
	if l.RequestFields < 8 || l.RequestFields > 10000 {
		f.add("limits.request_fields", "choose 8 to 10000", "%d is out of range", l.RequestFields)
	}
}
