// What a claim may need besides evidence: the witness' grant and the peer's fence command.
package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/ftgw/ftgw/config"
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
		if err := runFence(ctx, target, g.n.now().Timing.FenceTimeout); err != nil {
			g.log.Error("the peer is not powered off, so its address is not claimed", "peer", target.Name, "error", err)
			ev.Kind = takeover.FenceFailed
		} else {
			g.log.Warn("the peer is powered off", "peer", target.Name, "took", time.Since(began))
		}
		g.post(ev)
	})
}

// runFence runs a node's fence command in the shell and waits for its end, with all that it
// started, for limit at most.
func runFence(ctx context.Context, target config.Node, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", target.Fence)
	cmd.Env = append(cmd.Environ(), "FTGW_NODE="+target.Name, "FTGW_ADDRESS="+target.Address.String())
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	if err == nil {
		return nil
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		err = fmt.Errorf("did not end within fence_timeout, %v", limit)
	}
	const most = 500 // bytes of what it printed
	text := strings.TrimSpace(string(out[:min(len(out), most)]))
	return fmt.Errorf("fence command of %s: %w: %q (try it by hand: %s; if the node is off for sure, take it out of the service's nodes)", target.Name, err, text, target.Fence)
}
