package replication

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/ftgw/ftgw/rewrite"
)

const protocol = "../docs/protocol.md"

// rows returns the cells of the table rows in the section of docs/protocol.md with this heading that begin with a
// number.
func rows(t *testing.T, heading string) (rows [][]string) {
	t.Helper()
	text, err := os.ReadFile(protocol)
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(text), "\n## "+heading+"\n")
	if !ok {
		t.Fatalf("%s has no section %q", protocol, heading)
	}
	section, _, _ = strings.Cut(section, "\n## ")
	for _, m := range regexp.MustCompile(`(?m)^\| (\d+ \|.*) \|$`).FindAllStringSubmatch(section, -1) {
		rows = append(rows, strings.Split(m[1], " | "))
	}
	return rows
}

var counted = regexp.MustCompile(`(\d+) bytes$`)

// size computes how long a body is by its row, all strings empty, the flow of IPv4, one of each.
func size(t *testing.T, body string) (sum int) {
	t.Helper()
	const flow = 1 + 4 + 2 + 4 + 2 + 4
	body, _, _ = strings.Cut(body, ", then n times")
	for field := range strings.FieldsFuncSeq(body, func(r rune) bool { return r == ',' || r == ';' }) {
		field, _, _ = strings.Cut(strings.TrimPrefix(strings.TrimSpace(field), "each: "), " of all parts")
		field, _, _ = strings.Cut(field, " (")
		last := field[strings.LastIndex(field, " ")+1:]
		fixed := map[string]int{"flow": flow, "record": flow + 8 + 1 + 2, "string": 1, "name": 2, "bool": 1,
			"u8": 1, "u16": 2, "u32": 4, "u63": 8, "u64": 8, "i64": 8}
		if n, ok := fixed[last]; ok {
			sum += n
		} else if m := counted.FindStringSubmatch(field); m != nil {
			n, _ := strconv.Atoi(m[1])
			sum += n
		} else if field != "bytes" {
			t.Errorf("%s: cannot read the field %q", protocol, field)
		}
	}
	return sum
}

// TestProtocolNamesEveryFrame: the table has every type, and each body is as long as its row says.
func TestProtocolNamesEveryFrame(t *testing.T) {
	record := Record{RecordKey: RecordKey{Flow: flow4(1), Kind: KindReply}}
	stored := StoredItem{RecordKey: record.RecordKey, Result: ResultStored}
	leave := Outbox{}
	leave.Leave()
	samples := map[string][]byte{
		"Hello": Hello{Channel: Query}.Append(nil), "Heartbeat": Heartbeat{}.Append(nil),
		"Confirm": control(rewrite.Confirmation{Flow: flow4(1)}), "Stored": control(stored),
		"Note": control(FlowNote{Flow: flow4(1), Kind: NoteClosed}), "Epoch": control(Epoch{}), "Leave": leave.Append(nil, batchLimit),
		"RecordBegin": appendBegin(nil, 1, record), "RecordPart": end(appendStream(nil, TypeRecordPart, 1), 0),
		"RecordEnd": end(append(appendStream(nil, TypeRecordEnd, 1), 0, 0, 0, 0), 0), "RecordAbort": end(appendStream(nil, TypeRecordAbort, 1), 0),
		"GrantRequest": GrantRequest{}.Append(nil), "GrantAnswer": GrantAnswer{}.Append(nil),
		"Notice": Notice{}.Append(nil), "Silence": Silence{}.Append(nil),
	}
	for _, row := range rows(t, "Types") {
		frame, ok := samples[row[1]]
		if !ok {
			t.Errorf("%s names %s, which is no frame", protocol, row[1])
			continue
		}
		delete(samples, row[1])
		if got := strconv.Itoa(int(frame[1])); got != row[0] {
			t.Errorf("%s has type %s, %s says %s", row[1], got, protocol, row[0])
		}
		if got, want := len(frame)-HeaderSize, size(t, row[3]); got != want {
			t.Errorf("the body of %s has %d bytes, by %s it would have %d", row[1], got, protocol, want)
		}
	}
	if len(samples) > 0 {
		t.Errorf("%s has no row for %v", protocol, slices.Sorted(maps.Keys(samples)))
	}
}

// TestProtocolNamesEveryKind: numbers run from the first to the last that the code knows.
func TestProtocolNamesEveryKind(t *testing.T) {
	count := func(last uint8) (want []string) {
		for k := range last {
			want = append(want, strconv.Itoa(int(k)+1))
		}
		return want
	}
	for heading, want := range map[string][]string{"Records": count(uint8(KindDigest)), "Notes": count(uint8(NoteRoute)),
		"Flags of a Heartbeat": {"1", "2", "4", "8", "16", strconv.Itoa(int(FlagLinkDead))}} {
		var got []string
		for _, row := range rows(t, heading) {
			got = append(got, row[0])
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s, %s: rows %v, want %v", protocol, heading, got, want)
		}
	}
}
