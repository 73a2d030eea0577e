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

// What a claim may need besides evidence: the witness' grant and the peer's fence command.

// votes takes what the witness says.
type votes struct {
	n   *node
	ctx context.Context
}

var _ witness.Handler = votes{}

func (v votes) Answer(a replication.GrantAnswer) {
	kind := takeover.Denied
	if a.Granted {
		kind = takeover.Granted
	}
	v.n.dir.post(v.ctx, takeover.Event{Kind: kind, Epoch: takeover.Epoch(a.Epoch), Held: takeover.Epoch(a.Held),
		Against: a.Against, Why: a.Why})
}

func (v votes) Notice(m replication.Notice) {
	v.n.dir.post(v.ctx, takeover.Event{Kind: takeover.Superseded, Epoch: takeover.Epoch(m.Epoch)})
}

func (v votes) Witness(up bool) {
	if up {
		v.n.log.Info("witness is there")
	} else {
		v.n.log.Warn("witness does not answer: this node cannot claim until it does")
	}
}

// buildWitness makes the connection to the witness, if there is one.
func (n *node) buildWitness(ctx context.Context, keys replication.Keys) {
	w, there := n.cfg.Witness()
	if !there {
		return
	}
	n.witness = witness.NewClient(witness.ClientConfig{
		Self:      netip.AddrPortFrom(n.self.Address, 0),
		Witness:   netip.AddrPortFrom(w.Address, n.cfg.SessionPort),
		Pair:      n.pair,
		Keys:      keys,
		Hello:     n.hello,
		Beat:      n.beat,
		Heartbeat: n.cfg.Timing.Heartbeat,
		Silence:   n.cfg.Timing.Lease,
		Handler:   votes{n, ctx},
		Log:       n.log,
	})
}

// AskGrant asks the witness; the answer comes as an event, or not at all.
func (n *node) AskGrant(e, base takeover.Epoch, empty bool) {
	n.witness.Ask(uint64(e), uint64(base), empty)
}

// ReportSilent tells the witness that the gate is closed.
func (n *node) ReportSilent(e takeover.Epoch) {
	if n.witness != nil {
		n.witness.Silent(uint64(e))
	}
}

// FencePeer runs the peer's fence command. A claim that is called off meanwhile lets it run on:
// nobody knows what half of a power-off is.
func (n *node) FencePeer(e takeover.Epoch) {
	n.begin(func(ctx context.Context) {
		n.log.Warn("powering the peer off before the claim", "peer", n.peer.Name, "command", n.peer.Fence)
		ev := takeover.Event{Kind: takeover.PeerFenced, Epoch: e}
		began := time.Now()
		if err := runFence(ctx, n.peer, n.cfg.Timing.FenceTimeout); err != nil {
			n.log.Error("the peer is not powered off, so its address is not claimed", "peer", n.peer.Name, "error", err)
			ev.Kind = takeover.FenceFailed
		} else {
			n.log.Warn("the peer is powered off", "peer", n.peer.Name, "took", time.Since(began))
		}
		n.dir.post(ctx, ev)
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
	return fmt.Errorf("fence command of %s: %w: %q (try it by hand: %s)", target.Name, err, text, target.Fence)
}
