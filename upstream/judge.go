package upstream

import "time"

// Verdict is what is known of the upstream.
type Verdict uint8

// The verdicts.
const (
	Unknown   Verdict = iota // not enough checks yet
	Healthy                  // it answers
	Unhealthy                // it failed Fall checks in a row
)

// String returns the word of the status for it.
func (v Verdict) String() string { return [...]string{"unknown", "healthy", "unhealthy"}[v] }

// State is a verdict with its reason in words, fit to be shown, and the time of its change.
type State struct {
	Verdict Verdict
	Reason  string
	Since   time.Time // zero while Unknown
}

// judge makes verdicts of checks. It is pure: time comes in as an argument.
//
//	         a good check            fall bad ones in a row
//	unknown ──────────────► healthy ◄───────────────────────► unhealthy
//	    └───────────────────────────────────────────────────────►┘
//	     fall bad ones      needed() good ones lead back
//
// Flap damping: an upstream that falls again within settle of its rise doubles the good checks
// needed for the next one, maxDoublings times at most. One doubling is forgotten for each settle
// that it stays healthy.
type judge struct {
	rise, fall int           // checks in a row, 1 or more
	settle     time.Duration // healthy for so long is no flap

	state     State
	rose      time.Time // when unhealthy ended last; zero: never
	run       int       // checks in a row that contradict the verdict
	doublings int       // of rise
	calm      time.Time // since when none was forgotten
}

const maxDoublings = 5

// step takes a check that ended at now, with its failure or "". It reports whether the verdict
// changed.
func (j *judge) step(now time.Time, failure string) bool {
	j.forget(now)
	good := failure == ""
	if good && j.state.Verdict == Healthy || !good && j.state.Verdict == Unhealthy {
		j.run = 0
		if !good {
			j.state.Reason = failure // the newest says most
		}
		return false
	}
	if j.state.Verdict == Unknown && !good {
		j.state.Reason = failure
	}
	j.run++
	switch {
	case !good && j.run >= j.fall:
		j.fell(now)
		j.become(now, Unhealthy, failure)
	case good && (j.state.Verdict == Unknown || j.run >= j.needed()):
		j.rises(now)
		j.become(now, Healthy, "it answers")
	default:
		return false
	}
	return true
}

func (j *judge) become(now time.Time, v Verdict, reason string) {
	j.state, j.run = State{Verdict: v, Reason: reason, Since: now}, 0
}

// rises notes the end of unhealthy; the first good check ends nothing.
func (j *judge) rises(now time.Time) {
	j.calm = now
	if j.state.Verdict == Unhealthy {
		j.rose = now
	}
}

// fell counts a flap.
func (j *judge) fell(now time.Time) {
	if j.state.Verdict == Healthy && !j.rose.IsZero() && now.Sub(j.rose) < j.settle {
		j.doublings = min(j.doublings+1, maxDoublings)
	}
}

// forget lets quiet time undo doublings.
func (j *judge) forget(now time.Time) {
	for j.state.Verdict == Healthy && j.doublings > 0 && now.Sub(j.calm) >= j.settle {
		j.doublings--
		j.calm = j.calm.Add(j.settle)
	}
}

// needed is how many good checks in a row end Unhealthy.
func (j *judge) needed() int { return j.rise << j.doublings }

// doubtful reports whether the latest checks contradict the verdict, or there is none.
func (j *judge) doubtful() bool { return j.run > 0 || j.state.Verdict == Unknown }
