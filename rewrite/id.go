package rewrite

import (
	"fmt"
	"net/netip"
)

// Key is the address pair of a connection: the client's end and the advertised address.
// Addresses are unmapped (netip.Addr.Unmap) and without zone.
type Key struct {
	Client, Advertised netip.AddrPort
}

// FlowID names one connection for good: the address pair and the client's initial sequence
// number, so that nothing late can hit a connection that reuses the port (DESIGN §1).
type FlowID struct {
	Key
	ISN Seq
}

// String returns "client>advertised#isn".
func (id FlowID) String() string {
	return fmt.Sprintf("%s>%s#%d", id.Client, id.Advertised, uint32(id.ISN))
}

// Confirmation says what the kernel of the sending host holds of the client's stream, in the
// client's own sequence space (invariant I2).
type Confirmation struct {
	Flow   FlowID
	RcvNxt Seq // next number expected; SYN and FIN are counted
	Edge   Seq // right edge of the offered window, RcvNxt + window in bytes
	// SACK holds the kernel's selective acknowledgments of a duplicate ACK, [start, end).
	SACK  [3][2]Seq
	NSACK uint8 // how many of SACK are set
}
