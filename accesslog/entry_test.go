package accesslog

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

var zone = time.FixedZone("", -7*3600)

func entry() Entry {
	return Entry{
		Time:   time.Date(2000, 10, 10, 13, 55, 36, 123456789, zone),
		Client: netip.MustParseAddrPort("192.0.2.1:4711"),
		Method: "GET", Target: "/a?b=c", Proto: "HTTP/1.1", Host: "shop.example",
		Referer: "http://shop.example/", UserAgent: "Mozilla/5.0 (X11)",
		Status: 200, Bytes: 2326, Duration: 12345678 * time.Nanosecond, Upstream: 11 * time.Millisecond,
		Outcome: "delivered", Mode: "logged", Transaction: "0123abcd",
	}
}

func TestFormats(t *testing.T) {
	hostile := entry()
	hostile.Client = netip.MustParseAddrPort("[::ffff:192.0.2.1]:1")
	hostile.Target = "/a b\"\\\n\x1b[31m\u00e9\xff"
	hostile.Referer, hostile.UserAgent = "-", "a b\"\\\r\t\x00\u202e\U0001f600\x7f\xc3"
	hostile.Host = ""
	malformed := Entry{Time: entry().Time, Client: netip.MustParseAddrPort("[2001:db8::1%25eth0]:1"), Status: 400, Outcome: "refused"}
	for _, tt := range []struct {
		name   string
		e      Entry
		format Format
		want   string
	}{
		{"usual", entry(), Common, `192.0.2.1 - - [10/Oct/2000:13:55:36 -0700] "GET /a?b=c HTTP/1.1" 200 2326`},
		{"usual", entry(), Combined, `192.0.2.1 - - [10/Oct/2000:13:55:36 -0700] "GET /a?b=c HTTP/1.1" 200 2326 "http://shop.example/" "Mozilla/5.0 (X11)"`},
		{"usual", entry(), Extended, `192.0.2.1 - - [10/Oct/2000:13:55:36 -0700] "GET /a?b=c HTTP/1.1" 200 2326 "http://shop.example/" "Mozilla/5.0 (X11)" "shop.example" delivered logged 0123abcd 0.012345 0.011000`},
		{"usual", entry(), JSON, `{"time":"2000-10-10T13:55:36.123456-07:00","client":"192.0.2.1:4711","method":"GET","target":"/a?b=c","proto":"HTTP/1.1","host":"shop.example","referer":"http://shop.example/","user_agent":"Mozilla/5.0 (X11)","status":200,"bytes":2326,"duration_us":12345,"upstream_us":11000,"outcome":"delivered","mode":"logged","transaction":"0123abcd"}`},
		{"hostile", hostile, Extended, `192.0.2.1 - - [10/Oct/2000:13:55:36 -0700] "GET /a\x20b\"\\\n\x1b[31m\xc3\xa9\xff HTTP/1.1" 200 2326 "\x2d" "a b\"\\\r\t\x00\xe2\x80\xae\xf0\x9f\x98\x80\x7f\xc3" "-" delivered logged 0123abcd 0.012345 0.011000`},
		{"hostile", hostile, JSON, `{"time":"2000-10-10T13:55:36.123456-07:00","client":"192.0.2.1:1","method":"GET","target":"/a b\"\\\u000a\u001b[31m\u00e9\ufffd","proto":"HTTP/1.1","referer":"-","user_agent":"a b\"\\\u000d\u0009\u0000\u202e\ud83d\ude00\u007f\ufffd","status":200,"bytes":2326,"duration_us":12345,"upstream_us":11000,"outcome":"delivered","mode":"logged","transaction":"0123abcd"}`},
		{"malformed", malformed, Extended, `2001:db8::1 - - [10/Oct/2000:13:55:36 -0700] "-" 400 - "-" "-" "-" refused - - 0.000000 0.000000`},
		{"malformed", malformed, JSON, `{"time":"2000-10-10T13:55:36.123456-07:00","client":"[2001:db8::1]:1","status":400,"bytes":0,"duration_us":0,"outcome":"refused"}`},
		{"empty", Entry{}, Common, `- - - [01/Jan/0001:00:00:00 +0000] "-" 0 -`},
		{"HTTP/0.9", Entry{Method: "GET", Target: "/", Duration: -1}, Common, `- - - [01/Jan/0001:00:00:00 +0000] "GET /" 0 -`},
	} {
		if got := string(tt.format.Append(nil, &tt.e)); got != tt.want+"\n" {
			t.Errorf("%s, %s:\n%swant\n%s", tt.name, tt.format, got, tt.want)
		}
	}
}

func TestParseFormat(t *testing.T) {
	for f := Common; f <= JSON; f++ {
		if got, err := ParseFormat(f.String()); err != nil || got != f {
			t.Errorf("%s: %v, %v", f, got, err)
		}
	}
	if _, err := ParseFormat("nginx"); err == nil {
		t.Error("nginx was accepted")
	}
}

func TestLongTexts(t *testing.T) {
	e := entry()
	e.Target, e.UserAgent = "/"+strings.Repeat("\x00", 1<<20), strings.Repeat("é", 1<<20)
	for f := Common; f <= JSON; f++ {
		if line := f.Append(nil, &e); len(line) > 50_000 || bytes.Count(line, []byte("...")) != min(2, 1+int(f)) {
			t.Errorf("%s: %d bytes", f, len(line))
		}
	}
}

// extended is the line as a reader of logs takes it apart.
var extended = regexp.MustCompile(`^(\S+) - - \[([^\]]+)\] "((?:[^"\\]|\\.)*)" (\d+) (\d+|-) "((?:[^"\\]|\\.)*)" "((?:[^"\\]|\\.)*)" "((?:[^"\\]|\\.)*)" (\S+) (\S+) (\S+) (\d+\.\d{6}) (\d+\.\d{6})\n$`)

// unescape undoes appendText; "" comes back for none.
func unescape(s string) (string, error) {
	if s == "-" {
		return "", nil
	}
	return strconv.Unquote(`"` + s + `"`)
}

// FuzzLine: whatever bytes an entry holds, each format writes one line of printable ASCII, and
// what was in it can be read back.
func FuzzLine(f *testing.F) {
	f.Add("GET", "/a?b=c", "HTTP/1.1", "shop.example", "http://a/", "Mozilla", "delivered", int64(1))
	f.Add("", "", "", "", "-", "", "", int64(-1))
	f.Add("A B", "/\" 200 1 \"\n192.0.2.1 - -", "\\", "\\\"", "\xff\xfe", "\u2028\u202e\x1b]0;x\x07", "a b", int64(1)<<62)
	f.Add("-", "\\x2d", "-", "\\", "\ud7ff\uffff\U0010ffff", "\xed\xa0\x80", "\"", int64(0))
	f.Add("", "", "a", "", "", "", "", int64(28)) // was left out with the other two
	f.Fuzz(func(t *testing.T, method, target, proto, host, referer, agent, word string, n int64) {
		e := entry()
		e.Method, e.Target, e.Proto, e.Host, e.Referer, e.UserAgent = method, target, proto, host, referer, agent
		e.Outcome, e.Mode, e.Transaction = word, word, word
		e.Bytes, e.Duration = n, time.Duration(n)
		for f := Common; f <= JSON; f++ {
			line := f.Append([]byte("before"), &e)
			if !bytes.HasPrefix(line, []byte("before")) || bytes.IndexByte(line, '\n') != len(line)-1 {
				t.Fatalf("%s: not one line: %q", f, line)
			}
			if i := bytes.IndexFunc(line[:len(line)-1], func(r rune) bool { return r < ' ' || r > '~' }); i >= 0 {
				t.Fatalf("%s: not printable ASCII at %d: %q", f, i, line)
			}
		}
		if len(method)+len(target)+len(proto)+len(host)+len(referer)+len(agent)+len(word) > maxText {
			return // may be cut
		}
		checkExtended(t, &e)
		checkJSON(t, &e)
	})
}

func checkExtended(t *testing.T, e *Entry) {
	line := string(Extended.Append(nil, e))
	m := extended.FindStringSubmatch(line)
	if e.Bytes < 0 {
		return // a size is never so
	}
	if m == nil {
		t.Fatalf("cannot be read: %q", line)
	}
	request := []string{"", "", ""}
	if m[3] != "-" {
		copy(request, strings.Split(m[3], " "))
	}
	got := append(request, m[6], m[7], m[8], m[9], m[10], m[11])
	for i, want := range []string{e.Method, e.Target, e.Proto, e.Referer, e.UserAgent, e.Host, e.Outcome, e.Mode, e.Transaction} {
		if text, err := unescape(got[i]); got[i] != "" && err != nil || got[i] != "" && text != want || got[i] == "" && want != "" {
			t.Fatalf("%d: %q became %q, %v in %q", i, want, text, err, line)
		}
	}
}

func checkJSON(t *testing.T, e *Entry) {
	line := JSON.Append(nil, e)
	var got map[string]any
	if err := json.Unmarshal(line, &got); err != nil {
		t.Fatalf("%v in %q", err, line)
	}
	for name, want := range map[string]string{
		"method": e.Method, "target": e.Target, "proto": e.Proto, "host": e.Host,
		"referer": e.Referer, "user_agent": e.UserAgent, "outcome": e.Outcome,
	} {
		if want == "" {
			continue
		}
		text, _ := got[name].(string)
		if utf8.ValidString(want) && text != want || text != string([]rune(want)) {
			t.Fatalf("%s: %q became %q", name, want, text)
		}
	}
}

func BenchmarkAppend(b *testing.B) {
	e := entry()
	for f := Common; f <= JSON; f++ {
		b.Run(fmt.Sprint(f), func(b *testing.B) {
			var line []byte
			b.ReportAllocs()
			for b.Loop() {
				line = f.Append(line[:0], &e)
			}
		})
	}
}
