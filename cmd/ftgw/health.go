// The health of the web servers behind this node: what is said of it, and what becomes of a
// group whose primary has an unhealthy one (DESIGN §4, "A failing upstream").
package main

import (
	"context"
	"fmt"
	"time"

	"github.com/ftgw/ftgw/rewrite"
	"github.com/ftgw/ftgw/takeover"
	"github.com/ftgw/ftgw/upstream"
)

// serves reports whether all web servers of the group are well here; the others are told so.
func (g *group) serves() bool {
	for _, v := range g.services {
		if v.state().Verdict != upstream.Healthy {
			return false
		}
	}
	return true
}

// peerServes reports whether the present peer says so of its own.
func (g *group) peerServes() bool {
	st := g.dir.status.Load()
	return st.Paired && st.Session && g.serve[st.Target].Load()
}

// mayMove reports whether the peer may execute an exchange that the web server here has failed.
func (g *group) mayMove(id rewrite.FlowID) bool { return g.peerServes() && g.n.data.shared(id) }

// givesUp returns a service for whose web server this node should not be primary, with the reason,
// or nil. Where both nodes' servers fail, or there is no peer, a move would help nobody.
func (g *group) givesUp() (*service, string) {
	if g.dir.status.Load().Role != takeover.Primary || !g.peerServes() {
		return nil, ""
	}
	for _, v := range g.services {
		if s := v.state(); s.Verdict == upstream.Unhealthy {
			return v, s.Reason
		}
	}
	return nil, ""
}

const (
	healthTick = 100 * time.Millisecond
	// moveEvery is the shortest time between two attempts to give the primary's part away.
	moveEvery = 10 * time.Second
)

// keepHealthy gives the primary's part to the peer where a web server here is unhealthy and the
// peer's are well.
func (g *group) keepHealthy(ctx context.Context) error {
	t := time.NewTicker(healthTick)
	defer t.Stop()
	next := time.Now()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		v, why := g.givesUp()
		if v == nil || time.Now().Before(next) {
			continue
		}
		next = time.Now().Add(moveEvery)
		g.log.Warn("the web server is unhealthy: the primary's part goes to the peer", "service", v.cfg.Name,
			"why", why, "peer", g.nodes[g.target()].Name)
		if err := g.giveAway(ctx); err != nil {
			g.log.Warn("the primary's part stays for now", "error", err)
		}
	}
}

// giveAway is a switchover. Exchanges that hang at the web server need not have ended.
func (g *group) giveAway(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, moveEvery)
	defer cancel()
	err := g.relinquish(ctx, false)
	if g.dir.status.Load().Role == takeover.Backup {
		return nil
	}
	return err
}

// healthWarnings say what an unhealthy web server means now.
func (g *group) healthWarnings() []string {
	var all []string
	st := g.dir.status.Load()
	peer := g.nodes[st.Target].Name
	for _, v := range g.services {
		s := v.state()
		if s.Verdict != upstream.Unhealthy {
			continue
		}
		means := ""
		switch {
		case st.Role == takeover.Sole:
			means = "requests fail"
		case st.Role != takeover.Primary:
			means = fmt.Sprintf("if %s died now, requests would fail", peer)
		case g.peerServes():
			means = fmt.Sprintf("%s executes the requests", peer)
		default:
			means = fmt.Sprintf("requests fail, for that of %s is not well either", peer)
		}
		all = append(all, fmt.Sprintf("the web server of %s (%s) is unhealthy, %s: %s", v.cfg.Name, v.now().Upstream, s.Reason, means))
	}
	return all
}
