package drill

import (
	"fmt"
	"slices"
	"time"

	"github.com/ftgw/ftgw/internal/lab/client"
	"github.com/ftgw/ftgw/internal/lab/webapp"
)

// Outcome is how an exchange ended that was under way when the fault struck.
type Outcome string

// The outcomes.
const (
	Delivered  Outcome = "delivered"   // by the host that had it from the beginning
	Replayed   Outcome = "replayed"    // the dead host executed, the survivor sent its stored reply
	Executed   Outcome = "executed"    // by the survivor, for the first time
	Reexecuted Outcome = "re-executed" // by the dead host, whose reply was not stored, and by the survivor
	Refused    Outcome = "refused"     // an error reply
	Failed     Outcome = "failed"      // anything else: reset, hang, wrong bytes
)

// Outcomes lists them in the order in which they are told.
func Outcomes() []Outcome {
	return []Outcome{Delivered, Replayed, Executed, Reexecuted, Refused, Failed}
}

// Exchange is one that was interrupted.
type Exchange struct {
	ID       string   `json:"id"`
	Outcome  Outcome  `json:"outcome"`
	Executed []string `json:"executed_on"` // hosts, in order
	PauseMS  float64  `json:"pause_ms"`
}

// interrupted classifies the exchanges that were under way at the first fault. dead is the
// name of the host that executed then and died; empty: it lives. resumed is when the survivor
// claimed.
func interrupted(results []client.Result, runs map[string][]webapp.Entry, struck time.Time, dead string, resumed time.Time) []Exchange {
	var out []Exchange
	for _, x := range results {
		if struck.IsZero() || x.Start.After(struck) || x.End.Before(struck) {
			continue
		}
		e := Exchange{ID: x.ID, PauseMS: ms(x.Pause)}
		for _, run := range runs[x.ID] {
			e.Executed = append(e.Executed, run.Host)
		}
		e.Outcome = outcomeOf(x, e.Executed, dead, resumed)
		out = append(out, e)
	}
	return out
}

func outcomeOf(x client.Result, hosts []string, dead string, resumed time.Time) Outcome {
	switch {
	case x.Failure == client.BadState:
		return Refused
	case !x.OK():
		return Failed
	case len(hosts) > 1:
		return Reexecuted
	case dead == "" || x.End.Before(resumed):
		return Delivered
	case len(hosts) == 1 && hosts[0] == dead:
		return Replayed
	default:
		return Executed
	}
}

// executions groups the journals by request, oldest first.
func executions(journals []webapp.Entry) map[string][]webapp.Entry {
	runs := make(map[string][]webapp.Entry)
	for _, e := range journals {
		runs[e.ID] = append(runs[e.ID], e)
	}
	return runs
}

// once finds requests that were executed again although their reply was stored. A reply that
// was stored is replayed, so the client then has that of the first execution; of a request
// that was rightly executed again it has the last.
func once(results []client.Result, runs map[string][]webapp.Entry) (faults []string) {
	const most = 5
	for _, x := range results {
		if !x.OK() {
			continue
		}
		all := runs[x.ID]
		at := slices.IndexFunc(all, func(e webapp.Entry) bool { return e.Execution == x.Execution })
		if at < 0 || at != len(all)-1 {
			faults = append(faults, fmt.Sprintf("one reply (I4): %s has the reply of execution %d of %d", x.ID, at+1, len(all)))
		}
	}
	if n := len(faults); n > most {
		faults = append(faults[:most:most], fmt.Sprintf("one reply (I4): and %d more", n-most))
	}
	return faults
}
