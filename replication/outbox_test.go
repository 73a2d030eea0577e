package replication

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/ftgw/ftgw/rewrite"
)

// said renders the frames of wire: type letter, number, items.
func said(t *testing.T, wire []byte) string {
	t.Helper()
	var out []string
	r := NewReader(bytes.NewReader(wire))
	for {
		f, err := r.Next()
		if err != nil {
			return strings.Join(out, " ")
		}
		if f.Type == TypeHeartbeat {
			h, _ := ParseHeartbeat(f.Body)
			out = append(out, fmt.Sprintf("beat%d", h.Seq))
			continue
		}
		n, rest, err := Number(f.Body)
		if err != nil {
			t.Fatal(err)
		}
		s := ""
		switch f.Type {
		case TypeConfirm:
			s = "confirm"
			cs, _ := ParseConfirms(nil, rest)
			for _, c := range cs {
				s += fmt.Sprintf(",%d:%d-%d", c.Flow.Client.Port(), c.RcvNxt, c.Edge)
				if c.NSACK > 0 {
					s += "s"
				}
			}
		case TypeStored:
			s = "stored"
			items, _ := ParseStored(nil, rest)
			for _, i := range items {
				s += fmt.Sprintf(",%d", i.Stream)
			}
		case TypeNote:
			s = "note"
			notes, _ := ParseNotes(rest)
			for _, n := range notes {
				s += fmt.Sprintf(",%d", n.Reason)
			}
		case TypeEpoch:
			e, _ := ParseEpoch(rest)
			s = fmt.Sprintf("epoch,%d", e.Epoch)
		case TypeLeave:
			s = "leave"
		}
		out = append(out, fmt.Sprintf("%d=%s", n, s))
	}
}

func conf(port uint16, nxt, edge rewrite.Seq, sack bool) rewrite.Confirmation {
	c := rewrite.Confirmation{Flow: flow4(port), RcvNxt: nxt, Edge: edge}
	if sack {
		c.NSACK = 1
	}
	return c
}

func TestOutbox(t *testing.T) {
	var o Outbox
	step := func(want string, do func()) {
		t.Helper()
		do()
		if got := said(t, o.Append(nil, batchLimit)); got != want {
			t.Errorf("said %q, want %q", got, want)
		}
		if !o.Empty() {
			t.Error("not empty after all is said")
		}
	}
	step("", func() {})
	step("beat2 0=epoch,4 1=leave 2=confirm,1:5-9 3=stored,7 4=note,1,2", func() {
		o.Note(FlowNote{Flow: flow4(1), Kind: NoteClosed, Reason: 1})
		o.Note(FlowNote{Flow: flow4(1), Kind: NoteClosed, Reason: 2})
		o.Stored(StoredItem{Stream: 7, RecordKey: key(1, 0), Result: ResultStored})
		o.Confirm(conf(1, 5, 9, false))
		o.Leave()
		o.Epoch(Epoch{Epoch: 4})
		o.Beat(Heartbeat{Seq: 1})
		o.Beat(Heartbeat{Seq: 2})
	})
	step("5=confirm,1:8-20,2:1-2,1:8-20s,1:8-20s,1:9-20", func() {
		o.Confirm(conf(1, 8, 10, false))
		o.Confirm(conf(2, 1, 2, false))
		o.Confirm(conf(1, 7, 20, false)) // late, but with more room
		o.Confirm(conf(1, 8, 20, true))
		o.Confirm(conf(1, 8, 20, true))
		o.Confirm(conf(1, 9, 20, false))
	})
	// The peer has all below 4; the connection breaks; a heartbeat is not repeated.
	step("4=note,1,2 5=confirm,1:8-20,2:1-2,1:8-20s,1:8-20s,1:9-20 6=confirm,3:1-1", func() {
		o.Got(4)
		o.Beat(Heartbeat{Seq: 3})
		o.Confirm(conf(3, 1, 1, false))
		o.Restart(2) // what the hello says may be older than a heartbeat
	})
	step("6=confirm,3:1-1 7=epoch,5", func() {
		o.Epoch(Epoch{Epoch: 5})
		o.Restart(6)
	})
	step("8=epoch,6", func() { o.Got(1 << 60); o.Epoch(Epoch{Epoch: 6}) })
	step("9=epoch,8", func() {
		o.Epoch(Epoch{Epoch: 7})
		o.Reset()
		o.Restart(0)
		o.Epoch(Epoch{Epoch: 8})
	})
	step("", func() { o.Confirm(rewrite.Confirmation{}); o.Note(FlowNote{}) })
	if o.Dropped != 2 {
		t.Errorf("dropped %d, want 2", o.Dropped)
	}
}

// TestOutboxUnderLoad says much to a peer that takes little: batches stay near their limit,
// kinds take turns, and memory stays bounded while nothing is acknowledged.
func TestOutboxUnderLoad(t *testing.T) {
	var o Outbox
	latest := map[uint16]rewrite.Seq{}
	var wire []byte
	for i := range 200_000 {
		p := uint16(i%500 + 1)
		latest[p] = rewrite.Seq(i)
		o.Confirm(conf(p, rewrite.Seq(i), rewrite.Seq(i), i%7 == 0))
		o.Stored(StoredItem{Stream: uint64(i), RecordKey: key(p, 0), Result: ResultStored})
		if i%100 == 0 {
			n := len(wire)
			if wire = o.Append(wire, n+4096); len(wire)-n > 4096+controlBody+200 {
				t.Fatalf("a batch of %d bytes", len(wire)-n)
			}
		}
	}
	if len(o.kept) > maxKept+4*controlBody || o.confirms.len() > maxConfirms+500 || o.stored.len() > maxWaiting || len(o.newest) > 500 {
		t.Errorf("kept %d, waiting %d confirmations, %d stored", len(o.kept), o.confirms.len(), o.stored.len())
	}
	for !o.Empty() || o.waiting() {
		wire = o.Append(wire, len(wire)+batchLimit)
		o.Got(o.next)
	}
	r, want := NewReader(bytes.NewReader(wire)), uint64(0)
	for {
		f, err := r.Next()
		if err != nil {
			break
		}
		n, rest, _ := Number(f.Body)
		if n != want {
			t.Fatalf("number %d, want %d", n, want)
		}
		want++
		if f.Type == TypeConfirm {
			cs, _ := ParseConfirms(nil, rest)
			for _, c := range cs {
				if p := c.Flow.Client.Port(); latest[p] == c.RcvNxt {
					delete(latest, p)
				}
			}
		}
	}
	if len(latest) > 0 || len(o.newest) > 0 {
		t.Errorf("newest confirmation of %d flows never said; %d left", len(latest), len(o.newest))
	}
}

func BenchmarkOutboxConfirm(b *testing.B) {
	var o Outbox
	var buf []byte
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		o.Confirm(conf(uint16(i%64+1), rewrite.Seq(i), rewrite.Seq(i), false))
		if i%128 == 0 {
			buf = o.Append(buf[:0], batchLimit)
			o.Got(o.next)
		}
	}
}
