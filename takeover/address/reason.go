package address

import "sync/atomic"

// Reason says what became of an ARP frame or of an attempt to send one. Each frame received
// has exactly one of the first group.
type Reason uint8

// Received frames; then frames to send.
const (
	Replied   Reason = iota // a reply from another station
	Answered                // who-has an owned address: answered
	NotAlive                // who-has an owned address while the lease does not hold: silent
	NotOwned                // who-has some other address, or an announcement
	Foreign                 // another station names an owned address as its own
	Stale                   // older than MaxAge when read, or of unknown age
	OwnFrame                // sent by this interface and come back
	Elsewhere               // addressed to another station's MAC
	Malformed               // no IPv4-over-Ethernet ARP

	Announced  // announcements sent, request and reply counted as one
	Withheld   // announcements not sent because the lease does not hold
	Probed     // who-has requests sent
	SendFailed // frames the kernel did not take: interface down, or its buffer full

	reasons
)

var reasonNames = [reasons]string{
	"replied", "answered", "not_alive", "not_owned", "foreign", "stale", "own_frame", "elsewhere", "malformed",
	"announced", "withheld", "probed", "send_failed",
}

// String returns the reason's name as it stands in metrics.
func (r Reason) String() string { return reasonNames[r] }

// counters count by reason.
type counters [reasons]atomic.Uint64

func (c *counters) add(r Reason) { c[r].Add(1) }

// Count returns how often the reason has occurred since Open.
func (n *Node) Count(r Reason) uint64 { return n.counts[r].Load() }

// Counts returns all counts by the reasons' names.
func (n *Node) Counts() map[string]uint64 {
	m := make(map[string]uint64, reasons)
	for r := range reasons {
		m[r.String()] = n.counts[r].Load()
	}
	return m
}
