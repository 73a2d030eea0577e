package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"sync"
	"time"

	"github.com/ftgw/ftgw/config"
	"github.com/ftgw/ftgw/replication"
	"github.com/ftgw/ftgw/replication/link"
	"github.com/ftgw/ftgw/takeover/address"
)

// What check finds out about the other nodes: do they answer, with the same secret, config and
// version, and do the clocks agree.

// askWait bounds the wait for one node.
const askWait = 2 * time.Second

// askNodes asks every other node that this one has to do with, all at once, and writes a line
// for each. It returns an error if one refuses this node: the two would never be a pair. A node
// that does not answer may only not have been started yet.
func askNodes(ctx context.Context, out io.Writer, cfg *config.Config, keys replication.Keys) error {
	if _, _, err := address.InterfaceOf(cfg.Self().Address); err != nil {
		_, err := fmt.Fprintf(out, "the other nodes were not asked: %s is no address of this host\n", cfg.Self().Address)
		return err
	}
	lines, refused := make([]string, len(cfg.Nodes)), make([]bool, len(cfg.Nodes))
	var wg sync.WaitGroup
	for i, n := range cfg.Nodes {
		group := sharedGroup(cfg, n)
		if n.Name == cfg.Name || group == "" {
			continue
		}
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, askWait)
			defer cancel()
			hello := replication.Hello{Node: cfg.Name, Group: group, ConfigDigest: cfg.Digest()}
			theirs, err := link.Ask(ctx, cfg.Self().Address, netip.AddrPortFrom(n.Address, cfg.SessionPort), keys, hello)
			refused[i] = link.Refuses(err)
			lines[i] = answerLine(n.Name, time.Until(time.UnixMilli(theirs.Wall)), err)
		})
	}
	wg.Wait()
	var all error
	for i, line := range lines {
		if _, err := io.WriteString(out, line); err != nil {
			return err
		}
		if refused[i] {
			all = errors.Join(all, fmt.Errorf("node %s and this one would be no pair, see above", cfg.Nodes[i].Name))
		}
	}
	return all
}

// answerLine says what came of asking a node whose clock is ahead by skew.
func answerLine(name string, skew time.Duration, err error) string {
	switch {
	case err != nil:
		return fmt.Sprintf("node %s: %v\n", name, err)
	case skew.Abs() > link.MaxSkew:
		return fmt.Sprintf("node %s: answers\nWARNING: the clock of node %s is %s\n", name, name, skewText(skew))
	}
	return fmt.Sprintf("node %s: answers\n", name)
}

// skewText says how far another node's clock is off, with the remedy.
func skewText(skew time.Duration) string {
	way := "ahead of"
	if skew < 0 {
		way = "behind"
	}
	return fmt.Sprintf("%v %s this node's: logs of the two cannot be compared (run a time service such as chrony on both)", skew.Abs().Round(time.Second), way)
}

// sharedGroup returns a group by which this node and n know each other, or nothing. A witness
// has to do with all.
func sharedGroup(cfg *config.Config, n config.Node) string {
	for _, g := range cfg.Groups() {
		if (n.Witness || g.Index(n.Name) >= 0) && (cfg.Self().Witness || g.Index(cfg.Name) >= 0) {
			return g.Name
		}
	}
	return ""
}
