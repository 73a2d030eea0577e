package rewrite

import (
	"testing"
	"time"
)

// A newcomer learns which connections the survivor holds alone, and makes their clients say
// where they are when it dies: the answer gets the RST.
func TestClientsOfTheDeadSurvivorAreAsked(t *testing.T) {
	p, b := pair(t)
	iss, stamp := connect(t, p, b)
	b.table.Survive(advertised, *b.now, func(*Outcome) {})

	newcomer, _ := pair(t)
	newcomer.table.SetStance(advertised, Stance{Serve: true, Duplex: true})
	told := 0
	b.table.Alone(advertised, func(o *Outcome) {
		for _, n := range o.Notes {
			told++
			newcomer.table.Noted(n, *b.now, &newcomer.o)
		}
	})
	if told != 1 {
		t.Fatalf("told of %d flows", told)
	}
	var asked []*Segment
	survive := func() {
		asked = nil
		newcomer.table.SetStance(advertised, Stance{Serve: true, Speak: true})
		newcomer.table.Survive(advertised, *b.now, func(o *Outcome) {
			for _, x := range o.ToClient {
				s := parse(t, append([]byte(nil), x...))
				asked = append(asked, &s)
			}
		})
	}
	*b.now += time.Minute
	survive()
	if len(asked) != 1 || asked[0].Seq() != iss || asked[0].Flags() != ACK || asked[0].Dst() != clientEnd {
		t.Fatalf("asked: %v", asked)
	}
	newcomer.in(client(clientISN+1, iss+1000, ACK, stamp, ""))
	if rst := parse(t, newcomer.o.ToClient[0]); !rst.Flags().Has(RST) || rst.Seq() != iss+1000 {
		t.Errorf("the answer got %v at %d", rst.Flags(), rst.Seq())
	}
	if survive(); len(asked) != 0 {
		t.Error("asked again")
	}
}

// A pair whose flows are all in duplex has nothing to tell.
func TestAloneLeavesDuplexFlowsOut(t *testing.T) {
	p, b := pair(t)
	connect(t, p, b)
	p.table.Alone(advertised, func(*Outcome) { t.Error("told of a duplex flow") })
}

// Where a connection that this host held alone ends otherwise than by its socket's end, the peer, who
// would count it as lost for ever, is told as well.
func TestEndOfALoneFlowIsTold(t *testing.T) {
	for name, end := range map[string]func(h *side) (told []Note){
		"its handshake came to nothing": func(h *side) (told []Note) {
			*h.now += halfOpenLife + time.Second
			h.table.Expire(*h.now, func(o *Outcome) { told = append(told, o.Notes...) })
			return told
		},
		"it gave way to a newer handshake": func(h *side) []Note {
			h.table.limits.HalfOpen = 1
			*h.now += patience
			h.in(AppendSegment(nil, Header{Src: secondClient, Dst: advertised, Seq: 7, Flags: SYN, Window: 500, MSS: 1460, WScale: -1}, nil))
			return h.o.Notes
		},
		"the client began anew": func(h *side) []Note {
			h.in(client(clientISN+5000, 0, SYN, 0, ""))
			h.out(Header{Seq: 4711, Ack: clientISN + 5001, Flags: SYN | ACK, Window: 65160, MSS: 1460, WScale: 9}, "")
			return h.o.Notes
		},
		"it was reset": func(h *side) []Note {
			h.table.Reset(h.only(), *h.now, &h.o)
			return h.o.Notes
		},
	} {
		h, peer := pair(t)
		h.table.SetStance(advertised, Stance{Serve: true, Speak: true})
		h.in(client(clientISN, 0, SYN, 0, ""))
		h.synAck()
		h.table.SetStance(advertised, Stance{Serve: true, Duplex: true, Speak: true})
		h.table.Alone(advertised, func(o *Outcome) { peer.table.Noted(o.Notes[0], *peer.now, &peer.o) })
		if n := peer.table.Count(advertised).Elsewhere; n != 1 {
			t.Fatalf("%s: %d flows elsewhere", name, n)
		}
		for _, n := range end(h) {
			peer.table.Noted(n, *peer.now, &peer.o)
		}
		if n := peer.table.Count(advertised).Elsewhere; n != 0 {
			t.Errorf("%s: the peer still counts it", name)
		}
	}
}
