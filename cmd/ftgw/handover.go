package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/ftgw/ftgw/proxy"
	"github.com/ftgw/ftgw/replication"
	"github.com/ftgw/ftgw/rewrite"
	"github.com/ftgw/ftgw/takeover"
)

// A switchover on this node: the director moves voice and address, the packet layer the voice of
// each flow, the proxies the exchanges, one flow at a time between two requests.

// Yield makes this host silent for its duplex flows and names those whose exchanges it goes on
// to execute.
func (n *node) Yield() {
	for _, v := range n.services {
		a := v.cfg.Advertised
		proxy.Speak(v.listener, false)
		n.data.setStance(a, rewrite.Stance{Serve: true, Duplex: true})
		n.data.each(func(t *rewrite.Table) { t.Yield(a, n.data.send) })
		for _, id := range v.proxy.Yield(n.shared) {
			n.link.Note(replication.FlowNote{Flow: id, Kind: replication.NoteExecutes})
		}
	}
}

// HandOver tells the peer, after all that Yield said.
func (n *node) HandOver(e takeover.Epoch, turn uint16, voice, address bool) {
	note := replication.FlowNote{Kind: replication.NoteHandOver}
	if voice {
		note.Reason |= replication.HandOverVoice
	}
	if address {
		note.Reason |= replication.HandOverAddress
	}
	a := n.services[0].cfg.Advertised
	note.Flow.Client, note.Flow.Advertised = netip.AddrPortFrom(a.Addr(), turn), a
	note.Flow.ISN = rewrite.Seq(e)
	n.link.Note(note)
}

// TakeVoice makes this host speak for the flows that the peer has yielded, and execute those
// that the peer has not begun.
func (n *node) TakeVoice() {
	for _, v := range n.services {
		a := v.cfg.Advertised
		proxy.Speak(v.listener, true)
		n.data.each(func(t *rewrite.Table) {
			t.SetStance(a, rewrite.Stance{Serve: true, Duplex: true, Speak: true})
			t.Speak(a, n.data.now(), func(o *rewrite.Outcome) { n.held = append(n.held, o.Copy()) })
		})
		v.proxy.Take(func(id rewrite.FlowID) bool { return n.shared(id) && !n.data.executedByPeer(id) })
	}
}

// shared reports whether both hosts hold a flow.
func (n *node) shared(id rewrite.FlowID) bool {
	mode, ok := n.data.mode(id)
	return ok && mode == rewrite.Duplex
}

func (d *datapath) executedByPeer(id rewrite.FlowID) bool {
	s := d.shard(id.Client)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.table.ExecutedByPeer(id)
}

func (d *datapath) executes(id rewrite.FlowID) {
	s := d.shard(id.Client)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.table.Executes(id)
}

var errAlone = errors.New("this node serves alone: there is nobody to hand over to")

// relinquish gives the peer this node's voice and, if wanted, its address, and waits until the
// peer has them and every exchange that ran here has ended. Connections that only this host
// holds are turned over first. It reports how far it came when ctx ends.
func (n *node) relinquish(ctx context.Context, address bool) error {
	st := n.dir.status.Load()
	if !st.Paired {
		return errAlone
	}
	voice := st.Role == takeover.Primary
	if !voice && !(address && st.Owner) {
		return nil
	}
	n.draining.Store(true)
	defer n.draining.Store(false)
	if voice {
		if err := n.await(ctx, "connections that only this host holds", func() int { return n.count().Simplex }, n.turnOverAll); err != nil {
			return err
		}
	}
	// The machine gives nothing away while it doubts the peer's life, so it is asked again.
	ask := func() {
		n.dir.post(ctx, takeover.Event{Kind: takeover.Relinquish, Voice: voice, Address: address})
	}
	ask()
	if err := n.await(ctx, "the peer to take over", func() int {
		st := n.dir.status.Load()
		if voice && (st.Role == takeover.Primary || st.Peer.Role != takeover.Primary) || address && st.Owner {
			return 1
		}
		return 0
	}, ask); err != nil {
		return err
	}
	return n.await(ctx, "exchanges that run here", func() int {
		sum := 0
		for _, v := range n.services {
			sum += v.proxy.Executing()
		}
		return sum
	}, n.yieldRest)
}

func (n *node) turnOverAll() {
	for _, v := range n.services {
		v.proxy.TurnOver()
	}
}

// yieldRest asks anew for the exchanges that are still here: one that was handed over from the
// peer meanwhile was not asked, and an idle one may have missed it.
func (n *node) yieldRest() {
	n.turnOverAll()
	if n.dir.status.Load().Role != takeover.Backup {
		return
	}
	for _, v := range n.services {
		v.proxy.Yield(n.shared)
	}
}

// await waits until left is 0, and nudges meanwhile.
func (n *node) await(ctx context.Context, what string, left func() int, nudge func()) error {
	t := time.NewTicker(5 * time.Millisecond)
	defer t.Stop()
	for i := 1; left() > 0; i++ {
		if i%40 == 0 {
			nudge()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %d left: %w", what, left(), context.Cause(ctx))
		case <-t.C:
		}
		if n.dir.status.Load().Role == takeover.Sole {
			return errAlone
		}
	}
	return nil
}

// count counts the flows of all services.
func (n *node) count() rewrite.Count {
	var sum rewrite.Count
	for _, v := range n.services {
		c := n.data.count(v.cfg.Advertised)
		sum.Duplex += c.Duplex
		sum.Simplex += c.Simplex
	}
	return sum
}
