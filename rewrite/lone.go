package rewrite

import (
	"net/netip"
	"time"
)

// Lone says why one host alone holds a flow. The zero Lone is none: both hold it.
type Lone uint8

// The reasons.
const (
	NotLone     Lone = iota
	NoPeer           // it began while there was no peer in sync
	PeerLost         // it was duplex, and the peer was given up
	PeerLate         // the peer did not confirm input within Limits.Hold
	PeerUnaware      // the peer does not know it
	NotStored        // the peer could not store what belongs to it
	OnRequest        // see Unshare: a route in mode unprotected
	PeerHolds        // it is the peer alone that holds it
	maxLone
)

var loneNames = [maxLone]string{"", "no-peer", "peer-lost", "peer-late", "peer-unaware", "not-stored", "unprotected-route", "peer-holds"}

// String returns the name in kebab case; the zero Lone has none.
func (l Lone) String() string { return loneNames[l] }

// Info is what a table tells of one flow.
type Info struct {
	ID      FlowID
	Mode    Mode
	Lone    Lone // why it is not duplex
	Speaker bool // this host sends for it
	Open    bool // the handshake is over
	Closing bool // the server or an RST has begun to end it
	Age     time.Duration
	Idle    time.Duration // since the last segment of either direction
}

// Flows tells of each flow of a service, in no order. visit must not call back into the table.
func (t *Table) Flows(advertised netip.AddrPort, now time.Duration, visit func(Info)) {
	t.walk(advertised, func(*Outcome) {}, func(f *flow, _ *Outcome) {
		i := Info{ID: f.id, Mode: f.mode, Speaker: f.speaker, Open: f.phase == established, Closing: f.closing,
			Age: now - f.born, Idle: now - f.seen}
		if f.mode != Duplex { // one that is may have been asked for
			i.Lone = f.lone
		}
		visit(i)
	})
}
