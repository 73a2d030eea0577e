package drill

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/ftgw/ftgw/internal/lab/capture"
	"github.com/ftgw/ftgw/internal/lab/oracle"
)

// What "one sending MAC for each connection at any instant" means here (I3).
//
// Who may speak changes only by a turn: a host claims, or two hosts that serve nothing agree on a
// pair, or of two that have both claimed without hearing each other one gives way. The turns cut a
// round's time into terms. In one term all frames of a connection that come from the advertised
// address come from one Ethernet address; and a connection that was there before the term began is
// heard from the host whose turn it is, and from no other, until the next turn, even if that host
// has nothing to say: what the other one sends after the turn breaks the rule at once, not only
// when the two are heard alternating. There is no allowance for a lease that has not lapsed or a
// packet that was queued; the other host must have been silent before.
//
// A turn takes effect at some instant between two lines of its host's log: the one before the gate
// is opened and the one after everything is done, about a millisecond apart. Until the first only
// the old voice may be heard, after the second only the new one; between them the voice may change
// once and not back. The captures and the logs have one clock.

// turn is that a host becomes the one who speaks.
type turn struct {
	host       string
	mac        capture.MAC
	epoch      uint64
	claimed    bool      // else a pair was agreed on, or the other host gave way to an older claim
	decided    time.Time // of a claim
	from, full time.Time // it took effect between them; full is zero if the process died before it said so
}

func (t turn) String() string {
	how := "is the turn of"
	if t.claimed {
		how = "was claimed by"
	}
	return fmt.Sprintf("epoch %d %s %s at %s", t.epoch, how, t.host, t.from.Format("05.000"))
}

// logged is the resolution of the times in a log, which are cut off.
const logged = time.Millisecond

// period is a time during which nobody can say who should speak; see undecided.
type period struct{ from, to time.Time }

func (p period) has(t time.Time) bool { return !t.Before(p.from) && !t.After(p.to) }

// voices is what judgeVoices looked at.
type voices struct {
	Connections, Frames, Changes int
	Unjudged                     int // frames within a period that was left out
	Faults                       []string
}

// judgeVoices holds segments to the rule above. turns are by time; frames within apart are not
// judged.
func judgeVoices(segments []capture.Segment, advertised netip.AddrPort, turns []turn, apart []period) (v voices) {
	for _, c := range oracle.Connections(segments, advertised) {
		k := hearing{connection: c}
		for _, s := range c.Segments {
			if s.Src != advertised {
				continue
			}
			if slices.ContainsFunc(apart, func(p period) bool { return p.has(s.Time) }) {
				v.Unjudged++
				k.forget()
				continue
			}
			v.Frames++
			if k.heard && k.speaker.SrcMAC != s.SrcMAC {
				v.Changes++
			}
			if fault := k.hear(s, turns); fault != "" {
				v.Faults = append(v.Faults, fault)
			}
		}
		if k.heard {
			v.Connections++
		}
	}
	return v
}

// hearing is what was heard of one connection so far.
type hearing struct {
	connection *oracle.Connection
	heard      bool
	began      int         // term of its first frame
	voice      capture.MAC // of that term
	term       int         // of the latest frame
	speaker    capture.Segment
}

// forget is what a period leaves of a connection that began before it: it belongs to whose turn
// it is afterwards. One that began in it belongs to whoever is heard first.
func (k *hearing) forget() {
	if k.heard {
		k.began = -1
	}
}

// hear takes in a frame. Term n is the time after the n-th turn; the frame is of one that may be
// in force at its time, and not of an earlier one than the frame before.
func (k *hearing) hear(s capture.Segment, turns []turn) (fault string) {
	surely, perhaps := 0, 0
	for i, t := range turns {
		if !t.full.IsZero() && s.Time.After(t.full.Add(logged)) {
			surely = i + 1
		}
		if !s.Time.Before(t.from) {
			perhaps = i + 1
		}
	}
	perhaps = max(perhaps, surely)
	if !k.heard {
		k.heard, k.began, k.voice, k.term, k.speaker = true, surely, s.SrcMAC, surely, s
		return ""
	}
	before := k.speaker
	k.speaker = s
	for n := max(surely, k.term); n <= perhaps; n++ {
		if k.owner(n, turns, before.SrcMAC) == s.SrcMAC {
			k.term = n
			return ""
		}
	}
	k.term = max(surely, k.term)
	whose := "no turn since it began"
	if k.term > 0 {
		whose = turns[k.term-1].String()
	}
	return fmt.Sprintf("  %v (%s): another voice than that of its time\n    %v\n    then\n    %v", k.connection, whose, before, s)
}

// owner is who may speak for the connection in a term.
func (k *hearing) owner(term int, turns []turn, last capture.MAC) capture.MAC {
	switch {
	case term == k.began:
		return k.voice
	case term > 0:
		return turns[term-1].mac
	}
	return last // older than what the round knows of
}
