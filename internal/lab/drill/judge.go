package drill

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ftgw/ftgw/internal/lab"
	"github.com/ftgw/ftgw/internal/lab/oracle"
	"github.com/ftgw/ftgw/internal/lab/webapp"
)

// strict are the rules unless a scenario says otherwise.
func strict() Rules { return Rules{Whole: true, Once: true, NoReset: true, Input: true, Switches: 1} }

// judge ends the captures, collects what was seen and returns the round's result. played is
// the error of Run.
func (r *Round) judge(ctx context.Context, w *watch, played error) RoundResult {
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
	claimed, err := r.survivors(ctx, &out)
	fail(err)

	runs := executions(seen.Journals)
	seen.Interrupted = r.interrupted(seen.Results, runs, claimed)
	out.Interrupted = seen.Interrupted
	out.Outcomes = make(map[Outcome]int)
	for _, e := range out.Interrupted {
		out.Outcomes[e.Outcome]++
	}
	if r.Rules.Once {
		out.Reasons = append(out.Reasons, r.Setting.promise().once(seen.Results, runs)...)
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
func (r *Round) invariants(seen Seen, claimed map[*Service]time.Time, fail func(error)) {
	for _, s := range r.Services {
		if r.Rules.Switches >= 0 {
			fail(oracle.OneVoice(seen.Wire, s.At, r.Rules.Switches))
		}
		if r.Rules.NoReset {
			fail(oracle.NoReset(seen.Wire, s.At))
		}
		if r.Rules.Input {
			fail(oracle.InputCommit(seen.Handed, seen.Wire, s.At, claimed[s]).Err)
		}
	}
}

// answerWait is how long a node may take to say what it did: a claim that it does not tell would be
// missed by the oracles. Only one that stands still takes so long, on a machine that does as well.
const answerWait = 5 * time.Second

// survivors adds what the nodes counted in this round, and returns when the first claim of it
// was decided, by service.
func (r *Round) survivors(ctx context.Context, out *RoundResult) (claimed map[*Service]time.Time, err error) {
	claimed = make(map[*Service]time.Time)
	both, alive := uint64(0), false
	for _, h := range []*lab.Host{r.A, r.B} {
		if h.Crashed() || h == r.dead {
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, answerWait)
		st, bad := h.Status(ctx)
		cancel()
		if bad != nil {
			continue // it died as well, or stands still
		}
		all := byName(st)
		for _, w := range st.Warnings {
			if strings.Contains(w, fmt.Sprintf("the %s route", r.Setting.mode())) {
				err = errors.Join(err, fmt.Errorf("%s warns: %s", h.Name, w))
			}
		}
		for _, v := range r.Services {
			s, was := all[v.Name], r.before[h.Node()][v.Name] // zero if it was started since
			n := Survivor{Node: h.Name, Service: v.Name, Role: s.Role, Replayed: s.Exchanges.Replayed - was.Exchanges.Replayed,
				Reexecuted: s.Exchanges.Reexecuted - was.Exchanges.Reexecuted, Failed: s.Exchanges.Failed - was.Exchanges.Failed}
			if t := s.LastTakeover; t != nil && t.At.After(r.begin) {
				n.Takeover = t
				n.ClaimMS = ms(t.At.Sub(r.struck))
				if first, ok := claimed[v]; !ok || t.At.Before(first) {
					claimed[v] = t.At
				}
			}
			out.Survivors = append(out.Survivors, n)
			alive, both = true, both+mirrored(s)-mirrored(was)
		}
	}
	for _, s := range r.Services {
		if _, known := claimed[s]; !known && r.dead == s.Backup {
			claimed[s] = r.struck // who claimed has died as well
		}
	}
	if r.Setting.promise().mirrored && alive && both == 0 && len(r.Report.Results()) > 0 {
		err = errors.Join(err, fmt.Errorf("no exchange was in %v", r.Setting)) // and nothing was shown
	}
	return claimed, err
}

func (r *Round) injections() []Injection {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.injected)
}
