package sockdiag

import (
	"encoding/binary"
	"errors"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Layout of include/uapi/linux/inet_diag.h. Ports and addresses are in network order, the
// rest in the host's.
const (
	sockIDLen  = 48            // struct inet_diag_sockid
	requestLen = 8 + sockIDLen // struct inet_diag_req_v2
	replyLen   = 72            // struct inet_diag_msg

	attrBytecode = 1 // INET_DIAG_REQ_BYTECODE

	codeSourceCond = 7 // INET_DIAG_BC_S_COND: the local end has this address and port
	opLen          = 4 // struct inet_diag_bc_op
	condLen        = 8 // struct inet_diag_hostcond without its address
)

var errShort = errors.New("socket report is shorter than its header: the kernel speaks another inet_diag version")

// sockID is a struct inet_diag_sockid kept as the kernel sent it, cookie included, so that
// handing it back names exactly that socket and never a later one on the same ports.
type sockID [sockIDLen]byte

// report is one parsed struct inet_diag_msg.
type report struct {
	family uint8
	state  State
	id     sockID
}

// parse reads one report. Attributes behind the header are ignored.
func parse(b []byte) (report, error) {
	if len(b) < replyLen {
		return report{}, errShort
	}
	return report{family: b[0], state: State(b[1]), id: sockID(b[4 : 4+sockIDLen])}, nil
}

// remote returns the other end; an IPv4 address mapped into IPv6 comes out as IPv4.
func (r report) remote() netip.AddrPort { return r.end(2, 20) }

func (r report) local() netip.AddrPort { return r.end(0, 4) }

func (r report) end(port, addr int) netip.AddrPort {
	p := binary.BigEndian.Uint16(r.id[port:])
	if r.family == unix.AF_INET6 {
		return netip.AddrPortFrom(netip.AddrFrom16([16]byte(r.id[addr:addr+16])).Unmap(), p)
	}
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte(r.id[addr:addr+4])), p)
}

// request builds a struct inet_diag_req_v2 with the given socket identity.
func request(family uint8, states uint32, id sockID) []byte {
	b := make([]byte, requestLen, 128)
	b[0] = family
	b[1] = unix.IPPROTO_TCP
	binary.NativeEndian.PutUint32(b[4:], states)
	copy(b[8:], id[:])
	return b
}

// dumpRequest asks for every socket of the family whose local end is local. The port stands
// in the identity as well, where the kernel compares it first.
func dumpRequest(family uint8, states uint32, local netip.AddrPort) []byte {
	var id sockID
	binary.BigEndian.PutUint16(id[0:], local.Port())
	b := request(family, states, id)
	code := bytecode(local)
	b = binary.NativeEndian.AppendUint16(b, uint16(4+len(code)))
	b = binary.NativeEndian.AppendUint16(b, attrBytecode)
	return append(b, code...) // a multiple of four: no padding
}

// bytecode is the one-condition filter program "the local end is local". On a match it runs
// to its end, which accepts; else it jumps four bytes beyond, which rejects.
func bytecode(local netip.AddrPort) []byte {
	addr := local.Addr().AsSlice()
	family := uint8(unix.AF_INET)
	if local.Addr().Is6() {
		family = unix.AF_INET6
	}
	size := opLen + condLen + len(addr)
	b := make([]byte, 0, size)
	b = append(b, codeSourceCond, uint8(size))
	b = binary.NativeEndian.AppendUint16(b, uint16(size+4))
	b = append(b, family, uint8(8*len(addr)), 0, 0)
	b = binary.NativeEndian.AppendUint32(b, uint32(local.Port()))
	return append(b, addr...)
}
