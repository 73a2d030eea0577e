package proxy

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/ftgw/ftgw/replication"
)

// Whatever the peer sends as parts, noting them neither fails badly nor takes them for more than
// they are.
func FuzzPrefix(f *testing.F) {
	f.Add([]byte("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"), []byte("def"))
	f.Add([]byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"), []byte("3\r\ndef\r\n"))
	f.Add([]byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-3\r\nabc\r\n"), []byte("7fffffffffffffff\r\nd"))
	f.Fuzz(func(t *testing.T, first, second []byte) {
		d := newDepot(t, 1<<20)
		var p *prefix
		for i, b := range [][]byte{first, second} {
			part := d.newSpill()
			part.Write(b)
			p = p.add(part)
			part.release()
			if int(p.parts) != i+1 || p.length < 0 || p.length > int64(len(first)+len(second)) {
				t.Fatalf("%+v", p)
			}
		}
		if p.wrong != nil && p.skip(strings.NewReader(""), &response{status: p.status}, p.framing, 0, io.Discard) == nil {
			t.Error("goes on behind what was not understood")
		}
	})
}

// Whatever the peer says of a deferred reply, the own socket gets no more of it than the client has
// acknowledged, and what was not understood is not gone on with.
func FuzzPassed(f *testing.F) {
	f.Add([]byte("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"), passed{length: 5, acked: 41}.bytes(), passed{length: 9, acked: 1 << 63}.bytes())
	f.Add([]byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"), passed{length: 5}.bytes(), []byte("short"))
	f.Fuzz(func(t *testing.T, first, second, third []byte) {
		d := newDepot(t, 1<<20)
		part := d.newSpill()
		defer part.release()
		part.Write(first)
		p, written := (*prefix)(nil).add(part), uint64(len(first))
		for _, b := range [][]byte{second, third} {
			note, err := parsePassed(b)
			if err == nil && !bytes.Equal(note.bytes(), b) {
				t.Fatalf("%x became %x", b, note.bytes())
			}
			if p = p.pass(note, err, written); p.wrong == nil && (p.length > p.framing || p.end() < written) {
				t.Fatalf("%+v", p)
			}
		}
		reply := &response{status: p.status}
		err := p.skip(strings.NewReader(""), reply, p.framing, written, io.Discard)
		if p.wrong != nil && !errors.Is(err, p.wrong) || p.wrong == nil && p.length > 0 && err == nil {
			t.Errorf("goes on behind what was not understood, or is not there: %+v", p)
		}
	})
}

// A peer whose digests make no sense loses the flow, and the standby's socket gets nothing for them.
func TestPassedNonsense(t *testing.T) {
	for name, notes := range map[string][]passed{
		"longer than the reply": {{length: 101, acked: 1 << 40}},
		"shrinks":               {{length: 50}, {length: 40, acked: 1 << 40}},
	} {
		t.Run(name, func(t *testing.T) {
			standby := newHost(t, Config{}, Standby, &link{})
			c, id := standby.dial(t)
			var got bytes.Buffer
			var read sync.WaitGroup
			read.Go(func() { io.Copy(&got, c) })
			head := "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"
			store := func(kind replication.RecordKind, ordinal uint16, text string) error {
				r := Record{RecordKey: replication.RecordKey{Flow: id, Kind: kind, Interim: ordinal}, Size: int64(len(text))}
				return (&link{peer: standby.Server}).store(t.Context(), r, strings.NewReader(text))
			}
			if err := store(replication.KindPart, 0, head); err != nil {
				t.Fatal(err)
			}
			for i, note := range notes {
				store(replication.KindDigest, uint16(i+1), string(note.bytes()))
			}
			eventually(t, "it is given up", func() bool { return errors.Is(store(replication.KindDigest, 9, string(notes[0].bytes())), ErrNotHeld) })
			read.Wait()
			if got.String() != head {
				t.Errorf("%q", got.String())
			}
		})
	}
	standby := newHost(t, Config{}, Standby, &link{})
	_, id := standby.dial(t)
	if _, err := standby.OpenRecord(Record{RecordKey: replication.RecordKey{Flow: id, Kind: replication.KindDigest}, Size: 7}); err == nil {
		t.Error("a digest of 7 bytes is taken")
	}
}
