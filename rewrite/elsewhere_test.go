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
