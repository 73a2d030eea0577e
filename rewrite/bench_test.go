package rewrite

import (
	"strings"
	"testing"
	"time"
)

// The benchmarks take one packet of 1460 bytes of an established connection all the way that
// the packet layer takes it, from parsing to the sealed checksum. What they alter they take
// from a fresh copy each time, as the kernel would give it; copying is part of the figure.
var payload = strings.Repeat("x", 1460-20-20-12)

// benchmark runs decide on fresh copies of a packet and fails unless the outcome is wanted.
func benchmark(b *testing.B, h *side, packet []byte, decide func(s *Segment), wanted func(o *Outcome) bool) {
	work := make([]byte, len(packet))
	var s Segment // here, since decide makes it escape
	b.SetBytes(int64(len(packet)))
	b.ReportAllocs()
	for b.Loop() {
		copy(work, packet)
		var why Reason
		if s, why = ParseSegment(work); why != OK {
			b.Fatal(why)
		}
		decide(&s)
	}
	if !wanted(&h.o) {
		b.Fatalf("not what this benchmark is about: %+v", h.o)
	}
}

// BenchmarkInbound is a client's segment: on the backup, which receives it for its own kernel
// and clones it, and on the primary, which gets the clone. The checksum is verified as well.
func BenchmarkInbound(b *testing.B) {
	for _, verify := range []struct {
		name string
		yes  bool
	}{{"", false}, {"/verify", true}} {
		run := func(name string, pick func(p, b *side) *side, cloned, clones bool) {
			b.Run(name+verify.name, func(b *testing.B) {
				primary, backup := pair(b)
				iss, stamp := connect(b, primary, backup)
				packet := client(clientISN+1, iss+1, ACK|PSH, stamp, payload)
				if cloned {
					backup.in(packet)
					packet = append([]byte(nil), backup.o.Clone...)
				}
				h := pick(primary, backup)
				benchmark(b, h, packet,
					func(s *Segment) { h.table.Inbound(s, verify.yes, *h.now, &h.o) },
					func(o *Outcome) bool { return o.Accept && (o.Clone != nil) == clones })
			})
		}
		run("backup", func(_, b *side) *side { return b }, false, true)
		run("primary", func(p, _ *side) *side { return p }, true, false)
	}
}

// BenchmarkOutbound is a segment of a reply as the local kernel sends it: on the primary,
// which speaks, and on the backup, whose kernel sends the same in vain. With a partial
// checksum the speaker computes a full one, as for all the kernel's own packets on hardware
// that would have done so.
func BenchmarkOutbound(b *testing.B) {
	run := func(name string, pick func(p, b *side) *side, partial, accept bool) {
		b.Run(name, func(b *testing.B) {
			primary, backup := pair(b)
			connect(b, primary, backup)
			h := pick(primary, backup)
			packet := AppendSegment(nil, Header{Src: advertised, Dst: clientEnd, Seq: h.iss + 1, Ack: clientISN + 1,
				Flags: ACK, Window: 128, WScale: -1, HasTS: true, TSVal: h.stamp, TSEcr: 51}, []byte(payload))
			now := time.Second
			benchmark(b, h, packet,
				func(s *Segment) { now += time.Microsecond; h.table.Outbound(s, partial, now, &h.o) },
				func(o *Outcome) bool { return o.Accept == accept })
		})
	}
	run("speaker", func(p, _ *side) *side { return p }, false, true)
	run("speaker/partial", func(p, _ *side) *side { return p }, true, true)
	run("backup", func(_, b *side) *side { return b }, false, false)
}

// TestEstablishedSegmentsDoNotAllocate: what a benchmark shows to a reader, a machine checks.
func TestEstablishedSegmentsDoNotAllocate(t *testing.T) {
	primary, backup := pair(t)
	iss, stamp := connect(t, primary, backup)
	in := client(clientISN+1, iss+1, ACK|PSH, stamp, payload)
	backup.in(in)
	clone := append([]byte(nil), backup.o.Clone...)
	out := func(h *side) []byte {
		return AppendSegment(nil, Header{Src: advertised, Dst: clientEnd, Seq: h.iss + 1, Ack: clientISN + 1,
			Flags: ACK, Window: 128, WScale: -1, HasTS: true, TSVal: h.stamp, TSEcr: 51}, []byte(payload))
	}
	work := make([]byte, len(in))
	for _, c := range []struct {
		name    string
		host    *side
		packet  []byte
		inbound bool
	}{
		{"received by the backup", backup, in, true},
		{"cloned to the primary", primary, clone, true},
		{"spoken by the primary", primary, out(primary), false},
		{"sent in vain by the backup", backup, out(backup), false},
	} {
		n := testing.AllocsPerRun(100, func() {
			s, why := ParseSegment(append(work[:0], c.packet...))
			if why != OK {
				t.Fatal(why)
			}
			if c.inbound {
				c.host.table.Inbound(&s, true, *c.host.now, &c.host.o)
			} else {
				c.host.table.Outbound(&s, true, *c.host.now, &c.host.o)
			}
		})
		if n != 0 {
			t.Errorf("%s: %v allocations", c.name, n)
		}
	}
}
