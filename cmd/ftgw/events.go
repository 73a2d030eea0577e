// What happens to a group, told to people: a line of the log for each change, and the hooks.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"strings"

	"github.com/ftgw/ftgw/config"
	"github.com/ftgw/ftgw/hook"
	"github.com/ftgw/ftgw/takeover"
)

// event is what hooks are run for, by the key of the config.
type event string

const (
	takenOver    event = "takeover"
	fenced       event = "fenced"
	duplex       event = "duplex"
	simplex      event = "simplex"
	upstreamDown event = "upstream_down"
	upstreamUp   event = "upstream_up"
)

// command returns the event's hook; empty: there is none.
func (e event) command(h config.Hooks) string {
	return map[event]string{takenOver: h.Takeover, fenced: h.Fenced, duplex: h.Duplex, simplex: h.Simplex,
		upstreamDown: h.UpstreamDown, upstreamUp: h.UpstreamUp}[e]
}

// Changed tells of a step of the director.
func (g *group) Changed(before, after *takeover.Status) {
	if after.Role == before.Role && after.Owner == before.Owner && after.Held == before.Held {
		return
	}
	level := slog.LevelInfo
	if after.Role == takeover.Sole || after.Role == takeover.Fenced {
		level = slog.LevelWarn
	}
	g.event(level, "role", "role", after.Role.String(), "owner", after.Owner, "epoch", after.Epoch, "held", after.Held, "why", after.Why)
	for _, e := range eventsOf(before.Role, after.Role) {
		for _, v := range g.services {
			g.happened(v, e, after.Why)
		}
	}
}

// eventsOf returns what a change of the role means, in order.
func eventsOf(before, after takeover.Role) []event {
	paired := func(r takeover.Role) bool { return r == takeover.Primary || r == takeover.Backup }
	switch {
	case after == before:
	case after == takeover.Sole && paired(before):
		return []event{takenOver, simplex}
	case after == takeover.Sole:
		return []event{simplex}
	case after == takeover.Fenced:
		return []event{fenced}
	case paired(after) && !paired(before):
		return []event{duplex}
	}
	return nil
}

// event logs a change. What a node that leaves still hears is nobody's business any more.
func (g *group) event(level slog.Level, message string, args ...any) {
	if g.n.leaving.Load() {
		level = slog.LevelDebug
	}
	g.log.Log(context.Background(), level, message, args...)
}

// happened has the hook of an event run for a service, after those before it.
func (g *group) happened(v *service, e event, reason string) {
	cfg := g.n.now()
	text := e.command(cfg.Hooks)
	if text == "" || g.n.leaving.Load() {
		return
	}
	st := g.dir.status.Load()
	v.hooks.Add(hook.Command{Name: string(e), Text: text, Limit: cfg.Timing.HookTimeout, Key: "hook_timeout", Env: []string{
		"FTGW_EVENT=" + string(e),
		"FTGW_SERVICE=" + v.cfg.Name,
		"FTGW_ADVERTISED=" + v.cfg.Advertised.String(),
		"FTGW_NODE=" + g.n.self.Name,
		"FTGW_PEER=" + g.nodes[st.Target].Name,
		"FTGW_ROLE=" + st.Role.String(),
		fmt.Sprintf("FTGW_OWNER=%t", st.Owner),
		fmt.Sprintf("FTGW_EPOCH=%d", st.Epoch),
		"FTGW_UPSTREAM=" + v.now().Upstream,
		"FTGW_REASON=" + inEnvironment(reason),
	}})
}

// inEnvironment returns a reason, which may have a web server's words, as the environment can hold it.
func inEnvironment(reason string) string {
	const most = 500 // bytes
	return strings.ReplaceAll(reason[:min(len(reason), most)], "\x00", "")
}

// hookDrops adds the hooks that were not run, or failed.
func (n *node) hookDrops(to map[string]uint64) {
	to["hook-dropped"], to["hook-failed"] = 0, 0
	for _, g := range n.groups {
		for _, v := range g.services {
			to["hook-dropped"] += v.hooks.Dropped()
			to["hook-failed"] += v.hooks.Failed()
		}
	}
}
