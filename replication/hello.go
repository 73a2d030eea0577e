package replication

import (
	"encoding/binary"
	"fmt"
)

// Role is what a node says it is, as in `ftgw status` (DESIGN §6).
type Role uint8

// The roles, in the order of the wire.
const (
	RoleJoining Role = iota
	RolePrimary
	RoleBackup
	RoleSole
	RoleFenced
	RoleWitness
)

// String returns the word of DESIGN §6.
func (r Role) String() string {
	names := [...]string{"joining", "primary", "backup", "sole", "fenced", "witness"}
	if int(r) < len(names) {
		return names[r]
	}
	return fmt.Sprintf("role(%d)", uint8(r))
}

// Channel says what a connection is for.
type Channel uint8

// The channels of a session, and one that is none: a Query ends once hellos are exchanged.
const (
	Control Channel = 1
	Bulk    Channel = 2
	Query   Channel = 3
)

// String returns "control", "bulk" or "query".
func (c Channel) String() string {
	switch c {
	case Control:
		return "control"
	case Bulk:
		return "bulk"
	case Query:
		return "query"
	}
	return fmt.Sprintf("channel(%d)", uint8(c))
}

// MaxGroup bounds Hello.Group and the pairs of the witness' frames, in bytes.
const MaxGroup = 4096

// Kernel is what must be alike in both kernels for a connection to live in either
// (DESIGN §3, "Translation"): the values of tcp_timestamps, tcp_sack, tcp_window_scaling and
// tcp_ecn, and the MTU in bytes of the interface that serves.
type Kernel struct {
	Timestamps, SACK, Scaling, ECN uint8
	MTU                            uint32
}

// Hello is the first frame in each direction of each connection.
type Hello struct {
	Node         string   // name in the config, at most 255 bytes
	Boot         [16]byte // random, anew at each start of the process
	Epoch        uint64
	Role         Role
	InSync       bool
	ConfigDigest [32]byte // of what must be alike
	Settings     uint64   // see Heartbeat
	Kernel       Kernel

	// The rest is filled in by who makes the connection.

	Group   string // what the connection is about: the nodes' names joined by ",", at most MaxGroup bytes
	Wall    int64  // the sender's wall clock when it wrote this, Unix milliseconds
	Channel Channel
	Session uint64   // the dialer's random number that joins control and bulk
	Got     uint64   // numbered control frames of process GotBoot below this one arrived
	GotBoot [16]byte // zero: none yet
}

// Append appends the frame to dst.
func (h Hello) Append(dst []byte) []byte {
	at := len(dst)
	dst = begin(dst, TypeHello)
	dst = appendString(dst, h.Node)
	dst = append(dst, h.Boot[:]...)
	dst = binary.BigEndian.AppendUint64(dst, h.Epoch)
	dst = append(dst, byte(h.Role))
	dst = appendBool(dst, h.InSync)
	dst = append(dst, h.ConfigDigest[:]...)
	dst = binary.BigEndian.AppendUint64(dst, h.Settings)
	k := h.Kernel
	dst = append(dst, k.Timestamps, k.SACK, k.Scaling, k.ECN)
	dst = binary.BigEndian.AppendUint32(dst, k.MTU)
	dst = appendName(dst, h.Group)
	dst = binary.BigEndian.AppendUint64(dst, uint64(h.Wall))
	dst = append(dst, byte(h.Channel))
	dst = binary.BigEndian.AppendUint64(dst, h.Session)
	dst = binary.BigEndian.AppendUint64(dst, h.Got)
	dst = append(dst, h.GotBoot[:]...)
	return end(dst, at)
}

// ParseHello reads the body of a Hello.
func ParseHello(body []byte) (Hello, error) {
	p := parser{b: body}
	var h Hello
	h.Node = p.string()
	copy(h.Boot[:], p.take(16))
	h.Epoch = p.u64()
	h.Role = Role(p.enum("role", 0, uint8(RoleWitness)))
	h.InSync = p.bool()
	copy(h.ConfigDigest[:], p.take(32))
	h.Settings = p.u64()
	h.Kernel = Kernel{Timestamps: p.u8(), SACK: p.u8(), Scaling: p.u8(), ECN: p.u8(), MTU: p.u32()}
	h.Group = p.name()
	h.Wall = int64(p.u64())
	h.Channel = Channel(p.enum("channel", uint8(Control), uint8(Query)))
	h.Session = p.u64()
	h.Got = p.u64()
	copy(h.GotBoot[:], p.take(16))
	if err := p.done(TypeHello); err != nil {
		return Hello{}, err
	}
	return h, nil
}
