// What a node sees to all the time, for all its groups: the lease, the flows, the epochs
// on disk.
package main

import (
	"context"
	"net/netip"
	"time"

	"github.com/ftgw/ftgw/rewrite"
	"github.com/ftgw/ftgw/sockdiag"
	"github.com/ftgw/ftgw/takeover"
)

// keepLease renews the leases while the directors allow it. It passes through every table's
// lock, so that a verdict loop that stands still loses them as well.
func (n *node) keepLease(ctx context.Context) error {
	t := time.NewTicker(n.cfg.Timing.Lease / 5)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		n.data.each(func(*rewrite.Table) {})
		n.leased.Store(int64(time.Since(n.started)))
		for _, g := range n.groups {
			g.gate.renew(g.dir.mayRenew)
		}
	}
}

// keepFlows lets flows expire, turns over those that only this host holds, and forgets those
// whose sockets are gone.
func (n *node) keepFlows(ctx context.Context) error {
	const expireEvery, sweepEvery = 200 * time.Millisecond, 2 * time.Second
	t := time.NewTicker(expireEvery)
	defer t.Stop()
	swept, looked := time.Now(), time.Now()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		late := time.Since(looked) > 2*expireEvery
		looked = time.Now()
		if late { // this process stood still: what it waits for may wait for it
			t.Reset(expireEvery)
			continue
		}
		n.data.expire()
		if time.Since(swept) < sweepEvery {
			continue
		}
		swept = time.Now()
		for _, g := range n.groups {
			for _, v := range g.services {
				n.sweep(v.cfg.Advertised)
			}
			g.turnOverAll()
		}
	}
}

func (n *node) sweep(advertised netip.AddrPort) {
	sockets, err := sockdiag.List(advertised)
	if err != nil {
		n.log.Warn("cannot list sockets", "address", advertised, "error", err)
		return
	}
	live := make(map[netip.AddrPort]struct{}, len(sockets))
	for _, s := range sockets {
		live[s.Remote] = struct{}{}
	}
	n.data.sweep(advertised, live)
}

// epochWrite is an epoch of one group that is to be put on disk.
type epochWrite struct {
	g *group
	e takeover.Epoch
}

// keepEpochs writes the epochs in the order in which the directors gave them; those that wait go
// together. It is the only one that writes.
func (n *node) keepEpochs(ctx context.Context) error {
	for {
		var batch []epochWrite
		select {
		case <-ctx.Done():
			return nil
		case w := <-n.writes:
			batch = append(batch, w)
		}
		for more := true; more; {
			select {
			case w := <-n.writes:
				batch = append(batch, w)
			default:
				more = false
			}
		}
		fresh := map[string]takeover.Epoch{}
		for _, w := range batch {
			fresh[w.g.name] = w.e
		}
		kind := takeover.EpochWritten
		if err := n.epochs.write(fresh); err != nil {
			n.log.Error("cannot write the epochs", "error", err)
			kind = takeover.EpochWriteFailed
		}
		for _, w := range batch {
			w.g.post(takeover.Event{Kind: kind, From: w.g.index, Epoch: w.e})
		}
	}
}
