package oracle

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/ftgw/ftgw/internal/lab/capture"
	"github.com/ftgw/ftgw/rewrite"
)

// InputResult is what InputCommit looked at.
type InputResult struct {
	Checked  int // acknowledgments judged
	Unjudged int // those of connections that had begun before the capture
	Err      error
}

// InputCommit checks I2: no acknowledgment that was on the wire at some time covers a byte of
// the client's that the backup's kernel had not been handed before. handed are the segments
// that passed the backup's input hook (package tap), wire is a capture of what the advertised
// address sent. Acknowledgments later than until are not judged, unless it is zero: when the
// backup is dead or serves alone there is nothing to wait for. The tap must be started before
// the capture, for a connection that only the capture knows counts as a violation.
func InputCommit(handed, wire []capture.Segment, advertised netip.AddrPort, until time.Time) InputResult {
	type id struct {
		client netip.AddrPort
		isn    rewrite.Seq
	}
	backup := make(map[id]*Connection)
	for _, c := range Connections(handed, advertised) {
		if c.Begun {
			backup[id{c.Client, c.ISN}] = c
		}
	}
	var r InputResult
	var faults []string
	for _, c := range Connections(wire, advertised) {
		var input []capture.Segment
		if b := backup[id{c.Client, c.ISN}]; b != nil {
			input = b.Segments
		}
		held := stream{next: c.ISN}
		for _, s := range c.Segments {
			if s.Src != advertised || !s.Flags.Has(capture.ACK) || s.Flags.Has(capture.RST) || !until.IsZero() && s.Time.After(until) {
				continue
			}
			if !c.Begun {
				r.Unjudged++
				continue
			}
			for len(input) > 0 && !input[0].Time.After(s.Time) {
				held.add(input[0].Seq, input[0].End())
				input = input[1:]
			}
			r.Checked++
			if s.Ack.After(held.next) {
				faults = append(faults, fmt.Sprintf("  %v: %v\n    acknowledges %d bytes that the backup did not hold", c, s, s.Ack.Since(held.next)))
			}
		}
	}
	r.Err = fault("input commit (I2)", faults)
	return r
}

// stream is what a kernel was handed of a client's stream.
type stream struct {
	next  rewrite.Seq // everything before it is there
	ahead [][2]rewrite.Seq
}

// add takes in [from, to).
func (s *stream) add(from, to rewrite.Seq) {
	if !to.After(s.next) {
		return
	}
	s.ahead = append(s.ahead, [2]rewrite.Seq{from, to})
	for moved := true; moved; {
		moved = false
		s.ahead = slices.DeleteFunc(s.ahead, func(r [2]rewrite.Seq) bool {
			if r[0].After(s.next) {
				return false
			}
			if r[1].After(s.next) {
				s.next, moved = r[1], true
			}
			return true
		})
	}
}
