// What a reload changes, and how the two hosts of a pair come through it: each says all the time
// which settings it has, as a hash. They may differ, and should not for long: meanwhile no reply
// goes out that leans on the other host's doing the same (proxy/reload.go). Who is about to change
// its own says a random number instead, and waits until the other one has heard it and has no such
// reply out any more:
//
//	a  ── settings 1 ──────────► b   replies lean on each other
//	a  ── a random number ─────► b   not from now on
//	a  ◄─ settled with that ──── b   once b has none out
//	a  changes
//	a  ── settings 2 ──────────► b   they differ, until b is reloaded, too
package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/ftgw/ftgw/takeover"
)

// settleWithin bounds the wait for the peer; the proxy gives up a reply that the peer does not answer
// before.
const settleWithin = 15 * time.Second

// agreed reports whether the present peer has the settings of this node, as far as is known.
func (g *group) agreed() bool { return g.said[g.target()].Load() == g.n.word.Load() }

// settledWith is what a node of the group is told: its own settings, when no reply is out here that
// leans on earlier ones.
func (g *group) settledWith(i int) uint64 {
	theirs := g.said[i].Load() // first: see proxy.executor.mayOutrun
	if theirs != g.n.word.Load() && g.behind() > 0 {
		return 0
	}
	return theirs
}

// behind counts the replies that are out and that the peer may not have.
func (g *group) behind() int {
	sum := 0
	for _, v := range g.services {
		sum += v.proxy.Behind()
	}
	return sum
}

var errNotSettled = errors.New("the peer has not answered in time, so nothing was changed (see ftgw status; then try again)")

// settle says that the settings are about to change and waits until nothing leans on the present
// ones any more. If it fails they are in force again.
func (n *node) settle(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, settleWithin, errNotSettled)
	defer cancel()
	word := rand.Uint64() | 1
	n.word.Store(word)
	for _, g := range n.groups {
		for !g.isSettled(word) {
			select {
			case <-ctx.Done():
				n.word.Store(n.now().Settings())
				return fmt.Errorf("%s: waiting for %s: %w", g.names(), g.nodes[g.target()].Name, context.Cause(ctx))
			case <-time.After(time.Millisecond):
			}
		}
	}
	return nil
}

func (g *group) isSettled(word uint64) bool {
	st := g.dir.status.Load()
	alone := st.Role != takeover.Primary && st.Role != takeover.Backup
	return g.behind() == 0 && (alone || g.settled[st.Target].Load() == word)
}

// settingsWarnings name the nodes whose settings differ.
func (n *node) settingsWarnings() []string {
	var all []string
	for _, o := range n.cfg.Nodes {
		differs := false
		n.member(o.Name, func(g *group, i int) {
			theirs := g.said[i].Load()
			differs = differs || theirs != 0 && theirs != n.word.Load() && g.links[i].Status().Up
		})
		if differs {
			all = append(all, fmt.Sprintf("node %s has other settings than this one: until both have the same, replies on static and sync-static "+
				"routes are stored, and %s would serve by its own (install the same file on both, then run ftgw reload on each)", o.Name, o.Name))
		}
	}
	return all
}
