package rewrite

import (
	"net/netip"
	"time"
)

// Mode says which hosts hold a flow's connection.
type Mode uint8

const (
	Duplex  Mode = iota // this host and the peer
	Simplex             // this host alone
	Relay               // the peer alone: segments received here are only cloned to it
)

// String returns the mode's name.
func (m Mode) String() string {
	return [...]string{"duplex", "simplex", "relay"}[m]
}

// phase is how far the local kernel has come with a flow.
//
//	opening ──SYN-ACK seen──► answered ──any later segment seen──► established
type phase uint8

const (
	opening     phase = iota // the SYN was given to the kernel
	answered                 // its SYN-ACK was seen, so the deltas are known
	established              // it sent something other than a SYN-ACK
)

// maxParked bounds the segments of one flow that wait for the local SYN-ACK.
const maxParked = 4

// flow is one connection as this host sees it. Sequence numbers of the server's side exist in
// two spaces, named local and common (DESIGN §3); those of the client's side in one.
type flow struct {
	id    FlowID
	svc   *service
	mode  Mode
	phase phase

	speaker  bool // this host sends for the flow
	foreign  bool // another host has spoken for it: the client may acknowledge what the local kernel has not sent
	abroad   bool // the peer executes, though this host speaks
	survived bool // it was duplex, and the peer was given up
	ceiling  Seq  // common: the lost speaker can have sent no more, even if its last news was lost
	closing  bool // an RST, or a FIN of the server's side, was seen; where it is relayed, of either side

	born time.Duration
	seen time.Duration // last segment of either direction
	miss uint8         // sweeps in a row that found no kernel socket

	next *flow // opened by a SYN on this live pair; takes over at its SYN-ACK

	// Sequence numbers of the server's side.
	iss      Seq   // common
	delta    Delta // common = local + delta
	localISS Seq
	sndNxt   Seq  // local: the highest end that left the kernel
	maxAck   Seq  // common: the highest acknowledgment of the client
	sndEdge  Seq  // common: the right edge of the window that came with it
	sndMax   Size // the widest window that the client has offered

	// Options agreed in the handshake.
	hasTS, hasScale, hasSACK bool
	scaleLocal, scaleClient  uint8

	// Timestamps (RFC 7323). Stamps are milliseconds; comparisons are modulo 2^32.
	tsDelta  uint32 // common = local + tsDelta
	tsOld    uint32 // the delta before a takeover
	tsSwitch uint32 // common: echoes from here on use tsDelta, earlier ones tsOld
	tsSyn    uint32 // local: of the last SYN-ACK
	tsLast   uint32 // local: the latest that the kernel sent
	tsLastAt time.Duration
	tsEcho   uint32 // common: the latest that the client echoed
	tsEchoAt time.Duration
	tsClient uint32 // the client's latest
	tsEcr    uint32 // the client's stamp that the kernel last echoed

	// The client's stream. Invariant: sentAck is never after rcvNxt, nor, in duplex, after conf.
	rcvNxt, edge      Seq    // the local kernel's, the highest seen
	wantAck, wantEdge Seq    // what the kernel last wanted to tell the client
	sentAck, sentEdge Seq    // what the client was told
	confAck, confEdge Seq    // what the peer's kernel has (I2)
	toldAck, toldEdge Seq    // what the peer was told, on the host that does not speak
	confSACK          blocks // and selectively
	sack              blocks // what the local kernel last acknowledged selectively
	sackHeld          bool   // the client was not told all of it
	held              bool
	asked             bool // the peer was asked to let the flow go
	lone              Lone // why it is not duplex, or would not be if the peer lets it go
	heldAt            time.Duration
	synAck            []byte // the SYN-ACK in common space, until the flow is established
	synHeld           bool   // it waits for the peer's confirmation
	parked            [][]byte
	tail              []byte // local: see keepTail; nil: none
}

// service is one advertised address and this host's stance towards it.
type service struct {
	Service
	stance Stance
	spare  [][]byte // for tails
}

// Service is what the table must know of one advertised address.
type Service struct {
	Advertised netip.AddrPort
	Forward    netip.AddrPort // this host's own address and forwarding port: clones arrive here
	Peer       netip.AddrPort // the peer's own address and forwarding port: clones go there, see SetPeer
	MSS        uint16         // constant put into every SYN-ACK, bytes
	Scale      uint8          // constant window scale put into every SYN-ACK, 0 to 14
}

// Stance is what this host does for the flows of a service that begin from now on. The zero
// Stance serves nothing.
type Stance struct {
	Serve  bool // segments are taken at all
	Duplex bool // a peer in sync holds new flows too
	Speak  bool // this host sends for new flows
}

// tsNow returns the kernel's clock in its local stamp space, never ahead of it.
func (f *flow) tsNow(now time.Duration) uint32 {
	return f.tsLast + uint32((now-f.tsLastAt)/time.Millisecond)
}

// echo takes an echoed stamp to the local space. Until the kernel is established it accepts
// only the stamp of its own SYN-ACK; afterwards never one that it has not sent yet.
func (f *flow) echo(common uint32) uint32 {
	if f.phase < established {
		return f.tsSyn
	}
	d := f.tsDelta
	if int32(common-f.tsSwitch) < 0 {
		d = f.tsOld
	}
	local := common - d
	if int32(local-f.tsLast) > 0 {
		return f.tsLast
	}
	return local
}

// window returns the window field that offers the client as much as up to edge, rounded down
// to the scale; but not less than what it was told before where edge allows that, so that
// the right edge does not move back.
func (f *flow) window(ack, edge Seq) uint16 {
	if !edge.After(ack) {
		return 0
	}
	scale := f.scaleCommon()
	w := uint32(edge.Since(ack)) >> scale
	if end := ack.Add(Size(w << scale)); end.Before(f.sentEdge) {
		if up := ack.Add(Size((w + 1) << scale)); !up.After(edge) || f.scaleLocal == scale {
			w++
		}
	}
	return uint16(min(w, 0xffff))
}

func (f *flow) scaleCommon() uint8 {
	if f.hasScale {
		return f.svc.Scale
	}
	return 0
}

// edgeOf returns the right edge that a window field of the common space offers.
func (f *flow) edgeOf(ack Seq, field uint16) Seq {
	return ack.Add(Size(field) << f.scaleCommon())
}

// limit returns what of the local kernel's acknowledgment and right edge the client may be
// told now (I2): in duplex nothing that the peer's kernel does not have.
func (f *flow) limit(ack, edge Seq) (Seq, Seq) {
	if f.mode != Duplex {
		return ack, edge
	}
	return ack.Earlier(f.confAck), edge.Earlier(f.confEdge)
}

// unacked reports whether the kernel has sent bytes that the client has not acknowledged.
func (f *flow) unacked() bool {
	return f.delta.Common(f.sndNxt).After(f.maxAck)
}

// hasRoom reports whether the client's window takes a whole segment. With less a kernel waits for
// its probe timer, which doubles each time.
func (f *flow) hasRoom() bool {
	return !f.sndEdge.Before(f.maxAck.Add(Size(f.svc.MSS)))
}

// confirmation returns what the local kernel holds, for the peer.
func (f *flow) confirmation() Confirmation {
	f.toldAck, f.toldEdge = f.rcvNxt, f.edge
	return Confirmation{Flow: f.id, RcvNxt: f.rcvNxt, Edge: f.edge}
}
