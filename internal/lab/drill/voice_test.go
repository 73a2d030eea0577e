package drill

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ftgw/ftgw/internal/lab/capture"
	"github.com/ftgw/ftgw/rewrite"
)

// said reads frames written by hand, one a line: milliseconds, who (c is the client), the client's
// port and, for a SYN, the ISN.
func said(t *testing.T, text string) (out []capture.Segment) {
	t.Helper()
	for line := range strings.Lines(text) {
		var ms int
		var who string
		var port, isn uint16
		if n, _ := fmt.Sscan(line, &ms, &who, &port, &isn); n < 3 {
			continue
		}
		s := capture.Segment{Time: at(ms), Src: advertised, Dst: mustAddr(fmt.Sprintf("198.51.100.2:%d", port)), SrcMAC: capture.MAC{5: who[0]}, Flags: capture.ACK}
		if who == "c" {
			s.Src, s.Dst, s.Flags, s.Seq = s.Dst, s.Src, capture.SYN, rewrite.Seq(isn)
		}
		out = append(out, s)
	}
	return out
}

func turnOf(host string, from, full int) turn {
	x := turn{host: host, mac: capture.MAC{5: host[0]}, claimed: true, from: at(from)}
	if full > 0 {
		x.full = at(full)
	}
	return x
}

func TestJudgeVoices(t *testing.T) {
	claim := []turn{turnOf("b", 100, 101)}
	back := []turn{turnOf("b", 100, 101), turnOf("a", 200, 201)}
	for _, row := range []struct {
		name, text string
		turns      []turn
		apart      []period
		faults     int
	}{
		{"one speaker", "0 c 1 7\n1 a 1\n50 a 1", nil, nil, 0},
		{"two without a claim", "0 c 1 7\n1 a 1\n50 b 1", nil, nil, 1},
		{"a takeover", "0 c 1 7\n1 a 1\n99 a 1\n102 b 1", claim, nil, 0},
		{"before the claim", "0 c 1 7\n1 a 1\n99 b 1", claim, nil, 1},
		{"after the claim", "0 c 1 7\n1 a 1\n103 a 1", claim, nil, 1},
		{"in the instant of the claim", "0 c 1 7\n1 a 1\n101 a 1\n102 b 1", claim, nil, 0},
		{"in the instant of the claim, and back", "0 c 1 7\n1 a 1\n100 b 1\n101 a 1", claim, nil, 1},
		{"there and back", "0 c 1 7\n1 a 1\n120 b 1\n220 a 1", back, nil, 0},
		{"back too early", "0 c 1 7\n1 a 1\n120 b 1\n190 a 1\n220 a 1", back, nil, 1},
		{"each breaks the rule", "0 c 1 7\n1 a 1\n120 b 1\n150 a 1\n160 a 1\n170 b 1", claim, nil, 2},
		{"begun after the claim", "110 c 1 7\n111 a 1\n150 a 1", claim, nil, 0},
		{"begun after the claim, by two", "110 c 1 7\n111 a 1\n150 b 1", claim, nil, 1},
		{"a new connection from the port", "0 c 1 7\n1 a 1\n110 c 1 9\n120 b 1\n130 b 1", claim, nil, 0},
		{"who died in its claim has no turn for sure", "0 c 1 7\n1 a 1\n150 a 1", []turn{turnOf("b", 100, 0)}, nil, 0},
		{"but may have spoken", "0 c 1 7\n1 a 1\n150 b 1", []turn{turnOf("b", 100, 0)}, nil, 0},
		{"undecided", "0 c 1 7\n1 a 1\n110 a 1\n120 b 1\n130 a 1\n160 b 1", claim, []period{{at(100), at(150)}}, 0},
		{"undecided, and after it the loser", "0 c 1 7\n1 a 1\n110 a 1\n120 b 1\n130 a 1\n160 a 1", claim, []period{{at(100), at(150)}}, 1},
	} {
		v := judgeVoices(said(t, row.text), advertised, row.turns, row.apart)
		if len(v.Faults) != row.faults {
			t.Errorf("%s: %+v", row.name, v)
		}
	}
}

// log makes lines of a log, each behind its milliseconds.
func log(text string) (out []line) {
	for l := range strings.Lines(text) {
		var ms int
		if n, _ := fmt.Sscan(l, &ms); n == 1 {
			_, say, _ := strings.Cut(strings.TrimSpace(l), " ")
			out = append(out, line{at: at(ms), say: "level=INFO " + say + " "})
		}
	}
	return out
}

const claimLog = `
100 msg=action action="write-epoch epoch=3 \"why\""
101 msg=action action="promote epoch=3 \"a reason of epoch=9\""
102 msg=action action=open-gate
104 msg=role role=sole owner=true epoch=3
150 msg=action action="open-gate \"the peer knows of no higher epoch\""
160 msg=action action="duplex epoch=3 boot=12 speaker owner"
161 msg=role role=primary owner=true epoch=3
`

func TestChronicle(t *testing.T) {
	n := chronicle{host: "a", mac: capture.MAC{5: 'a'}}
	for _, l := range log(claimLog) {
		n.read(l)
	}
	want := turnOf("a", 102, 104)
	want.epoch, want.decided = 3, at(100)
	if !slices.Equal(n.turns, []turn{want}) {
		t.Errorf("a claim, a hold that ended and a new pair: %v", n.turns)
	}
	if !slices.Equal(n.reigns, []reign{{host: "a", mac: n.mac, epoch: 3, from: at(104), to: at(161)}}) {
		t.Errorf("%+v", n.reigns)
	}

	n = chronicle{host: "a"}
	for _, l := range log("10 msg=action action=\"duplex epoch=4 boot=12 speaker\"\n11 msg=role role=primary owner=false epoch=4") {
		n.read(l)
	}
	if len(n.turns) != 1 || n.turns[0].claimed || n.turns[0].epoch != 4 || !n.turns[0].full.Equal(at(11)) {
		t.Errorf("two that had nothing agree: %+v", n.turns)
	}

	n = chronicle{host: "a"}
	for _, l := range log("10 msg=role role=sole owner=true epoch=3") {
		n.read(l)
	}
	n.die([]death{{"b", at(20)}, {"a", at(5)}, {"a", at(30)}})
	if len(n.reigns) != 1 || !n.reigns[0].to.Equal(at(30)) {
		t.Errorf("killed: %+v", n.reigns)
	}
}

func TestUndecided(t *testing.T) {
	from := func(host string, epoch uint64, from, to int, fenced bool) reign {
		r := reign{host: host, epoch: epoch, from: at(from), fenced: fenced}
		if to > 0 {
			r.to = at(to)
		}
		return r
	}
	apart := []period{{at(50), at(250)}}
	turns := func() []turn {
		x, y := turnOf("a", 99, 100), turnOf("b", 109, 110)
		x.epoch, y.epoch = 2, 3
		x.decided, y.decided = at(95), at(105)
		return []turn{x, y}
	}
	for _, row := range []struct {
		name   string
		reigns []reign
		apart  []period
		want   []period
		turns  string // hosts
		fine   bool
	}{
		{"one after the other", []reign{from("a", 2, 100, 105, false), from("b", 3, 110, 0, false)}, nil, nil, "ab", true},
		{"the lower gives way", []reign{from("a", 2, 100, 300, true), from("b", 3, 110, 320, false)}, apart, []period{{at(99), at(301)}, {at(109), at(301)}}, "abb", true},
		{"the higher gives way", []reign{from("a", 4, 100, 320, false), from("b", 5, 110, 300, true)}, apart, nil, "ab", false},
		{"nobody gives way", []reign{from("a", 2, 100, 0, false), from("b", 3, 110, 0, false)}, apart, nil, "ab", false},
		{"the later claim is the lower one", []reign{from("a", 5, 100, 320, false), from("b", 3, 110, 300, true)}, apart, []period{{at(99), at(301)}, {at(109), at(301)}}, "aba", true},
		{"only one claims", []reign{from("a", 2, 100, 0, false)}, apart[:1], []period{{at(99), at(301)}, {at(109), at(301)}}, "ab", true},
		{"they have just been apart", []reign{from("a", 2, 100, 300, true), from("b", 3, 110, 320, false)}, []period{{at(20), at(50)}}, []period{{at(99), at(301)}}, "abb", true},
		{"they were not apart", []reign{from("a", 2, 100, 300, true), from("b", 3, 110, 320, false)}, nil, nil, "abb", true},
	} {
		h := history{reigns: row.reigns, turns: turns(), outs: []time.Time{at(300), at(90)}}
		got, err := h.undecided(row.apart)
		hosts := ""
		for _, x := range h.turns {
			hosts += x.host
		}
		if !slices.Equal(got, row.want) || (err == nil) != row.fine || hosts != row.turns {
			t.Errorf("%s: %v, %v, turns of %s", row.name, got, err, hosts)
		}
	}
}

func TestBetween(t *testing.T) {
	g := roundRand(1, "test", 0)
	const low, high = 50 * time.Millisecond, 3 * time.Second
	short := 0
	for range 1000 {
		d := between(g, low, high)
		if d < low || d > high {
			t.Fatal(d)
		}
		if d < 500*time.Millisecond {
			short++
		}
	}
	if short < 300 || short > 900 {
		t.Errorf("%d of 1000 are short", short)
	}
}
