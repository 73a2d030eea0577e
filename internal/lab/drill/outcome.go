package drill

import (
	"fmt"
	"slices"
	"strings"
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

// mirror marks an execution by the backup's web server beside the primary's.
const mirror = " (mirror)"

// firstAttempt is what a web server is told of a request that none was asked before.
const firstAttempt = "1"

// Exchange is one that was interrupted.
type Exchange struct {
	ID       string   `json:"id"`
	Outcome  Outcome  `json:"outcome"`
	Executed []string `json:"executed_on"` // hosts, in order
	PauseMS  float64  `json:"pause_ms"`
}

// interrupted classifies the exchanges that were under way at the first fault. claimed is when the
// survivor claimed their service.
func (r *Round) interrupted(results []client.Result, runs map[string][]webapp.Entry, claimed map[*Service]time.Time) []Exchange {
	var out []Exchange
	for _, x := range results {
		if r.struck.IsZero() || x.Start.After(r.struck) || x.End.Before(r.struck) {
			continue
		}
		s := r.service(x.Target)
		if s == nil {
			s = r.Services[0] // it had no connection
		}
		e := Exchange{ID: x.ID, PauseMS: ms(x.Pause)}
		for _, run := range runs[x.ID] {
			host := run.Host
			if r.Setting.promise().mirrored && host == s.Backup.Name && run.Attempt == firstAttempt {
				host += mirror
			}
			e.Executed = append(e.Executed, host)
		}
		dead := ""
		if r.dead == s.Primary {
			dead = s.Primary.Name
		}
		e.Outcome = outcomeOf(x, e.Executed, dead, claimed[s])
		out = append(out, e)
	}
	return out
}

// outcomeOf classifies an exchange that was executed on these hosts. What the backup's web server
// executes so that the replies can be compared does not count. dead is the name of the host that
// executed and died; empty: it lives.
func outcomeOf(x client.Result, executed []string, dead string, resumed time.Time) Outcome {
	hosts := slices.DeleteFunc(slices.Clone(executed), func(h string) bool { return strings.HasSuffix(h, mirror) })
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

// once finds requests that were executed again although their reply was stored, or for no reason:
//
//   - The client has the reply of the last execution. A reply that was stored is replayed, so the
//     client then has that of the first execution; of a request that was rightly executed again it
//     has the last. Where the backup's web server mirrors what is attempted first, either may come
//     last of that; where all replies are the same it is any.
//   - A host makes each attempt once, and a first attempt is one host's, unless it is mirrored. (The
//     hosts may call their executions by the same later attempt, as neither knows of the other's.)
//   - All have the same transaction ID.
func (p promise) once(results []client.Result, runs map[string][]webapp.Entry) (faults []string) {
	const most = 5
	for _, x := range results {
		if !x.OK() {
			continue
		}
		if why := p.onceOnly(x, runs[x.ID]); why != "" {
			faults = append(faults, fmt.Sprintf("one reply (I4): %s %s", x.ID, why))
		}
	}
	if n := len(faults); n > most {
		faults = append(faults[:most:most], fmt.Sprintf("one reply (I4): and %d more", n-most))
	}
	return faults
}

// again reports whether a request may have been executed after its reply had begun to go out.
func (p promise) again(x client.Result) bool { return p.unlogged != nil && p.unlogged(x) }

func (p promise) onceOnly(x client.Result, all []webapp.Entry) string {
	type try struct{ host, attempt string }
	tried, firsts, latest := make(map[try]int), 0, -1
	for i, e := range all {
		if tried[try{e.Host, e.Attempt}]++; tried[try{e.Host, e.Attempt}] > 1 {
			return fmt.Sprintf("was executed twice by %s as attempt %s", e.Host, e.Attempt)
		}
		if e.Attempt == firstAttempt {
			firsts++
		}
		if e.Key != all[0].Key {
			return fmt.Sprintf("was asked for under the transaction IDs %s and %s", all[0].Key, e.Key)
		}
		if e.Attempt != firstAttempt || !p.mirrored {
			latest = i
		}
	}
	at := slices.IndexFunc(all, func(e webapp.Entry) bool { return e.Execution == x.Execution })
	switch {
	case at < 0 || latest >= 0 && at != latest && !p.again(x):
		return fmt.Sprintf("has the reply of execution %d of %d", at+1, len(all))
	case firsts > 1 && !p.mirrored:
		return fmt.Sprintf("was executed %d times as the first attempt", firsts)
	}
	return ""
}
