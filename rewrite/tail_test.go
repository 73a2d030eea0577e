package rewrite

import (
	"strings"
	"testing"
)

// A lone segment of a reply that neither kernel's host let out in the moment of a switchover, or
// that died with the peer, goes out with the voice, once; what the client has is not sent again, and
// of a flight of several the kernel's own timer takes care.
func TestLoneSegmentGoesOutWithTheVoice(t *testing.T) {
	for _, c := range []struct {
		what   string
		replay func(p, b *side, iss Seq, stamp uint32)
		want   bool
	}{
		{"nothing sent", func(p, b *side, iss Seq, stamp uint32) {}, false},
		{"stored and unsent", func(p, b *side, iss Seq, stamp uint32) { b.kernel(0, clientISN+1, "reply") }, true},
		{"acknowledged", func(p, b *side, iss Seq, stamp uint32) {
			b.kernel(0, clientISN+1, "reply")
			b.in(client(clientISN+1, iss+6, ACK, stamp, ""))
		}, false},
		{"acknowledged in part", func(p, b *side, iss Seq, stamp uint32) {
			b.kernel(0, clientISN+1, "reply")
			b.in(client(clientISN+1, iss+3, ACK, stamp, ""))
		}, false},
		{"the next one", func(p, b *side, iss Seq, stamp uint32) {
			b.kernel(0, clientISN+1, "first")
			b.in(client(clientISN+1, iss+6, ACK, stamp, ""))
			b.kernel(5, clientISN+1, "reply")
		}, true},
		{"a long one", func(p, b *side, iss Seq, stamp uint32) { b.kernel(0, clientISN+1, strings.Repeat("reply", 400)) }, false},
	} {
		for way, voice := range map[string]func(b *side, emit func(*Outcome)){
			"switchover": func(b *side, emit func(*Outcome)) { b.table.Speak(advertised, *b.now, emit) },
			"takeover":   func(b *side, emit func(*Outcome)) { b.table.Survive(advertised, *b.now, emit) },
		} {
			p, b := pair(t)
			iss, stamp := connect(t, p, b)
			c.replay(p, b, iss, stamp)
			for again := range 2 {
				got := 0
				voice(b, func(o *Outcome) {
					for _, packet := range o.ToClient {
						s := parse(t, packet)
						if s.PayloadLen() == 0 {
							continue
						}
						if got++; string(s.Payload()) != "reply" {
							t.Errorf("%s, %s: sent %q", c.what, way, s.Payload())
						}
					}
				})
				if want := c.want && again == 0; (got == 1) != want || got > 1 {
					t.Errorf("%s, %s, time %d: %d segments with payload, want %v", c.what, way, again+1, got, want)
				}
			}
		}
	}
}

// Of a flow that the peer alone holds from now on nothing is kept to be sent.
func TestNoTailOfARelayedFlow(t *testing.T) {
	p, b := pair(t)
	connect(t, p, b)
	b.kernel(0, clientISN+1, "reply")
	id := simplex(t, p, b)
	if f := b.table.find(id); f.tail != nil {
		t.Errorf("%d bytes are kept", cap(f.tail))
	}
}
