package takeover

import (
	"fmt"
	"strings"
)

// Do says what is to be done. Everything may be done twice without harm.
type Do uint8

// What a Machine asks for, with the fields of Action that are set besides Do and Why.
const (
	Choose Do = iota // Node is the peer from now on; what concerned another one is over

	// Asking. Answers come back as events; Node is the one that is asked about.

	ProbeConnect    // a fresh connect to the peer's session port
	ProbePeer       // one ARP request for the peer's own address
	ProbeGateway    // one for the probe address
	ProbeAdvertised // one for the advertised address
	WriteEpoch      // put Epoch on disk: EpochWritten or EpochWriteFailed follows
	AskGrant        // ask the witness for Epoch after Base: Granted or Denied follows, or nothing
	FencePeer       // run the fence command of Node for the claim of Epoch: PeerFenced or FenceFailed follows
	ReportSilent    // tell the witness that this node serves nothing under an epoch below Epoch

	// Serving.

	Publish     // tell the peer Machine.View at once, by every channel there is
	AbandonPeer // end the session with the process Boot and take no record from it any more
	Promote     // flows become simplex here and the voice is ours; Empty: there are none. Epoch
	OpenGate    // let segments from the advertised address out, while RenewUntil allows it
	CloseGate   // delete the lease
	Own         // answer who-has for the advertised address, while AnswerUntil allows it
	Disown      // stop answering
	Announce    // tell the subnet where the address is
	ReleaseHeld // send what waited for the peer
	Duplex      // new flows are shared with the process Boot at Epoch; Speaker, Owner: this node's part
	Fence       // kill the flows without a word to the clients: FenceDone follows

	// Switchover; Speaker: the voice is meant, Owner: the address.

	Yield     // stop speaking for all flows, before the gate is closed
	HandOver  // tell the peer that voice or address are its own now
	TakeVoice // speak for the flows that the peer has yielded, before the gate is opened
	dos       = iota
)

// String returns the name used in transcripts and logs.
func (d Do) String() string {
	names := [dos]string{"choose", "probe-connect", "probe-peer", "probe-gateway", "probe-advertised",
		"write-epoch", "ask-grant", "fence-peer", "report-silent", "publish", "abandon-peer", "promote", "open-gate", "close-gate", "own", "disown",
		"announce", "release-held", "duplex", "fence", "yield", "hand-over", "take-voice"}
	if d < Do(dos) {
		return names[d]
	}
	return fmt.Sprintf("do(%d)", uint8(d))
}

// Action is one thing to do. The actions of one Step are done in order, each finished (or,
// for probes and writes, begun) before the next.
type Action struct {
	Do             Do
	Epoch, Base    Epoch
	Boot           Boot
	Speaker, Owner bool
	Turn           uint16 // of HandOver
	Node           int    // its place in the list
	Empty          bool
	Why            string // for a person, on decisions only
}

// String returns one line of a transcript.
func (a Action) String() string {
	var b strings.Builder
	b.WriteString(a.Do.String())
	switch a.Do {
	case WriteEpoch, Promote, Duplex, AskGrant, FencePeer, ReportSilent:
		fmt.Fprintf(&b, " epoch=%d", a.Epoch)
	}
	if a.Do == Choose || a.Do == FencePeer {
		fmt.Fprintf(&b, " node=%d", a.Node)
	}
	if a.Do == AskGrant {
		fmt.Fprintf(&b, " base=%d", a.Base)
	}
	if a.Boot != (Boot{}) {
		fmt.Fprintf(&b, " boot=%v", a.Boot)
	}
	if a.Turn != 0 {
		fmt.Fprintf(&b, " turn=%d", a.Turn)
	}
	if a.Empty {
		b.WriteString(" empty")
	}
	if a.Speaker {
		b.WriteString(" speaker")
	}
	if a.Owner {
		b.WriteString(" owner")
	}
	if a.Why != "" {
		fmt.Fprintf(&b, " %q", a.Why)
	}
	return b.String()
}
