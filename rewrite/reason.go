package rewrite

import "strconv"

// Reason names why a packet was dropped, or treated as it was. The zero Reason is OK. Every
// Reason below MaxReason can index a table of counters.
type Reason uint8

// MaxReason is one more than the largest Reason there can be.
const MaxReason = 64

// The reasons of the parsers.
const (
	// OK means that nothing is wrong.
	OK Reason = iota
	// Truncated: the packet ends before its headers, or before the length that it states.
	Truncated
	// BadHeader: a version, header length or total length that cannot be.
	BadHeader
	// BadOption: a TCP option whose length does not fit its kind or the header.
	BadOption
	// BadChecksum: the IPv4 header, TCP or ICMP checksum is wrong.
	BadChecksum
	// Fragment: a part of an IP packet, which nobody reassembled.
	Fragment
	// NotTCP: the packet, or what an ICMP error quotes, is not TCP.
	NotTCP
	// NotICMPError: neither an ICMP nor an ICMPv6 error.
	NotICMPError
)

// firstFlowReason is the first reason of the flow table and the translator.
const firstFlowReason Reason = 32

var parseReasonNames = [...]string{
	OK:           "ok",
	Truncated:    "truncated",
	BadHeader:    "bad-header",
	BadOption:    "bad-option",
	BadChecksum:  "bad-checksum",
	Fragment:     "fragment",
	NotTCP:       "not-tcp",
	NotICMPError: "not-icmp-error",
}

// String returns the name in kebab case, as in logs and as the label of a counter.
func (r Reason) String() string {
	if int(r) < len(parseReasonNames) {
		return parseReasonNames[r]
	}
	flow := flowReasonNames[:]
	if i := int(r) - int(firstFlowReason); i >= 0 && i < len(flow) {
		return flow[i]
	}
	return "reason-" + strconv.Itoa(int(r))
}

// Accepts reports whether packets with this reason go on; the others are dropped.
func (r Reason) Accepts() bool { return r == OK || r == AckClamped || r == AckLimited }

// Reasons yields every reason there is, in order.
func Reasons(yield func(Reason) bool) {
	for r := range MaxReason {
		known := r < len(parseReasonNames) || r >= int(firstFlowReason) && r < int(firstFlowReason)+len(flowReasonNames)
		if known && !yield(Reason(r)) {
			return
		}
	}
}
