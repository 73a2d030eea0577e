// What a claim may need besides evidence: the witness' grant and the peer's fence command.
package main

import (
	"context"
	"net/netip"
	"time"

	"github.com/ftgw/ftgw/config"
	"github.com/ftgw/ftgw/hook"
	"github.com/ftgw/ftgw/replication"
	"github.com/ftgw/ftgw/takeover"
	"github.com/ftgw/ftgw/witness"
)

// votes takes what the witness says of a group.
type votes struct{ g *group }

var _ witness.Handler = votes{}

func (v votes) Answer(a replication.GrantAnswer) {
	kind := takeover.Denied
	if a.Granted {
		kind = takeover.Granted
	}
	v.g.post(takeover.Event{Kind: kind, From: v.g.index, Epoch: takeover.Epoch(a.Epoch), Held: takeover.Epoch(a.Held),
		Against: a.Against, Why: a.Why})
}

func (v votes) Notice(m replication.Notice) {
	v.g.post(takeover.Event{Kind: takeover.Superseded, From: v.g.index, Epoch: takeover.Epoch(m.Epoch)})
}

func (v votes) Witness(up bool) {
	if up {
		v.g.log.Info("witness is there")
	} else {
		v.g.log.Warn("witness does not answer: this node cannot claim until it does")
	}
}

// buildWitness makes the group's connection to the witness, if there is one.
func (g *group) buildWitness(keys replication.Keys) {
	n := g.n
	w, there := n.cfg.Witness()
	if !there {
		return
	}
	g.witness = witness.NewClient(witness.ClientConfig{
		Self:      netip.AddrPortFrom(n.self.Address, 0),
		Witness:   netip.AddrPortFrom(w.Address, n.cfg.SessionPort),
		Pair:      g.name,
		Keys:      keys,
		Hello:     func() replication.Hello { return g.hello(g.target()) },
		Beat:      func() replication.Heartbeat { return g.beat(g.target()) },
		Heartbeat: n.cfg.Timing.Heartbeat,
		Silence:   n.cfg.Timing.Lease,
		Handler:   votes{g},
		Log:       g.log,
	})
}

// AskGrant asks the witness; the answer comes as an event, or not at all.
func (g *group) AskGrant(e, base takeover.Epoch, empty bool) {
	g.witness.Ask(uint64(e), uint64(base), empty)
}

// ReportSilent tells the witness that the gate is closed.
func (g *group) ReportSilent(e takeover.Epoch) {
	if g.witness != nil {
		g.witness.Silent(uint64(e))
	}
}

// FencePeer runs a node's fence command. A claim that is called off meanwhile lets it run on:
// nobody knows what half of a power-off is.
func (g *group) FencePeer(e takeover.Epoch, i int) {
	g.n.begin(func(ctx context.Context) {
		target := g.nodes[i]
		g.log.Warn("powering the peer off before the claim", "peer", target.Name, "command", target.Fence)
		ev := takeover.Event{Kind: takeover.PeerFenced, From: i, Epoch: e}
		began := time.Now()
		if err := fenceCommand(target, g.n.now().Timing.FenceTimeout).Run(ctx); err != nil {
			g.log.Error("the peer is not powered off, so its address is not claimed", "peer", target.Name, "error", err)
			ev.Kind = takeover.FenceFailed
		} else {
			g.log.Warn("the peer is powered off", "peer", target.Name, "took", time.Since(began))
		}
		g.post(ev)
	})
}

// fenceCommand powers a node off.
func fenceCommand(target config.Node, limit time.Duration) hook.Command {
	return hook.Command{Name: "fence command of " + target.Name, Text: target.Fence, Limit: limit, Key: "fence_timeout",
		Remedy: "; if the node is off for sure, take it out of the service's nodes",
		Env:    []string{"FTGW_NODE=" + target.Name, "FTGW_ADDRESS=" + target.Address.String()}}
}
