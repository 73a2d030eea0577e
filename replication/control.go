package replication

import (
	"encoding/binary"

	"github.com/ftgw/ftgw/rewrite"
)

// Flags of a Heartbeat.
const (
	FlagLeaving  uint8 = 1 << iota // the node shuts down in good order
	FlagServing                    // its proxy accepts exchanges
	FlagOwner                      // it answers for the advertised address
	FlagPaired                     // it is in duplex with the process that it says this to
	FlagChosen                     // the node that it says this to is its present peer
	FlagLinkDead                   // it is silent: it cannot do its part on the clients' network
)

// Heartbeat is a sign of life that also measures the round trip and says what arrived.
// Times are nanoseconds of the named host's own clock, and are only ever compared there.
type Heartbeat struct {
	Seq       uint64 // from 1 in each connection
	Sent      int64  // the sender's clock
	Echo      int64  // Sent of the newest heartbeat of the other side; 0: none yet
	EchoDelay int64  // ns between that one's arrival and Sent
	Epoch     uint64
	Role      Role
	Flags     uint8  // FlagLeaving and so on; unknown bits are kept
	Got       uint64 // numbered control frames below this one arrived

	VoiceTurn, AddressTurn uint16 // handovers of voice and address that the node knows of
	GaveUp, Knew           uint16 // pairs given up, by the node and, as it knew when it entered this one, by the other

	// Settings is a hash of what of the sender's config a reload changes, or a random number while it is
	// about to change. Settled is the receiver's Settings as the sender knows them, once none of the sender's
	// replies is out on the strength of earlier ones; 0: not yet.
	Settings, Settled uint64
}

// Append appends the frame to dst.
func (h Heartbeat) Append(dst []byte) []byte {
	at := len(dst)
	dst = begin(dst, TypeHeartbeat)
	dst = binary.BigEndian.AppendUint64(dst, h.Seq)
	dst = binary.BigEndian.AppendUint64(dst, uint64(h.Sent))
	dst = binary.BigEndian.AppendUint64(dst, uint64(h.Echo))
	dst = binary.BigEndian.AppendUint64(dst, uint64(h.EchoDelay))
	dst = binary.BigEndian.AppendUint64(dst, h.Epoch)
	dst = append(dst, byte(h.Role), h.Flags)
	dst = binary.BigEndian.AppendUint64(dst, h.Got)
	dst = binary.BigEndian.AppendUint16(dst, h.VoiceTurn)
	dst = binary.BigEndian.AppendUint16(dst, h.AddressTurn)
	dst = binary.BigEndian.AppendUint16(dst, h.GaveUp)
	dst = binary.BigEndian.AppendUint16(dst, h.Knew)
	dst = binary.BigEndian.AppendUint64(dst, h.Settings)
	dst = binary.BigEndian.AppendUint64(dst, h.Settled)
	return end(dst, at)
}

// ParseHeartbeat reads the body of a Heartbeat.
func ParseHeartbeat(body []byte) (Heartbeat, error) {
	p := parser{b: body}
	h := Heartbeat{
		Seq: p.u64(), Sent: int64(p.u64()), Echo: int64(p.u64()), EchoDelay: int64(p.u64()),
		Epoch: p.u64(),
		Role:  Role(p.enum("role", 0, uint8(RoleWitness))),
		Flags: p.u8(), Got: p.u64(), VoiceTurn: p.u16(), AddressTurn: p.u16(),
		GaveUp: p.u16(), Knew: p.u16(),
		Settings: p.u64(), Settled: p.u64(),
	}
	return h, p.done(TypeHeartbeat)
}

// NoteKind says what became of a flow at the sender of a FlowNote.
type NoteKind uint8

// The kinds of notes.
const (
	NoteSimplex NoteKind = 1 // the sender cannot hold the flow: the receiver goes on alone
	NoteUnknown NoteKind = 2 // a clone came for a flow the sender does not know
	NoteClosed  NoteKind = 3 // the sender's kernel has no socket for it any more

	// NoteRoute is about a route of a service, whose address is the flow's both: the client's port is the
	// route's place in the config, the ISN a hash of the list that it is a place in. Reason: RouteLogged, or 0 if it has its mode again.
	NoteRoute NoteKind = 7

	NoteRelayed NoteKind = 6 // the sender holds the flow no longer, as NoteSimplex has asked

	// A switchover, in this order: the flows whose exchanges the sender goes on to execute, then
	// one note that names no flow: client and advertised address are the same, the client's port is
	// the turn and the ISN the epoch modulo 2^32.

	NoteExecutes NoteKind = 4
	NoteHandOver NoteKind = 5 // Reason: HandOverVoice, HandOverAddress or both
)

// What a NoteHandOver gives to the peer, in its Reason.
const (
	HandOverVoice   uint8 = 1 << iota // the peer speaks from now on
	HandOverAddress                   // the peer answers for the advertised address
)

// RouteLogged says in the Reason of a NoteRoute that its replies differ between the hosts.
const RouteLogged uint8 = 1

// FlowNote tells the peer about one flow. Reason is a code of the package that sends it.
type FlowNote struct {
	Flow   rewrite.FlowID
	Kind   NoteKind
	Reason uint8
}

// Epoch announces an epoch. Against says that it was claimed against the receiver, which
// then fences itself (I5); Owner is the node that answers for the address from now on.
type Epoch struct {
	Epoch   uint64
	Against bool
	Owner   string
}

// Number splits the number off the body of a frame of TypeConfirm to TypeLeave.
func Number(body []byte) (n uint64, rest []byte, err error) {
	p := parser{b: body}
	n = p.u64()
	rest, p.b = p.b, nil
	return n, rest, p.done(0)
}

func appendNumbered(dst []byte, t Type, n uint64) []byte {
	return binary.BigEndian.AppendUint64(begin(dst, t), n)
}

func appendConfirm(dst []byte, c rewrite.Confirmation) []byte {
	dst = appendFlow(dst, c.Flow)
	dst = binary.BigEndian.AppendUint32(dst, uint32(c.RcvNxt))
	dst = binary.BigEndian.AppendUint32(dst, uint32(c.Edge))
	n := min(int(c.NSACK), len(c.SACK))
	dst = append(dst, byte(n))
	for _, s := range c.SACK[:n] {
		dst = binary.BigEndian.AppendUint32(dst, uint32(s[0]))
		dst = binary.BigEndian.AppendUint32(dst, uint32(s[1]))
	}
	return dst
}

// ParseConfirms appends the confirmations of a Confirm, its number split off, to into.
func ParseConfirms(into []rewrite.Confirmation, rest []byte) ([]rewrite.Confirmation, error) {
	p := parser{b: rest}
	for len(p.b) > 0 {
		c := rewrite.Confirmation{Flow: p.flow(), RcvNxt: p.seq(), Edge: p.seq()}
		c.NSACK = p.enum("number of SACK blocks", 0, uint8(len(c.SACK)))
		for i := 0; p.bad == "" && i < int(c.NSACK); i++ {
			c.SACK[i] = [2]rewrite.Seq{p.seq(), p.seq()}
		}
		into = append(into, c)
	}
	return into, p.done(TypeConfirm)
}

func appendNote(dst []byte, n FlowNote) []byte {
	return append(appendFlow(dst, n.Flow), byte(n.Kind), n.Reason)
}

// ParseNotes reads the notes of a Note, its number split off.
func ParseNotes(rest []byte) ([]FlowNote, error) {
	p := parser{b: rest}
	var notes []FlowNote
	for len(p.b) > 0 {
		notes = append(notes, FlowNote{
			Flow:   p.flow(),
			Kind:   NoteKind(p.enum("kind of note", uint8(NoteSimplex), uint8(NoteRoute))),
			Reason: p.u8(),
		})
	}
	return notes, p.done(TypeNote)
}

func (e Epoch) append(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint64(dst, e.Epoch)
	dst = appendBool(dst, e.Against)
	return appendString(dst, e.Owner)
}

// ParseEpoch reads an Epoch, its number split off.
func ParseEpoch(rest []byte) (Epoch, error) {
	p := parser{b: rest}
	e := Epoch{Epoch: p.u64(), Against: p.bool(), Owner: p.string()}
	return e, p.done(TypeEpoch)
}
