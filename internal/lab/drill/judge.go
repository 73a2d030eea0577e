package drill

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/ftgw/ftgw/internal/lab"
	"github.com/ftgw/ftgw/internal/lab/capture"
	"github.com/ftgw/ftgw/internal/lab/oracle"
	"github.com/ftgw/ftgw/internal/lab/webapp"
)

// strict are the rules unless a scenario says otherwise.
func strict() Rules { return Rules{Whole: true, Once: true, NoReset: true, Input: true, Switches: 1} }

// judge ends the captures, collects what was seen and returns the round's result. played is
// the error of Run.
func (r *Round) judge(ctx context.Context, w *watch, before map[*lab.Host]lab.ServiceStatus, played error) RoundResult {
	out := RoundResult{Round: r.Number, Client: r.Report.Summary(), Injected: r.injections()}
	missed := 0
	fail := func(err error) {
		if err != nil {
			out.Reasons = append(out.Reasons, err.Error())
		}
		if errors.Is(err, ErrMissed) {
			missed++
		}
	}
	fail(played)
	seen := Seen{Results: r.Report.Results()}
	fail(w.stop(&seen))
	seen.Wire = r.genuine(seen.Wire)
	for _, h := range []*lab.Host{r.A, r.B} {
		entries, err := webapp.ReadJournal(h.JournalPath())
		fail(err)
		seen.Journals = append(seen.Journals, entries...)
	}
	slices.SortStableFunc(seen.Journals, func(a, b webapp.Entry) int { return a.Time.Compare(b.Time) })
	claimed := r.survivors(ctx, before, &out)

	runs := executions(seen.Journals)
	executor := ""
	if r.dead == r.Primary && r.dead != nil {
		executor = r.dead.Name
	}
	seen.Interrupted = interrupted(seen.Results, runs, r.struck, executor, claimed)
	out.Interrupted = seen.Interrupted
	out.Outcomes = make(map[Outcome]int)
	for _, e := range out.Interrupted {
		out.Outcomes[e.Outcome]++
	}
	if r.Rules.Once {
		out.Reasons = append(out.Reasons, once(seen.Results, runs)...)
	}
	if r.Rules.Whole {
		fail(r.Report.Err())
	}
	r.invariants(seen, claimed, fail)
	for _, check := range r.checks {
		fail(check(&seen))
	}
	out.Injected = r.injections() // with what the checks remarked
	out.Passed = len(out.Reasons) == 0
	out.missed = missed > 0 && missed == len(out.Reasons)
	return out
}

// invariants judges the captures.
func (r *Round) invariants(seen Seen, claimed time.Time, fail func(error)) {
	if r.Rules.Switches >= 0 {
		fail(oracle.OneVoice(seen.Wire, advertised, r.Rules.Switches))
	}
	if r.Rules.NoReset {
		fail(oracle.NoReset(seen.Wire, advertised))
	}
	if r.Rules.Input {
		fail(oracle.InputCommit(seen.Handed, seen.Wire, advertised, claimed).Err)
	}
}

// survivors adds what the nodes counted in this round, and returns when the first claim of it
// was decided.
func (r *Round) survivors(ctx context.Context, before map[*lab.Host]lab.ServiceStatus, out *RoundResult) (claimed time.Time) {
	for _, h := range []*lab.Host{r.A, r.B} {
		if h.Crashed() || h == r.dead {
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		st, err := h.Status(ctx)
		cancel()
		if err != nil || len(st.Services) == 0 {
			continue // it died as well, or stands still
		}
		s, was := st.Services[0], before[h]
		n := Survivor{Node: h.Name, Role: s.Role, Replayed: s.Exchanges.Replayed - was.Exchanges.Replayed,
			Reexecuted: s.Exchanges.Reexecuted - was.Exchanges.Reexecuted, Failed: s.Exchanges.Failed - was.Exchanges.Failed}
		if t := s.LastTakeover; t != nil && t.At.After(r.begin) {
			n.Takeover = t
			n.ClaimMS = ms(t.At.Sub(r.struck))
			if claimed.IsZero() || t.At.Before(claimed) {
				claimed = t.At
			}
		}
		out.Survivors = append(out.Survivors, n)
	}
	return claimed
}

func (r *Round) injections() []Injection {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.injected)
}

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
	at0, local, end := time.Time{}, "", time.Time{}
	for _, x := range s.Results {
		if x.ID == id {
			at0, local, end = x.Start, x.Local, x.End
		}
	}
	var begun, replies capture.Segment
	for _, g := range s.Wire {
		if g.Src.String() == local && g.Len > 0 && !g.Time.Before(at0) && !g.Time.After(end) {
			if begun.Len == 0 {
				begun, replies = g, g
			}
			n := int64(g.End().Since(begun.Seq))
			p.Request = max(p.Request, n)
			if !g.Time.After(at) {
				p.Sent = max(p.Sent, n)
			}
		}
		if g.Dst.String() == local && begun.Len > 0 && !g.Time.After(at) {
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
