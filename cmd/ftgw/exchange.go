// How the proxy sees the packet layer and the peer, and the packet layer the peer.
package main

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/ftgw/ftgw/proxy"
	"github.com/ftgw/ftgw/replication"
	"github.com/ftgw/ftgw/replication/link"
	"github.com/ftgw/ftgw/rewrite"
)

// flows is the packet layer as the proxy sees it.
type flows struct{ d *datapath }

var _ proxy.Flows = flows{}

// Accepted names the flow behind a socket that the kernel has just handed out.
func (f flows) Accepted(client, local netip.AddrPort) (rewrite.FlowID, proxy.Duty, bool) {
	s := f.d.shard(client)
	s.mu.Lock()
	id, mode, executes, ok := s.table.Accepted(rewrite.Key{Client: client, Advertised: local})
	s.mu.Unlock()
	switch {
	case !ok || mode == rewrite.Relay:
		return id, 0, false
	case executes:
		return id, proxy.Executor, true
	default:
		return id, proxy.Standby, true
	}
}

// Duty is asked where the voice has moved while a socket was handed out.
func (f flows) Duty(id rewrite.FlowID) proxy.Duty {
	s := f.d.shard(id.Client)
	s.mu.Lock()
	defer s.mu.Unlock()
	if now, _, executes, ok := s.table.Accepted(id.Key); ok && now == id && executes {
		return proxy.Executor
	}
	return proxy.Standby
}

// Survived is asked when a socket is handed out right after a takeover.
func (f flows) Survived(id rewrite.FlowID) bool {
	s := f.d.shard(id.Client)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.table.Survived(id)
}

// Received confirms input to the peer where this host does not speak.
func (f flows) Received(id rewrite.FlowID, n uint64, eof bool) {
	f.d.on(id.Client, func(t *rewrite.Table, o *rewrite.Outcome) { t.Received(id, n, eof, f.d.now(), o) })
}

// Reset has the packet layer end the connection.
func (f flows) Reset(id rewrite.FlowID) {
	f.d.on(id.Client, func(t *rewrite.Table, o *rewrite.Outcome) { t.Reset(id, f.d.now(), o) })
}

// Closed changes nothing: the flow lives as long as the kernel has a socket for it.
func (f flows) Closed(rewrite.FlowID) {}

// exchanges stores the records of one service of this host on the group's present peer.
type exchanges struct {
	g *group
	v *service
}

// stores counts the records that the peer has stored.
type stores struct{ records, bytes, nanoseconds atomic.Uint64 }

func (s *stores) add(size int64, took time.Duration) {
	s.records.Add(1)
	s.bytes.Add(uint64(size))
	s.nanoseconds.Add(uint64(took))
}

var _ proxy.Log = exchanges{}

var (
	errNotBackup = errors.New("this host is not the backup of that epoch")

	errNotMoved = errors.New("the peer does not take the flow")
	errNoVoice  = errors.New("the peer speaks for the flow and does not take the reply")
)

// Store returns nil when the peer has the record, or when the flow is this host's alone: but a
// handover is in vain then. A peer that is alive and cannot keep a record loses the flow, unless
// it speaks for it: then this host does, for a reply would reach nobody. A peer that refuses it
// because it has claimed is obeyed: the flow then waits for the fence in silence.
func (e exchanges) Store(ctx context.Context, r proxy.Record, body io.ReaderAt) error {
	d := e.g.n.data
	alone := func() error {
		if r.Kind.Gives() {
			return errNotMoved
		}
		return nil
	}
	if mode, ok := d.mode(r.Flow); !ok || mode == rewrite.Simplex {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return alone()
	}
	r.Epoch = uint64(e.g.dir.epoch())
	began := time.Now()
	err := e.g.link().Store(ctx, r, body)
	switch {
	case err == nil:
		e.v.stores.add(r.Size, time.Since(began))
	case errors.Is(err, link.ErrAbandoned):
		if r.Kind.Gives() {
			return proxy.ErrPeerLost
		}
		return nil // this host has claimed: the peer is dead or will fence itself
	case errors.Is(err, link.ErrRefused) && e.g.dir.outdated():
		<-ctx.Done()
		return ctx.Err()
	case errors.Is(err, link.ErrRefused), errors.Is(err, link.ErrFailed):
		if r.Kind.Gives() {
			return errNotMoved
		}
		if r.Kind == replication.KindSame && errors.Is(err, link.ErrFailed) {
			return proxy.ErrDiffers
		}
		if r.Kind == replication.KindSame {
			return proxy.ErrUnlike
		}
		if !d.simplify(r.Flow) {
			peerLink{e.g}.Note(rewrite.Note{Flow: r.Flow, Kind: rewrite.NoteUnknown})
			return errNoVoice
		}
		return nil
	}
	return err
}

// peerLink tells the group's present peer what the packet layer has for it.
type peerLink struct{ g *group }

func (p peerLink) Confirm(c rewrite.Confirmation) { p.g.link().Confirm(c) }

func (p peerLink) Note(n rewrite.Note) {
	p.g.link().Note(replication.FlowNote{Flow: n.Flow, Kind: noteKinds[n.Kind]})
}

// noteKinds gives the packet layer's notes their numbers on the wire.
var noteKinds = map[rewrite.NoteKind]replication.NoteKind{
	rewrite.NoteSimplex: replication.NoteSimplex,
	rewrite.NoteUnknown: replication.NoteUnknown,
	rewrite.NoteRelayed: replication.NoteRelayed,
	rewrite.NoteClosed:  replication.NoteClosed,
}

// noteOf is the reverse; NoteNone for what does not concern the packet layer.
func noteOf(k replication.NoteKind) rewrite.NoteKind {
	for n, wire := range noteKinds {
		if wire == k {
			return n
		}
	}
	return rewrite.NoteNone
}
