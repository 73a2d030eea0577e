// Package oracle judges captured segments by the invariants of DESIGN §2. It is pure: what it
// says depends on the captures alone, so it can be tested on segments written by hand, and
// it must only be given captures that missed nothing (capture.Trace.Whole).
package oracle

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/ftgw/ftgw/internal/lab/capture"
	"github.com/ftgw/ftgw/rewrite"
)

// Connection is all that a capture saw of one connection to the advertised address.
type Connection struct {
	Client netip.AddrPort
	ISN    rewrite.Seq // of the client; meaningful only if Begun
	Begun  bool        // the capture saw the client's SYN
	// Segments are those of both directions, by time.
	Segments []capture.Segment
}

func (c Connection) String() string { return fmt.Sprintf("%v#%d", c.Client, uint32(c.ISN)) }

// Connections sorts segments to and from the advertised address into connections, by the
// time of their first segment. A SYN with another ISN begins another connection.
func Connections(segments []capture.Segment, advertised netip.AddrPort) []*Connection {
	segments = slices.Clone(segments)
	slices.SortStableFunc(segments, func(a, b capture.Segment) int { return a.Time.Compare(b.Time) })
	var all []*Connection
	last := make(map[netip.AddrPort]*Connection)
	for _, s := range segments {
		client := s.Src
		switch advertised {
		case s.Dst:
		case s.Src:
			client = s.Dst
		default:
			continue
		}
		c := last[client]
		syn := s.Src == client && s.Flags.Has(capture.SYN)
		if c == nil || syn && !(c.Begun && c.ISN == s.Seq) {
			c = &Connection{Client: client}
			last[client], all = c, append(all, c)
		}
		if syn {
			c.ISN, c.Begun = s.Seq, true
		}
		c.Segments = append(c.Segments, s)
	}
	return all
}

// OneVoice checks I3: the segments of each connection that leave the advertised address come
// from one host, and that host changes at most `switches` times (one for each takeover), so
// that two hosts never take turns. The capture must be where the hosts' own Ethernet
// addresses can be seen: the router's side of their network.
func OneVoice(segments []capture.Segment, advertised netip.AddrPort, switches int) error {
	var faults []string
	for _, c := range Connections(segments, advertised) {
		var speaker *capture.Segment
		var changes []string
		for i := range c.Segments {
			s := &c.Segments[i]
			if s.Src != advertised {
				continue
			}
			if speaker != nil && speaker.SrcMAC != s.SrcMAC {
				changes = append(changes, fmt.Sprintf("    %v\n    %v", *speaker, *s))
			}
			speaker = s
		}
		if len(changes) > switches {
			faults = append(faults, fmt.Sprintf("  %v: the speaker changed %d times, want at most %d:\n%s",
				c, len(changes), switches, strings.Join(changes, "\n    then\n")))
		}
	}
	return fault("one voice (I3)", faults)
}

// Ending is a RST or FIN that left the advertised address.
type Ending struct {
	Connection *Connection
	Segment    capture.Segment
	// ClientEnded is that the client had sent a FIN or RST before, which is a reason.
	ClientEnded bool
}

func (e Ending) String() string {
	by := "the client had not ended it"
	if e.ClientEnded {
		by = "the client had ended it"
	}
	return fmt.Sprintf("%v: %v (%s)", e.Connection, e.Segment, by)
}

// Endings lists every RST and FIN from the advertised address.
func Endings(segments []capture.Segment, advertised netip.AddrPort) []Ending {
	var out []Ending
	for _, c := range Connections(segments, advertised) {
		client := false
		for _, s := range c.Segments {
			if s.Flags&(capture.RST|capture.FIN) == 0 {
				continue
			}
			if s.Src == advertised {
				out = append(out, Ending{c, s, client})
			} else {
				client = true
			}
		}
	}
	return out
}

// NoReset checks that no RST left the advertised address, but for connections that the
// client had ended itself.
func NoReset(segments []capture.Segment, advertised netip.AddrPort) error {
	return noEnding(segments, advertised, capture.RST, "no reset")
}

// NoEnding checks that neither RST nor FIN left the advertised address, but for connections
// that the client had ended itself.
func NoEnding(segments []capture.Segment, advertised netip.AddrPort) error {
	return noEnding(segments, advertised, capture.RST|capture.FIN, "no reset and no end")
}

func noEnding(segments []capture.Segment, advertised netip.AddrPort, which capture.Flags, rule string) error {
	var faults []string
	for _, e := range Endings(segments, advertised) {
		if e.Segment.Flags&which != 0 && !e.ClientEnded {
			faults = append(faults, "  "+e.String())
		}
	}
	return fault(rule, faults)
}

// Silent checks that nothing at all left the advertised address from that Ethernet address
// between the two times. A zero time is no bound.
func Silent(segments []capture.Segment, advertised netip.AddrPort, mac capture.MAC, from, to time.Time) error {
	var faults []string
	for _, s := range segments {
		early := !from.IsZero() && s.Time.Before(from)
		late := !to.IsZero() && s.Time.After(to)
		if s.Src == advertised && s.SrcMAC == mac && !early && !late {
			faults = append(faults, "  "+s.String())
		}
	}
	return fault("silent", faults)
}

// fault makes an error of the first faults.
func fault(rule string, faults []string) error {
	const most = 5
	if len(faults) == 0 {
		return nil
	}
	n := len(faults)
	if n > most {
		faults = append(faults[:most:most], fmt.Sprintf("  and %d more", n-most))
	}
	return fmt.Errorf("%s: %d violations:\n%s", rule, n, strings.Join(faults, "\n"))
}
