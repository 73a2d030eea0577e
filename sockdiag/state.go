package sockdiag

import "fmt"

// State is a TCP state as the kernel numbers it (include/net/tcp_states.h); the zero value is
// none of them.
type State uint8

// The states of RFC 9293, and NewSynRecv for a half-open connection that is only a request
// yet. The kernel reports such a request as SynRecv.
const (
	Established State = iota + 1
	SynSent
	SynRecv
	FinWait1
	FinWait2
	TimeWait
	Closed
	CloseWait
	LastAck
	Listening
	Closing
	NewSynRecv
	Bound // bound, neither connected nor listening; Linux 6.8 and later list it
)

var names = [...]string{
	Established: "ESTABLISHED",
	SynSent:     "SYN_SENT",
	SynRecv:     "SYN_RECV",
	FinWait1:    "FIN_WAIT1",
	FinWait2:    "FIN_WAIT2",
	TimeWait:    "TIME_WAIT",
	Closed:      "CLOSE",
	CloseWait:   "CLOSE_WAIT",
	LastAck:     "LAST_ACK",
	Listening:   "LISTEN",
	Closing:     "CLOSING",
	NewSynRecv:  "NEW_SYN_RECV",
	Bound:       "BOUND_INACTIVE",
}

// String returns the kernel's name of the state.
func (s State) String() string {
	if int(s) < len(names) && names[s] != "" {
		return names[s]
	}
	return fmt.Sprintf("state %d", uint8(s))
}

// every state in which a socket takes segments. One that is merely bound takes none; a destroyed
// listener is that until its process closes it.
const every = ^uint32(1<<Closed | 1<<Bound)

// mask returns the request's state bits; no states mean every one.
func mask(states []State) uint32 {
	if len(states) == 0 {
		return every
	}
	var m uint32
	for _, s := range states {
		m |= 1 << s
	}
	return m
}
