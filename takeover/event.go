package takeover

import (
	"fmt"
	"time"
)

// Boot names one run of a daemon, random at each start. Zero means none.
type Boot [16]byte

// String returns the first four bytes in hexadecimal, or "none".
func (b Boot) String() string {
	if b == (Boot{}) {
		return "none"
	}
	return fmt.Sprintf("%x", b[:4])
}

// Role is what a node is to one advertised address (DESIGN §6).
type Role uint8

// The roles. Witnesses run no Machine.
const (
	Joining Role = iota // holds no flow, waits for a pair or claims empty
	Primary             // in duplex, the speaker
	Backup              // in duplex, the other one
	Sole                // speaks and answers alone
	Fenced              // saw a higher epoch, its flows are being killed
)

// String returns the word of DESIGN §6.
func (r Role) String() string {
	names := [...]string{"joining", "primary", "backup", "sole", "fenced"}
	if int(r) < len(names) {
		return names[r]
	}
	return fmt.Sprintf("role(%d)", uint8(r))
}

// View is what a node tells its peer of itself, in every heartbeat.
type View struct {
	Epoch  Epoch
	Role   Role
	Owner  bool // it answers for the advertised address
	Paired bool // it is in duplex with the process that it tells this to
	Chosen bool // the node that it tells this to is its peer; always so in a group of two

	LinkDead bool // Config.Apart: it is silent, for it cannot do its part on the clients' network

	VoiceTurn, AddressTurn uint16 // the handovers of each that it knows of in this pair

	// GaveUp counts the pairs that this process has given up, and Knew is what it had heard of the
	// other's when it entered the present one. Paired is the word of a half that knew of them all.
	GaveUp, Knew uint16
}

// Kind says what happened.
type Kind uint8

// The kinds of events, with the fields of Event that they use besides Now, and From where it
// says "peer" or "node".
const (
	Tick Kind = iota // time went on: at least every Config.ProbeEvery

	// A node's daemon lives (S).

	Sign        // a sign of any sort: gossip, a clone; Epoch if the node serves at one
	SessionUp   // hellos were exchanged: Boot, Epoch, Unequal
	SessionDown // the session broke
	PeerState   // a heartbeat on the session: Boot, Peer, Echo
	PeerLeaving // the node said that it stops, its gate closed already; counts as R
	Claimed     // the node serves at Epoch, or did so once: the word may be an old one, so no S

	// Answers to probes.

	Refused          // the node's session port refused a connect begun after ProbeConnect
	Connected        // or took it, which its kernel may have done alone
	AnswerPeer       // the node's own address answered ARP (A)
	AnswerGateway    // the probe address answered (G)
	AnswerAdvertised // someone else answers for the advertised address
	GossipDead       // membership lost the peer: the absence of one S, so no reason to act
	EpochWritten     // Epoch is on disk, fsync included
	EpochWriteFailed // or it is not: Epoch
	FenceDone        // the flows of a fenced node are dead

	// The witness, and the fence command.

	Granted     // the witness grants Epoch to this node
	Denied      // or does not: Epoch, Held, Against, Why
	Superseded  // the witness granted Epoch to the peer
	PeerFenced  // the fence command of node From, for the claim of Epoch, powered it off
	FenceFailed // or did not
	Progress    // a client acknowledged more of a flow for which the peer speaks

	// Switchover; Voice and Address say what of them is meant.

	Relinquish // the operator wants the peer to have them
	HandedOver // the peer, Boot, gave one of them to this node at Epoch; Turn

	// This node's own link.

	LinkDown // it lost its carrier, or was switched off
	LinkUp   // and has it again
	kinds    = iota
)

// String returns the name used in transcripts and logs.
func (k Kind) String() string {
	names := [kinds]string{"tick", "sign", "session-up", "session-down", "peer-state", "peer-leaving", "claimed",
		"refused", "connected", "answer-peer", "answer-gateway", "answer-advertised", "gossip-dead",
		"epoch-written", "epoch-write-failed", "fence-done", "granted", "denied", "superseded", "peer-fenced",
		"fence-failed", "progress", "relinquish", "handed-over", "link-down", "link-up"}
	if k < Kind(kinds) {
		return names[k]
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// Event is one thing that happened. Now is monotonic time since the start of this process; an
// event older than the one before it is taken to happen with that one.
type Event struct {
	Now     time.Duration
	Kind    Kind
	Boot    Boot
	Epoch   Epoch
	From    int // the node that the event is about, by its place in the list; own place: the present peer
	Peer    View
	Echo    time.Duration // this node's stamp (its Now) in the newest heartbeat that the peer has had
	Apart   bool          // it came by the nodes' own network
	Unequal bool          // the kernels' settings differ, so no pair can be formed
	Held    Epoch         // the highest that the witness has granted
	Against bool          // it granted Held to the peer, after the epoch that is in force here
	Why     string        // for a person

	Voice, Address bool
	Turn           uint16 // of HandedOver: how many of its sort there were in this pair, in either direction
}
