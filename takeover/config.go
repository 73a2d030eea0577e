package takeover

import (
	"fmt"
	"time"
)

// Config is what a machine is told once. All durations are positive.
type Config struct {
	// Index is the place of this node in the group's list of Nodes: it claims epochs ≡ Index mod
	// Nodes, and of two joining nodes the one that is listed first becomes the primary.
	Index, Nodes int

	Witness bool   // a claim needs a witness' grant
	Fences  []bool // which nodes have a fence command, which a claim on their silence needs; nil: none
	Apart   bool   // sessions may go by a network of the nodes' own: then they say nothing of the clients' one

	SuspectAfter time.Duration // silence of the peer's daemon that starts the probing
	ProbeEvery   time.Duration // between two probes
	Probes       int           // probes in a round; without an answer to any, the host is dead
	HangTimeout  time.Duration // silence of a daemon whose kernel still answers
	Lease        time.Duration // how long the kernel lets a speaker speak after its last renewal
	StartWait    time.Duration // before a node alone claims an address empty
}

// Defaults returns the timings of DESIGN §5 for node index of nodes.
func Defaults(index, nodes int) Config {
	return Config{
		Index: index, Nodes: nodes,
		SuspectAfter: 50 * time.Millisecond,
		ProbeEvery:   10 * time.Millisecond,
		Probes:       3,
		HangTimeout:  time.Second,
		Lease:        300 * time.Millisecond,
		StartWait:    5 * time.Second,
	}
}

// Check says what is wrong with the timings, each with its remedy; nil if nothing is.
func (c Config) Check() error {
	switch {
	case c.Nodes < 2 || c.Index < 0 || c.Index >= c.Nodes:
		return fmt.Errorf("takeover: node %d of %d: name at least two nodes, and count from 0", c.Index, c.Nodes)
	case c.Fences != nil && len(c.Fences) != c.Nodes:
		return fmt.Errorf("takeover: %d fences for %d nodes: give one for each, or none", len(c.Fences), c.Nodes)
	case c.SuspectAfter <= 0 || c.ProbeEvery <= 0 || c.Probes <= 0 || c.Lease <= 0 || c.StartWait <= 0:
		return fmt.Errorf("takeover: a timing is zero or negative: give every one a positive value")
	case c.renewFor() < 2*c.SuspectAfter:
		return fmt.Errorf("takeover: hang_timeout %v leaves the primary no time to renew a lease of %v: "+
			"make hang_timeout at least %v", c.HangTimeout, c.Lease, (c.Lease+2*c.SuspectAfter)*10/7)
	}
	return nil
}

// The rest follows from the settings.

// renewFor is how old an echo may be for a renewal, so that the voice has lapsed at 0.7
// HangTimeout (DESIGN §5).
func (c Config) renewFor() time.Duration { return c.HangTimeout*7/10 - c.Lease }

// listenFor is how long a node without flows listens for the nodes that it has not heard of,
// or no more, before it takes them for out of service.
func (c Config) listenFor() time.Duration { return c.StartWait }

// patience is how long a survivor waits for the node that it chose, where others wait too.
func (c Config) patience() time.Duration { return 2 * c.HangTimeout }

// stall is the gap between two steps that makes a node doubt what it knows. It is far below
// HangTimeout, before which nobody claims against a host whose kernel answers.
func (c Config) stall() time.Duration { return min(c.Lease, c.HangTimeout/2) }

// connectFast is how long a lost session is probed at ProbeEvery: a dying process closes its
// session a moment before its listener.
func (c Config) connectFast() time.Duration { return 10 * c.SuspectAfter }

// idleEvery is between two probe rounds, or connects, that nobody waits for.
func (c Config) idleEvery() time.Duration { return 4 * c.SuspectAfter }
