package oracle_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/ftgw/ftgw/internal/lab/capture"
	"github.com/ftgw/ftgw/internal/lab/oracle"
	"github.com/ftgw/ftgw/rewrite"
)

var (
	v      = netip.MustParseAddrPort("192.0.2.100:80")
	client = netip.MustParseAddrPort("198.51.100.2:40000")
)

// lines reads segments written by hand, one a line: milliseconds, c (client), a or b (who
// speaks for the advertised address), flags, then seq=, len= and ack= in any order.
func lines(t *testing.T, text string) []capture.Segment {
	t.Helper()
	var out []capture.Segment
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		var ms int
		if _, err := fmt.Sscan(f[0], &ms); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		s := capture.Segment{Time: at(ms), Src: v, Dst: client, SrcMAC: capture.MAC{5: f[1][0]}}
		if f[1] == "c" {
			s.Src, s.Dst = client, v
		}
		for _, c := range f[2] {
			s.Flags |= 1 << strings.IndexRune("FSRPA", c)
		}
		for _, kv := range f[3:] {
			key, value, _ := strings.Cut(kv, "=")
			var n uint32
			if _, err := fmt.Sscan(value, &n); err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			switch key {
			case "seq":
				s.Seq = rewrite.Seq(n)
			case "ack":
				s.Ack = rewrite.Seq(n)
			case "len":
				s.Len = int(n)
			}
		}
		out = append(out, s)
	}
	return out
}

func at(ms int) time.Time { return time.Unix(1000, 0).Add(time.Duration(ms) * time.Millisecond) }

func TestOneVoice(t *testing.T) {
	for _, row := range []struct {
		name, text string
		switches   int
		ok         bool
	}{
		{"one speaker", "0 c S\n1 a SA\n2 a A", 0, true},
		{"one takeover", "0 c S\n1 a SA\n2 a A\n3 b A\n4 b A", 1, true},
		{"no takeover was allowed", "0 c S\n1 a SA\n2 b A", 0, false},
		{"turns", "0 c S\n1 a SA\n2 b A\n3 a A", 1, false},
		{"turns, given out of order", "3 a A\n0 c S\n2 b A\n1 a SA", 1, false},
		{"a new connection is another voice", "0 c S seq=1\n1 a SA\n2 c S seq=9\n3 b SA", 0, true},
		{"a repeated SYN is no new connection", "0 c S seq=1\n1 a SA\n2 c S seq=1\n3 b SA", 0, false},
	} {
		if err := oracle.OneVoice(lines(t, row.text), v, row.switches); (err == nil) != row.ok {
			t.Errorf("%s: %v", row.name, err)
		}
	}
}

func TestEndings(t *testing.T) {
	for _, row := range []struct {
		name, text      string
		endings         int
		noReset, noEnds bool
	}{
		{"open", "0 c S\n1 a SA\n2 c A\n3 a A", 0, true, true},
		{"the client ends", "0 c S\n1 a SA\n2 c FA\n3 a FA", 1, true, true},
		{"the server ends", "0 c S\n1 a SA\n3 a FA\n4 c FA", 1, true, false},
		{"reset", "0 c S\n1 a SA\n2 a RA", 1, false, false},
		{"reset after the client's end", "0 c S\n1 a SA\n2 c FA\n3 a R", 1, true, true},
	} {
		segments := lines(t, row.text)
		if got := oracle.Endings(segments, v); len(got) != row.endings {
			t.Errorf("%s: %v", row.name, got)
		}
		if err := oracle.NoReset(segments, v); (err == nil) != row.noReset {
			t.Errorf("%s: %v", row.name, err)
		}
		if err := oracle.NoEnding(segments, v); (err == nil) != row.noEnds {
			t.Errorf("%s: %v", row.name, err)
		}
	}
}

func TestSilent(t *testing.T) {
	s := lines(t, "0 a A\n10 b A\n20 a A")
	a := capture.MAC{5: 'a'}
	if err := oracle.Silent(s, v, a, at(1), at(19)); err != nil {
		t.Error(err)
	}
	if err := oracle.Silent(s, v, a, at(1), time.Time{}); err == nil {
		t.Error("a segment at 20 ms was passed over")
	}
}

func TestInputCommit(t *testing.T) {
	const opening = "0 c S seq=4294967290\n"
	for _, row := range []struct {
		name, handed, wire string
		until              time.Time
		checked, unjudged  int
		ok                 bool
	}{
		{"in order",
			opening + "5 c A seq=4294967291 len=100",
			opening + "1 a SA ack=4294967291\n6 a A ack=95", time.Time{}, 2, 0, true},
		{"acknowledged before it was handed over",
			opening + "5 c A seq=4294967291 len=100",
			opening + "1 a SA ack=4294967291\n4 a A ack=95", time.Time{}, 2, 0, false},
		{"acknowledged a hole",
			opening + "2 c A seq=4294967291 len=10\n3 c A seq=15 len=10",
			opening + "4 a A ack=25", time.Time{}, 1, 0, false},
		{"the hole is filled",
			opening + "2 c A seq=15 len=10\n3 c A seq=4294967291 len=10\n4 c A seq=5 len=10",
			opening + "3 a A ack=5\n5 a A ack=25", time.Time{}, 2, 0, true},
		{"FIN counts",
			opening + "2 c FA seq=4294967291",
			opening + "3 a A ack=4294967292\n4 a A ack=4294967293", time.Time{}, 2, 0, false},
		{"after the backup's death",
			opening, opening + "3 a A ack=4294967291\n9 a A ack=500", at(8), 1, 0, true},
		{"a SYN that the backup never got",
			"", opening + "1 a SA ack=4294967291", time.Time{}, 1, 0, false},
		{"older than the captures",
			opening, "3 a A ack=99", time.Time{}, 0, 1, true},
	} {
		r := oracle.InputCommit(lines(t, row.handed), lines(t, row.wire), v, row.until)
		if (r.Err == nil) != row.ok || r.Checked != row.checked || r.Unjudged != row.unjudged {
			t.Errorf("%s: %+v", row.name, r)
		}
	}
}
