package rewrite

// Reasons for what becomes of a packet of a flow. Those of accepted packets say what had to
// be done to it.
const (
	UnknownAddress Reason = firstFlowReason + iota // no service has it
	NotServing                                     // this host serves nothing now
	UnknownFlow                                    // no connection has it
	ResetUnknown                                   // of a lost flow: the client was told by an RST
	Relayed                                        // the peer alone holds the flow
	Parked                                         // kept until the local SYN-ACK is seen
	HalfOpenLimit                                  // SYN beyond the bound of half-open flows
	TableFull                                      // SYN beyond the bound of flows
	NotReceiver                                    // a clone, but no peer is in sync
	NotSpeaker                                     // the peer speaks for the flow
	AckHeld                                        // nothing to tell until the peer confirms (I2)
	SynAckHeld                                     // likewise for a SYN-ACK
	Unanswered                                     // the local kernel spoke before its SYN-ACK
	AckClamped                                     // accepted: acknowledged bytes that are not sent yet
	AckLimited                                     // accepted: tells the client less than the kernel said
	BadFlags                                       // a SYN with FIN or RST
	StoodStill                                     // the process did, or doubts its epoch; the packet is from before
	NoCarrier                                      // the interface has none: the packet would wait in the kernel, behind the lease

)

var flowReasonNames = [...]string{
	"unknown-address", "not-serving", "unknown-flow", "reset-unknown", "relayed", "parked",
	"half-open-limit", "table-full", "not-receiver", "not-speaker", "ack-held", "syn-ack-held",
	"unanswered", "ack-clamped", "ack-limited", "bad-flags", "stood-still", "no-carrier",
}
