// A switchover of a group: the director moves voice and address, the packet layer the voice of
// each flow, the proxies the exchanges, one flow at a time between two requests.
package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/ftgw/ftgw/proxy"
	"github.com/ftgw/ftgw/replication"
	"github.com/ftgw/ftgw/replication/link"
	"github.com/ftgw/ftgw/rewrite"
	"github.com/ftgw/ftgw/takeover"
)

// Yield makes this host silent for its duplex flows and names those whose exchanges it goes on
// to execute.
func (g *group) Yield() {
	for _, v := range g.services {
		a := v.cfg.Advertised
		proxy.Speak(v.listener, false)
		g.n.data.setStance(a, rewrite.Stance{Serve: true, Duplex: true})
		g.n.data.each(func(t *rewrite.Table) { t.Yield(a, g.n.data.send) })
		for _, id := range v.proxy.Yield(g.n.data.shared) {
			g.link().Note(replication.FlowNote{Flow: id, Kind: replication.NoteExecutes})
		}
	}
}

// HandOver tells the peer, after all that Yield said.
func (g *group) HandOver(e takeover.Epoch, turn uint16, voice, address bool) {
	note := replication.FlowNote{Kind: replication.NoteHandOver}
	if voice {
		note.Reason |= replication.HandOverVoice
	}
	if address {
		note.Reason |= replication.HandOverAddress
	}
	a := g.services[0].cfg.Advertised
	note.Flow.Client, note.Flow.Advertised = netip.AddrPortFrom(a.Addr(), turn), a
	note.Flow.ISN = rewrite.Seq(e)
	g.link().Note(note)
}

// TakeVoice makes this host speak for the flows that the peer has yielded, and execute those
// that the peer has not begun.
func (g *group) TakeVoice() {
	d := g.n.data
	for _, v := range g.services {
		a := v.cfg.Advertised
		proxy.Speak(v.listener, true)
		d.each(func(t *rewrite.Table) {
			t.SetStance(a, rewrite.Stance{Serve: true, Duplex: true, Speak: true})
			t.Speak(a, d.now(), func(o *rewrite.Outcome) { g.held = append(g.held, o.Copy()) })
		})
		v.proxy.Take(func(id rewrite.FlowID) bool { return d.shared(id) && !d.executedByPeer(id) })
	}
}

var (
	errAlone  = errors.New("this node serves alone: there is nobody to hand over to")
	errFenced = errors.New("another node has claimed meanwhile: the connections are lost, and there is nothing left to hand over")
)

// relinquish gives the peer this node's voice and, if wanted, its address, and waits until the
// peer has them and every exchange that ran here has ended. Connections that only this host
// holds are turned over first. What an earlier one has given up on is waited for as well. It reports
// how far it came when ctx ends. Where this node serves nothing there is nothing to give.
func (g *group) relinquish(ctx context.Context, address bool) error {
	st := g.dir.status.Load()
	if st.Role == takeover.Joining || st.Role == takeover.Fenced {
		return nil
	}
	if !st.Paired {
		if err := g.joined(ctx); err != nil {
			return err
		}
		st = g.dir.status.Load()
	}
	g.draining.Add(1)
	defer g.draining.Add(-1)
	if voice := st.Role == takeover.Primary; voice || address && st.Owner {
		if err := g.give(ctx, voice, address); err != nil {
			return err
		}
	}
	return g.await(ctx, "exchanges that run here", g.executing, g.yieldRest)
}

// give does it without the exchanges.
func (g *group) give(ctx context.Context, voice, address bool) error {
	if voice {
		if err := g.await(ctx, "connections that only this host holds", func() int { return g.count().Simplex }, g.turnOverAll); err != nil {
			return err
		}
		if err := g.await(ctx, "replies of deferred routes, which the peer does not have", g.deferring, func() {}); err != nil {
			return err
		}
	}
	// The machine gives nothing away while it doubts the peer's life, so it is asked again.
	ask := func() {
		g.dir.post(ctx, takeover.Event{Kind: takeover.Relinquish, From: g.index, Voice: voice, Address: address})
	}
	ask()
	return g.await(ctx, "the peer to take over", func() int {
		st := g.dir.status.Load()
		if voice && (st.Role == takeover.Primary || st.Peer.Role != takeover.Primary) || address && st.Owner {
			return 1
		}
		return 0
	}, ask)
}

// joined waits for a node that is about to join this one, as a spare does when its survivor has
// just claimed.
func (g *group) joined(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*g.n.cfg.Timing.HangTimeout)
	defer cancel()
	left := func() int {
		if g.dir.status.Load().Paired {
			return 0
		}
		return 1
	}
	nobody := func() error {
		if slices.ContainsFunc(g.links, func(l *link.Link) bool { return l != nil && l.Status().Up }) {
			return nil
		}
		return errAlone
	}
	if await(ctx, "a node to join", left, nobody, func() {}) != nil {
		return errAlone
	}
	return nil
}

// executing is how many connections this host executes.
func (g *group) executing() int {
	sum := 0
	for _, v := range g.services {
		sum += v.proxy.Executing()
	}
	return sum
}

// mayDefer reports whether a reply may go out of which the peer gets the digests alone: this host speaks
// for its flow, and is not about to give that away.
func (g *group) mayDefer(id rewrite.FlowID) bool {
	return g.draining.Load() == 0 && g.n.data.speaks(id)
}

// deferring is how many such replies are under way.
func (g *group) deferring() int {
	sum := 0
	for _, v := range g.services {
		sum += v.proxy.Deferring()
	}
	return sum
}

func (g *group) turnOverAll() {
	for _, v := range g.services {
		v.proxy.TurnOver()
	}
}

// yieldRest asks anew for the exchanges that are still here: one that was handed over from the
// peer meanwhile was not asked, and an idle one may have missed it.
func (g *group) yieldRest() {
	g.turnOverAll()
	if g.dir.status.Load().Role != takeover.Backup {
		return
	}
	for _, v := range g.services {
		v.proxy.Yield(g.n.data.shared)
	}
}

// await waits until left is 0 while there is a pair, and nudges meanwhile.
func (g *group) await(ctx context.Context, what string, left func() int, nudge func()) error {
	over := func() error {
		switch g.dir.status.Load().Role {
		case takeover.Sole:
			return errAlone
		case takeover.Fenced, takeover.Joining:
			return errFenced
		}
		return nil
	}
	if err := await(ctx, what, left, over, nudge); err != nil {
		return err
	}
	return over()
}

// await waits until left is 0 or something is wrong, and nudges meanwhile.
func await(ctx context.Context, what string, left func() int, wrong func() error, nudge func()) error {
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
		if err := wrong(); err != nil {
			return err
		}
	}
	return nil
}

// count counts the flows of all services of the group.
func (g *group) count() rewrite.Count {
	var sum rewrite.Count
	for _, v := range g.services {
		c := g.n.data.count(v.cfg.Advertised)
		sum.Duplex += c.Duplex
		sum.Simplex += c.Simplex
	}
	return sum
}
