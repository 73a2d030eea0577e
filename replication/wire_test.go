package replication

import (
	"bytes"
	"errors"
	"io"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"github.com/ftgw/ftgw/rewrite"
)

func flow4(port uint16) rewrite.FlowID {
	return rewrite.FlowID{Key: rewrite.Key{
		Client:     netip.AddrPortFrom(netip.MustParseAddr("198.51.100.7"), port),
		Advertised: netip.MustParseAddrPort("192.0.2.100:80"),
	}, ISN: 0xfffffff0}
}

func flow6(port uint16) rewrite.FlowID {
	return rewrite.FlowID{Key: rewrite.Key{
		Client:     netip.AddrPortFrom(netip.MustParseAddr("2001:db8::7"), port),
		Advertised: netip.MustParseAddrPort("[2001:db8::100]:443"),
	}, ISN: 5}
}

func key(port uint16, index uint64) RecordKey {
	return RecordKey{Flow: flow4(port), Index: index, Kind: KindReply}
}

// control queues v and returns the frames that leave.
func control(v any) []byte {
	var o Outbox
	switch v := v.(type) {
	case rewrite.Confirmation:
		o.Confirm(v)
	case StoredItem:
		o.Stored(v)
	case FlowNote:
		o.Note(v)
	case Epoch:
		o.Epoch(v)
	case Heartbeat:
		o.Beat(v)
	case Hello:
		return v.Append(nil)
	case Record:
		return appendBegin(nil, 9, v)
	}
	return o.Append(nil, batchLimit)
}

const batchLimit = 256 << 10

// parse reads the one message of a frame.
func parse(t Type, body []byte) (any, error) {
	rest := body
	if t >= TypeConfirm && t <= TypeLeave {
		var err error
		if _, rest, err = Number(body); err != nil {
			return nil, err
		}
	}
	switch t {
	case TypeHello:
		return ParseHello(rest)
	case TypeHeartbeat:
		return ParseHeartbeat(rest)
	case TypeConfirm:
		v, err := ParseConfirms(nil, rest)
		return first(v), err
	case TypeStored:
		v, err := ParseStored(nil, rest)
		return first(v), err
	case TypeNote:
		v, err := ParseNotes(rest)
		return first(v), err
	case TypeEpoch:
		return ParseEpoch(rest)
	case TypeRecordBegin:
		_, r, err := parseBegin(rest)
		return r, err
	}
	return nil, ErrFrame
}

func first[T any](v []T) any {
	if len(v) != 1 {
		return v
	}
	return v[0]
}

var messages = []any{
	Hello{},
	Hello{
		Node: "web-a", Boot: [16]byte{1, 2}, Epoch: 1 << 60, Role: RoleWitness, InSync: true,
		ConfigDigest: [32]byte{31: 9}, Settings: 1<<63 + 7, Kernel: Kernel{Timestamps: 1, SACK: 1, Scaling: 1, ECN: 2, MTU: 9000},
		Group: "web-a,web-b", Wall: -1, Channel: Bulk, Session: 77, Got: 12, GotBoot: [16]byte{15: 3},
	},
	Hello{Channel: Query, Group: strings.Repeat("g", MaxGroup), Wall: 1 << 62},
	Heartbeat{Seq: 1, Sent: -5, Echo: 1 << 62, EchoDelay: 3, Epoch: 4, Role: RoleBackup, Flags: FlagOwner | FlagLeaving | FlagChosen, Got: 8, Settings: 1<<63 + 9, Settled: 10},
	rewrite.Confirmation{Flow: flow4(1), RcvNxt: 1, Edge: 0xffffffff},
	rewrite.Confirmation{Flow: flow6(2), RcvNxt: 3, Edge: 4, SACK: [3][2]rewrite.Seq{{5, 6}, {7, 8}, {9, 10}}, NSACK: 3},
	StoredItem{Stream: 1 << 40, RecordKey: key(1, 2), Result: ResultStored, RcvNxt: 7, Edge: 8},
	StoredItem{Stream: 1, RecordKey: RecordKey{Flow: flow6(1), Kind: KindInterim, Interim: 2}, Result: ResultFailed},
	FlowNote{Flow: flow6(9), Kind: NoteUnknown, Reason: 255},
	Epoch{Epoch: 3, Against: true, Owner: "web-b"},
	Epoch{Owner: strings.Repeat("x", 255)},
	Record{RecordKey: key(1, 2), Epoch: 9, RequestEnd: 1 << 50, Size: 1 << 62, Close: true},
	Record{RecordKey: RecordKey{Flow: flow6(3), Kind: KindClose}},
	Record{RecordKey: RecordKey{Flow: flow4(3), Index: 7, Kind: KindHandOver, Interim: 3}, RequestEnd: 12},
	Record{RecordKey: RecordKey{Flow: flow6(3), Index: 7, Kind: KindMove, Interim: 4}, RequestEnd: 12, Attempt: 255},
}

func TestMessages(t *testing.T) {
	for _, want := range messages {
		if h, ok := want.(Hello); ok && h.Channel == 0 {
			h.Channel = Control
			want = h
		}
		wire := control(want)
		f, err := NewReader(bytes.NewReader(wire)).Next()
		if err != nil {
			t.Errorf("%+v: %v", want, err)
			continue
		}
		got, err := parse(f.Type, f.Body)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("sent %+v\n got %+v, %v", want, got, err)
		}
		for n := range f.Body { // every truncation is noticed, or leaves whole items only
			if _, err := parse(f.Type, f.Body[:n]); err == nil && n != 8 {
				t.Errorf("%T cut to %d of %d bytes was taken", want, n, len(f.Body))
			} else if err != nil && !errors.Is(err, ErrFrame) {
				t.Errorf("%T cut to %d: %v, want ErrFrame", want, n, err)
			}
		}
		if _, err := parse(f.Type, append(bytes.Clone(f.Body), 0)); !errors.Is(err, ErrFrame) {
			t.Errorf("%T with a byte left over: %v", want, err)
		}
	}
}

func TestReader(t *testing.T) {
	good := Epoch{Epoch: 1}
	for _, tt := range []struct {
		name string
		in   []byte
		want error
	}{
		{"nothing", nil, io.EOF},
		{"part of a header", []byte{Version, 1, 0}, io.ErrUnexpectedEOF},
		{"part of a body", control(good)[:HeaderSize+1], io.ErrUnexpectedEOF},
		{"no body", control(good)[:HeaderSize], io.ErrUnexpectedEOF},
		{"other version", []byte{Version + 1, 1, 0, 0, 0, 0, 0, 0}, ErrVersion},
		{"flags", []byte{Version, 1, 0, 1, 0, 0, 0, 0}, ErrFrame},
		{"longer than allowed", []byte{Version, 1, 0, 0, 0, 0, 0xff, 0xf9}, ErrFrame},
		{"hostile length", []byte{Version, 1, 0, 0, 0xff, 0xff, 0xff, 0xff}, ErrFrame},
		{"longest", append([]byte{Version, 1, 0, 0, 0, 0, 0xff, 0xf8}, make([]byte, MaxBody)...), nil},
	} {
		r := NewReader(bytes.NewReader(tt.in))
		if _, err := r.Next(); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
		if cap(r.buf) > MaxBody {
			t.Errorf("%s: a buffer of %d bytes", tt.name, cap(r.buf))
		}
	}
	var v *VersionError
	if _, err := NewReader(strings.NewReader("GET / HTTP/1.1")).Next(); !errors.As(err, &v) || v.Got != 'G' {
		t.Errorf("another protocol: %v", err)
	}
}

func TestValidFlow(t *testing.T) {
	mixed := flow4(1)
	mixed.Advertised = flow6(1).Advertised
	mapped := flow6(1)
	mapped.Client = netip.MustParseAddrPort("[::ffff:192.0.2.1]:5")
	zoned := flow6(1)
	zoned.Client = netip.MustParseAddrPort("[fe80::1%eth0]:5")
	for _, tt := range []struct {
		id   rewrite.FlowID
		want bool
	}{{flow4(1), true}, {flow6(1), true}, {rewrite.FlowID{}, false}, {mixed, false}, {mapped, false}, {zoned, false}} {
		if got := ValidFlow(tt.id); got != tt.want {
			t.Errorf("ValidFlow(%v) = %v", tt.id, got)
		}
	}
}

// FuzzFrames feeds a stream to both connections' decoders. What parses must encode to the
// same bytes: the format has one form for each message.
func FuzzFrames(f *testing.F) {
	for _, m := range messages {
		f.Add(control(m))
	}
	var b BulkOutbox
	b.Add(Record{RecordKey: key(1, 0), Size: 5}, strings.NewReader("hello"))
	wire, _ := b.Append(nil, batchLimit)
	f.Add(wire)
	f.Fuzz(func(t *testing.T, in []byte) {
		r := NewReader(bytes.NewReader(in))
		bulk := BulkInbox{Open: func(Record) (RecordSink, error) { return &memory{}, nil }}
		defer bulk.Close()
		for {
			fr, err := r.Next()
			if err != nil {
				return
			}
			if _, _, _, err := bulk.Frame(fr); err != nil && !errors.Is(err, ErrFrame) {
				t.Fatalf("bulk: %v", err)
			}
			v, err := parse(fr.Type, fr.Body)
			if err != nil {
				if !errors.Is(err, ErrFrame) {
					t.Fatal(err)
				}
				continue
			}
			again := control(v)
			if len(again) == 0 { // a batch of none or of several
				continue
			}
			got := again[HeaderSize:]
			if fr.Type >= TypeConfirm { // skip the number
				got, fr.Body = got[8:], fr.Body[8:]
			}
			if !bytes.Equal(got, fr.Body) {
				t.Fatalf("%+v encodes to %x, came as %x", v, got, fr.Body)
			}
		}
	})
}
