package drill

import (
	"time"

	"github.com/ftgw/ftgw/internal/lab/capture"
	"github.com/ftgw/ftgw/internal/lab/client"
)

// Phase is how far one exchange had come at a moment, in bytes of its connection as the wire
// between the hosts and the router shows them.
type Phase struct {
	Request int64 // length of the whole request
	Sent    int64 // of it, by the client
	Acked   int64 // of it, to the client
	Replied int64 // bytes of the reply sent to the client
}

// PhaseOf returns the phase at a moment of the request that has the id; its connection was
// quiet before.
func (s *Seen) PhaseOf(id string, at time.Time) (p Phase) {
	var asked client.Result
	for _, x := range s.Results {
		if x.ID == id {
			asked = x
		}
	}
	var begun, replies capture.Segment
	for _, g := range s.Wire {
		from, to := g.Src.String(), g.Dst.String()
		if from == asked.Local && to == asked.Target && g.Len > 0 && !g.Time.Before(asked.Start) && !g.Time.After(asked.End) {
			if begun.Len == 0 {
				begun, replies = g, g
			}
			n := int64(g.End().Since(begun.Seq))
			p.Request = max(p.Request, n)
			if !g.Time.After(at) {
				p.Sent = max(p.Sent, n)
			}
		}
		if from == asked.Target && to == asked.Local && begun.Len > 0 && !g.Time.After(at) {
			if g.Ack.After(begun.Seq) {
				p.Acked = max(p.Acked, int64(g.Ack.Since(begun.Seq)))
			}
			if g.Len > 0 && g.End().After(replies.Ack) {
				p.Replied = max(p.Replied, int64(g.End().Since(replies.Ack)))
			}
		}
	}
	return p
}

func (p Phase) incomplete() bool { return p.Sent < p.Request }
func (p Phase) unacked() bool    { return p.Sent == p.Request && p.Acked < p.Request }
func (p Phase) known() bool      { return p.Acked == p.Request }
func (p Phase) acked() bool      { return p.known() && p.Replied == 0 }
