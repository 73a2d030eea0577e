// How a node gives up what it does, by an operator's wish or at its end: every group hands over to
// its peer, and where there is none the service ends in good order.
package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sync/errgroup"

	"github.com/ftgw/ftgw/internal/defect"
	"github.com/ftgw/ftgw/sockdiag"
	"github.com/ftgw/ftgw/takeover"
)

// drainFor bounds how long a node that is asked to stop waits for its exchanges.
const drainFor = 15 * time.Second

// lastWords is how long the farewell has to be on its way before the sessions close.
const lastWords = 20 * time.Millisecond

// switchover swaps the roles of the group of the named service, or of the only group.
func (n *node) switchover(ctx context.Context, service string) error {
	g, err := n.groupFor(service)
	if err != nil {
		return err
	}
	if role := g.dir.status.Load().Role; role == takeover.Joining || role == takeover.Fenced {
		return fmt.Errorf("%s: this node serves nothing, it is %s: ask one that ftgw status shows as primary or backup", g.names(), role)
	}
	if err := g.relinquish(ctx, false); err != nil {
		return fmt.Errorf("%s: %w", g.names(), err)
	}
	return nil
}

// groupFor finds the group of a service; without a name the only group.
func (n *node) groupFor(service string) (*group, error) {
	var all []string
	for _, g := range n.groups {
		for _, v := range g.services {
			if v.cfg.Name == service {
				return g, nil
			}
			all = append(all, v.cfg.Name)
		}
	}
	switch {
	case service != "":
		return nil, fmt.Errorf("this node has no service %q: name one of %s", service, strings.Join(all, ", "))
	case len(n.groups) > 1:
		return nil, fmt.Errorf("this node is in %d groups, whose roles are swapped one by one: name a service, one of %s", len(n.groups), strings.Join(all, ", "))
	}
	return n.groups[0], nil
}

// alone names the services that this node serves alone, with nobody about to join.
func (n *node) alone(ctx context.Context) string {
	var all []string
	for _, g := range n.groups {
		if g.dir.status.Load().Role == takeover.Sole && g.joined(ctx) != nil {
			all = append(all, g.names())
		}
	}
	return strings.Join(all, ", ")
}

// drain gives all that this node does to its peers. What it serves alone it gives up only if
// force is set: it then ends that within limit, and the node stops. It is not called off by the
// end of ctx then, for new connections are turned away already.
func (n *node) drain(ctx context.Context, force bool, limit time.Duration) error {
	alone := n.alone(ctx)
	if alone != "" && !force {
		return fmt.Errorf("%s: %w (start another node of its list first; or, to stop the service, use --force)", alone, errAlone)
	}
	if alone == "" {
		return n.handOverAll(ctx, false)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	defer cancel()
	err := n.handOverAll(ctx, true)
	n.log.Warn("stopping, as drain --force asks", "served alone", alone, "error", err)
	n.quitting.Do(func() { close(n.quit) })
	return err
}

// handOverAll does it for all groups at once. With finish, one that has nobody ends its service.
func (n *node) handOverAll(ctx context.Context, finish bool) error {
	var all errgroup.Group
	for _, g := range n.groups {
		all.Go(func() error {
			defer defect.Guard()
			err := g.relinquish(ctx, true)
			if finish && errors.Is(err, errAlone) {
				err = g.finish(ctx)
			}
			if err != nil {
				err = fmt.Errorf("%s: %w", g.names(), err)
			}
			return err
		})
	}
	return all.Wait()
}

// finish ends a service for good, since nobody else has it: no connection begins any more, and
// each that is there ends after the reply in progress, or when it has idled.
func (g *group) finish(ctx context.Context) error {
	g.ending.Store(true)
	for _, v := range g.services {
		g.n.data.shut(v.cfg.Advertised)
	}
	g.turnOverAll()
	none := func() error { return nil }
	return await(ctx, "connections to end", g.unended, none, g.turnOverAll)
}

// unended counts the connections of the group whose clients have not acknowledged all that they
// are to get, the end included. A client that keeps its own half open has no more to lose.
func (g *group) unended() int {
	sum := 0
	for _, v := range g.services {
		sockets, err := sockdiag.List(v.cfg.Advertised, sockdiag.Established, sockdiag.CloseWait,
			sockdiag.FinWait1, sockdiag.Closing, sockdiag.LastAck)
		if err != nil {
			g.log.Warn("cannot list sockets", "address", v.cfg.Advertised, "error", err)
		}
		sum += len(sockets)
	}
	return sum
}

// farewell hands over what is not drained yet, makes this node silent and tells the others, who
// then claim at once.
func (n *node) farewell(drained bool) {
	n.log.Info("node stops", "node", n.self.Name)
	supervise(n.log, daemon.SdNotifyStopping)
	if !drained {
		drain, cancel := context.WithTimeout(n.ctx, drainFor)
		defer cancel()
		if err := n.handOverAll(drain, true); err != nil {
			n.log.Warn("leaving before all is handed over", "error", err)
		}
	}
	n.leaving.Store(true)
	for _, g := range n.groups {
		g.Own(false)
		g.Gate(false)
		for _, l := range g.links {
			if l != nil {
				l.SendLeave()
			}
		}
	}
	time.Sleep(lastWords)
}

// silence makes sure that the end of this process is none of the clients' business: connections
// are about to be reset, while workers may still answer the queues and the leases may still run.
func (n *node) silence() {
	n.leaving.Store(true)
	for _, g := range n.groups {
		for _, v := range g.services {
			n.data.fence(v.cfg.Advertised)
		}
	}
}
