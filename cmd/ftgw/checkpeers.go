package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/ftgw/ftgw/config"
	"github.com/ftgw/ftgw/inspect"
	"github.com/ftgw/ftgw/replication"
	"github.com/ftgw/ftgw/replication/link"
)

// What check finds out about the other nodes: do they answer, with the same secret, config and
// version, do the clocks agree, and are the kernels set alike.

// askWait bounds the wait for one node.
const askWait = 2 * time.Second

// askNodes asks every other node that this one has to do with, all at once. A node that does not
// answer may only not have been started yet. Without keys, or an address to ask from, nobody is.
func askNodes(ctx context.Context, cfg *config.Config, keys *replication.Keys, place inspect.Place) []inspect.Peer {
	var all []inspect.Peer
	var groups []string
	var nodes []config.Node
	for _, n := range cfg.Nodes {
		if group := sharedGroup(cfg, n); n.Name != cfg.Name && group != "" {
			nodes = append(nodes, n)
			all, groups = append(all, inspect.Peer{Name: n.Name, Address: n.Address, Witness: n.Witness}), append(groups, group)
		}
	}
	kernel, err := kernelFacts(place.Interface)
	here := err == nil
	if cfg.Self().Witness { // the others call it
		return all
	}
	var wg sync.WaitGroup
	for i := range all {
		p := &all[i]
		switch {
		case place.Interface == "":
			p.Problem = "not asked, since " + cfg.Self().Address.String() + " is no address of this host"
			continue
		case keys == nil:
			p.Problem = "not asked, for want of the secret"
			continue
		}
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, askWait)
			defer cancel()
			hello := replication.Hello{Node: cfg.Name, Group: groups[i], ConfigDigest: cfg.Digest(), Settings: cfg.Settings(), Kernel: kernel}
			theirs, err := link.Ask(ctx, cfg.Self().Address, netip.AddrPortFrom(p.Address, cfg.SessionPort), *keys, hello)
			answered(p, theirs, err)
			p.Unlike = err == nil && theirs.Settings != hello.Settings
			if p.Kernel = here && err == nil && !p.Witness; p.Kernel {
				p.Differs = unequal(kernel, theirs.Kernel)
			}
			if by := ownPath(cfg.Self(), nodes[i], cfg.SessionPort); by.Peer.IsValid() && err == nil {
				p.Apart = by.Peer.Addr()
				if _, err := link.Ask(ctx, by.Self.Addr(), by.Peer, *keys, hello); err != nil {
					p.Unreached = err.Error()
				}
			}
		})
	}
	wg.Wait()
	return all
}

// answered notes what came of asking a node.
func answered(p *inspect.Peer, theirs replication.Hello, err error) {
	if err != nil {
		p.Problem, p.Refused, p.Remedy = err.Error(), link.Refuses(err), "start ftgw there; ftgw check there says what is in its way"
		for known, remedy := range map[error]string{
			link.ErrConfig: "install the same ftgw.toml on both, and restart ftgw where it was another", link.ErrSelf: "give each node its own name, in the file or with --name",
			replication.ErrSecret: "copy secret_file from one to the other", replication.ErrVersion: "install the same release on both",
		} {
			if errors.Is(err, known) {
				p.Remedy = remedy
			}
		}
		return
	}
	if p.Skew = time.Until(time.UnixMilli(theirs.Wall)); p.Skew.Abs() > link.MaxSkew {
		p.Skewed = skewText(p.Skew)
	}
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
