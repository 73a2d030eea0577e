package rewrite

import (
	"crypto/sha256"
	"encoding/binary"
	"net/netip"
	"time"
)

// Limits bound a table.
type Limits struct {
	Flows    int           // connections at once
	HalfOpen int           // of them, those whose handshake is not finished; below the kernel's backlog
	Hold     time.Duration // how long an acknowledgment may wait for the peer until the flow falls to simplex
	Early    int           // confirmations kept for flows whose SYN has not come yet
}

// DefaultLimits suit a listener with a backlog of 4096.
var DefaultLimits = Limits{Flows: 200_000, HalfOpen: 3000, Hold: time.Second, Early: 4096}

// halfOpenLife bounds how long an unfinished handshake is kept: longer than the kernel does
// with three SYN-ACK retransmissions (1+2+4+8 s).
const halfOpenLife = 20 * time.Second

// Table is the flow table and the translator. It is not safe for concurrent use: the owner
// guards it, or keeps one table for each shard of the clients. Times are monotonic, from a
// start that the owner chooses.
type Table struct {
	limits    Limits
	key       []byte
	services  map[netip.AddrPort]*service // by advertised address
	forwards  map[netip.AddrPort]*service // by own forwarding address
	flows     map[Key]*flow
	halfOpen  int
	opening   []*flow // half-open flows, the oldest first; others among them are passed over
	early     map[FlowID]Confirmation
	earlyAge  map[FlowID]Confirmation // the generation before
	elsewhere map[FlowID]struct{}     // the survivor's own, see Alone
	abroad    map[FlowID]struct{}     // executed by the peer, and the SYN has not come yet
}

// NewTable returns an empty table. The key makes the common initial sequence numbers; both
// hosts need the same one, and nobody else may know it (RFC 6528).
func NewTable(key []byte, limits Limits) *Table {
	return &Table{
		limits:    limits,
		key:       append([]byte(nil), key...),
		services:  map[netip.AddrPort]*service{},
		forwards:  map[netip.AddrPort]*service{},
		flows:     map[Key]*flow{},
		early:     map[FlowID]Confirmation{},
		elsewhere: map[FlowID]struct{}{},
		abroad:    map[FlowID]struct{}{},
	}
}

// SetLimits changes the limits. Flows beyond them stay, and no new one begins.
func (t *Table) SetLimits(limits Limits) { t.limits = limits }

// AddService makes the table take segments of an advertised address; its stance is zero.
func (t *Table) AddService(s Service) {
	v := &service{Service: s}
	t.services[s.Advertised] = v
	t.forwards[s.Forward] = v
}

// SetPeer sets where clones of a service go from now on: the peer's own address and forwarding
// port. A flow does not remember which peer holds it: those of the former peer have been ended
// or made this host's own before, by Survive or Fence.
func (t *Table) SetPeer(advertised, peer netip.AddrPort) {
	if v := t.services[advertised]; v != nil {
		v.Peer = peer
	}
}

// SetStance sets what happens to flows that begin from now on; what a change means for the
// flows that are there is said with Simplify, Promote or Fence.
func (t *Table) SetStance(advertised netip.AddrPort, s Stance) {
	if v := t.services[advertised]; v != nil {
		v.stance = s
	}
}

// initial returns the flow's common ISS and the common stamp of its first SYN-ACK: a keyed
// hash of its identity, so that both hosts have them without a word (paper 000 §3, step 9).
func (t *Table) initial(id FlowID) (iss Seq, stamp uint32) {
	var b [128]byte
	m := append(b[:0], t.key...)
	c, a := id.Client.Addr().As16(), id.Advertised.Addr().As16()
	m = append(append(m, c[:]...), a[:]...)
	m = binary.BigEndian.AppendUint16(m, id.Client.Port())
	m = binary.BigEndian.AppendUint16(m, id.Advertised.Port())
	m = binary.BigEndian.AppendUint32(m, uint32(id.ISN))
	sum := sha256.Sum256(m)
	return Seq(binary.BigEndian.Uint32(sum[:])), binary.BigEndian.Uint32(sum[4:])
}

// patience is how long an unfinished handshake is safe from others: longer than the round trip
// of nearly every client.
const patience = time.Second

// evict gives up the oldest handshake for a newer one, so that a flood of SYNs from forged
// addresses locks nobody out. The local kernel forgets its request by an RST that looks like
// the client's. It reports false if even the oldest is young.
func (t *Table) evict(now time.Duration, o *Outcome) bool {
	f := t.oldest()
	if f == nil || now-f.born < patience {
		return false
	}
	rst := Header{Src: f.id.Client, Dst: f.id.Advertised, Seq: f.id.ISN + 1, Flags: RST}
	o.ToLocal = append(o.ToLocal, AppendSegment(o.room(maxHeader), rst, nil))
	if old := t.flows[f.id.Key]; old != nil && old.next == f {
		old.next = nil
		t.opened(f)
	} else {
		t.end(f, o)
	}
	return true
}

// oldest returns the flow that has been half-open for longest, or nil.
func (t *Table) oldest() *flow {
	for len(t.opening) > 0 {
		if f := t.opening[0]; f.phase < established {
			return f
		}
		t.opening[0] = nil
		t.opening = t.opening[1:]
	}
	return nil
}

// open makes a flow for a SYN, or says which bound forbids it.
func (t *Table) open(id FlowID, svc *service, mode Mode, speaker bool, now time.Duration, o *Outcome) (*flow, Reason) {
	if t.halfOpen >= t.limits.HalfOpen && !t.evict(now, o) {
		return nil, HalfOpenLimit
	}
	if len(t.flows) >= t.limits.Flows {
		return nil, TableFull
	}
	iss, stamp := t.initial(id)
	f := &flow{id: id, svc: svc, mode: mode, speaker: speaker, foreign: !speaker,
		born: now, seen: now, iss: iss, maxAck: iss, tsEcho: stamp, tsEchoAt: now, tsSwitch: stamp,
		rcvNxt: id.ISN, edge: id.ISN, wantAck: id.ISN, wantEdge: id.ISN, sentAck: id.ISN,
		sentEdge: id.ISN, confAck: id.ISN, confEdge: id.ISN, toldAck: id.ISN, toldEdge: id.ISN}
	if mode == Simplex {
		f.lone = NoPeer
	}
	t.halfOpen++
	t.oldest() // passes over those that are open by now
	t.opening = append(t.opening, f)
	if c, ok := t.takeEarly(id); ok {
		f.confAck, f.confEdge = c.RcvNxt, c.Edge
	}
	if _, ok := t.abroad[id]; ok {
		f.abroad = true
		delete(t.abroad, id)
	}
	return f, OK
}

// opened records that the flow's handshake is over, one way or the other.
func (t *Table) opened(f *flow) {
	if f.phase < established {
		f.phase = established
		f.parked, f.synAck, f.synHeld = nil, nil, false
		t.halfOpen--
	}
}

// remove forgets a flow, and one that waits behind it.
func (t *Table) remove(f *flow) {
	t.opened(f)
	f.freeTail()
	if f.next != nil {
		t.opened(f.next)
		f.next = nil
	}
	if t.flows[f.id.Key] == f {
		delete(t.flows, f.id.Key)
	}
}

// end forgets a flow whose end here no sweep will find, and tells a peer that knows it to be this
// host's alone.
func (t *Table) end(f *flow, o *Outcome) {
	if f.mode == Simplex && f.svc.stance.Duplex {
		o.Notes = append(o.Notes, Note{Flow: f.id, Kind: NoteClosed})
	}
	t.remove(f)
}

// supersede puts the flow that a SYN opened on a live pair in the place of the old one.
func (t *Table) supersede(f *flow, o *Outcome) *flow {
	n := f.next
	f.next = nil
	t.end(f, o)
	t.flows[n.id.Key] = n
	return n
}

// walk gives each flow of a service to visit, one that waits behind another after that, and what
// comes of it to emit, in an Outcome that is reused. visit may remove the flow.
func (t *Table) walk(advertised netip.AddrPort, emit func(*Outcome), visit func(*flow, *Outcome)) {
	var o Outcome
	for _, f := range t.flows {
		if f.id.Advertised != advertised {
			continue
		}
		o.reset()
		for ; f != nil; f = f.next {
			visit(f, &o)
		}
		if !o.Empty() {
			emit(&o)
		}
	}
}

// find returns the flow with exactly this identity.
func (t *Table) find(id FlowID) *flow {
	f := t.flows[id.Key]
	if f == nil || f.id.ISN == id.ISN {
		return f
	}
	if f.next != nil && f.next.id.ISN == id.ISN {
		return f.next
	}
	return nil
}

// keepEarly remembers a confirmation that overtook its flow's clone. Two generations bound
// its life, Limits.Early its number.
func (t *Table) keepEarly(c Confirmation) {
	if len(t.early) >= t.limits.Early {
		t.ageEarly()
	}
	t.early[c.Flow] = c
}

func (t *Table) ageEarly() {
	t.earlyAge, t.early = t.early, make(map[FlowID]Confirmation, len(t.early))
	clear(t.abroad)
}

func (t *Table) takeEarly(id FlowID) (Confirmation, bool) {
	for _, m := range [...]map[FlowID]Confirmation{t.early, t.earlyAge} {
		if c, ok := m[id]; ok {
			delete(m, id)
			return c, true
		}
	}
	return Confirmation{}, false
}

// Accepted returns the identity and mode of a client's newest connection, and whether this host
// executes its requests, for a socket that the local kernel has just handed out: its handshake
// is over.
func (t *Table) Accepted(k Key) (id FlowID, mode Mode, executes, ok bool) {
	f := t.flows[k]
	if f == nil || f.phase == opening {
		return FlowID{}, 0, false, false
	}
	t.opened(f)
	return f.id, f.mode, f.speaker && !f.abroad, true
}

// Survived reports whether a flow was duplex when the peer was given up, so that the peer may have
// sent for it.
func (t *Table) Survived(id FlowID) bool {
	f := t.find(id)
	return f != nil && f.survived
}

// Mode returns the mode of a flow.
func (t *Table) Mode(id FlowID) (m Mode, ok bool) {
	f := t.find(id)
	if f == nil {
		return 0, false
	}
	return f.mode, true
}
