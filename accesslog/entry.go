package accesslog

import (
	"fmt"
	"net/netip"
	"strconv"
	"time"
)

// Entry is what is known of one exchange. Texts are as they came, whatever bytes they hold;
// an empty one stands for none.
type Entry struct {
	Time   time.Time      // when the request was here whole; written in its own time zone
	Client netip.AddrPort // the real one: there is no NAT

	Method, Target, Proto string // of the request line; empty where it was malformed
	Host                  string
	Referer, UserAgent    string

	Status   int           // of the reply; 0: there was none
	Bytes    int64         // of the reply's body
	Duration time.Duration // from Time to the reply's last write
	Upstream time.Duration // of it, asking the upstream; 0: it was not asked here

	Outcome     string // delivered, replayed, re-executed, refused and the like
	Mode        string // of the route: logged, unprotected
	Transaction string // what the upstream got as Idempotency-Key
}

// Format is how a line is written.
type Format uint8

// The formats. Common and Combined are exactly those of other servers, so that every tool reads
// them. They have no place for the outcome; Extended puts it behind, as servers do with fields
// of their own: "host" outcome mode transaction duration upstream, the last two in seconds.
const (
	Common Format = iota
	Combined
	Extended
	JSON // one object a line, see AppendJSON
)

var names = [...]string{"common", "combined", "extended", "json"}

// String returns the name of the format.
func (f Format) String() string { return names[f] }

// ParseFormat reads what String wrote.
func ParseFormat(name string) (Format, error) {
	for f, n := range names {
		if n == name {
			return Format(f), nil
		}
	}
	return 0, fmt.Errorf("access log format %q is unknown; write common, combined, extended or json", name)
}

// Append adds one line, its end included.
func (f Format) Append(b []byte, e *Entry) []byte {
	if f == JSON {
		return append(AppendJSON(b, e), '\n')
	}
	b = appendCommon(b, e)
	if f >= Combined {
		b = append(appendQuoted(append(b, ' '), e.Referer), ' ')
		b = appendQuoted(b, e.UserAgent)
	}
	if f == Extended {
		b = appendQuoted(append(b, ' '), e.Host)
		for _, word := range [...]string{e.Outcome, e.Mode, e.Transaction} {
			b = appendWord(append(b, ' '), word)
		}
		b = appendSeconds(append(b, ' '), e.Duration)
		b = appendSeconds(append(b, ' '), e.Upstream)
	}
	return append(b, '\n')
}

// appendCommon adds client - - [time] "request" status bytes.
func appendCommon(b []byte, e *Entry) []byte {
	if addr := e.Client.Addr(); addr.IsValid() {
		b = addr.Unmap().WithZone("").AppendTo(b) // a zone may hold any byte
	} else {
		b = append(b, '-')
	}
	b = append(b, " - - ["...)
	b = e.Time.AppendFormat(b, "02/Jan/2006:15:04:05 -0700")
	b = append(b, "] \""...)
	if e.Method == "" && e.Target == "" && e.Proto == "" {
		b = append(b, '-')
	} else {
		b = appendWord(b, e.Method)
		b = appendWord(append(b, ' '), e.Target)
		if e.Proto != "" {
			b = appendWord(append(b, ' '), e.Proto)
		}
	}
	b = append(b, "\" "...)
	b = strconv.AppendInt(b, int64(e.Status), 10)
	b = append(b, ' ')
	if e.Bytes == 0 {
		return append(b, '-') // as the format has it since CERN's server
	}
	return strconv.AppendInt(b, e.Bytes, 10)
}

// appendSeconds adds a duration as seconds with microseconds, 0.000000 for a negative one.
func appendSeconds(b []byte, d time.Duration) []byte {
	us := micros(d)
	b = strconv.AppendInt(b, us/1e6, 10)
	b = append(b, '.')
	for unit := int64(1e5); unit > 0; unit /= 10 {
		b = append(b, byte('0'+us/unit%10))
	}
	return b
}
