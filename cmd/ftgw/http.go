// What the config file says of HTTP, as the proxy wants it.
package main

import (
	"cmp"
	"fmt"

	"github.com/ftgw/ftgw/accesslog"
	"github.com/ftgw/ftgw/config"
	"github.com/ftgw/ftgw/proxy"
)

// proxyConfig is what the config says of a service, for the proxy; access is the service's log, or
// nil.
func (g *group) proxyConfig(v *service, cfg *config.Config, c config.Service, access *accesslog.Writer) (proxy.Config, error) {
	l := cfg.Limits
	to := proxy.Config{Upstream: c.Upstream, Connect: v.connect, UpstreamFailed: v.failed,
		Memory: int64(l.BodyMemory), Ledger: l.Ledger, SpillDir: cfg.StateDir,
		MaxLine: int(l.RequestLine), MaxHeader: int(l.RequestHead), MaxFields: l.RequestFields,
		MaxBody:  int64(cmp.Or(l.RequestBody, -1)), // 0 in the file is any, there the default
		MaxReply: int64(l.MaxReply), Via: c.Via, ProxyProtocol: c.ProxyProtocol,
		HeaderTimeout: c.HeadTimeout, BodyTimeout: c.BodyTimeout, BodyRate: int64(cmp.Or(c.BodyRate, -1)), IdleTimeout: c.IdleTimeout,
		TurnOver: g.turnOver, TurnOverIdle: cfg.Timing.TurnOver, Permit: g.permit, MayMove: g.mayMove, MayDefer: g.mayDefer,
		MayOutrun: g.mayOutrun, Agreed: g.agreed, Mode: c.Mode, Shadow: c.HasMode(config.SyncStatic, config.Static),
		Routes: routeNames(c.Routes), Route: c.RouteIndex, Demoted: func(route int) { g.tellRoute(v, route, true) },
		Epoch: func() uint64 { return uint64(g.dir.epoch()) }, Log: g.quiet.With("service", c.Name)}
	if access != nil {
		to.Access = access.Write
	}
	var err error
	if to.Forwarding, err = forwarding(c.Forwarding); err != nil {
		return to, fmt.Errorf("service %s: %w", c.Name, err)
	}
	return to, nil
}

func forwarding(c config.Forwarding) (f proxy.Forwarding, err error) {
	for _, w := range []struct {
		to   *proxy.Forward
		word config.Forward
	}{{&f.For, c.For}, {&f.Proto, c.Proto}, {&f.Host, c.Host}, {&f.Forwarded, c.Forwarded}} {
		if *w.to, err = proxy.ParseForward(string(w.word)); err != nil {
			return f, err
		}
	}
	return f, nil
}

// httpLine says in short what becomes of a service's requests.
func httpLine(cfg *config.Config, s config.Service) string {
	body, f := cfg.Limits.RequestBody.String(), s.Forwarding
	if cfg.Limits.RequestBody == 0 {
		body = "any"
	}
	log := "no access log"
	if s.AccessLog != "" {
		log = fmt.Sprintf("access log %s (%s)", s.AccessLog, s.AccessLogFormat)
	}
	return fmt.Sprintf("requests: head %v, body %s; X-Forwarded-For %s, -Proto %s, -Host %s, Forwarded %s; %s",
		cfg.Limits.RequestHead, body, f.For, f.Proto, f.Host, f.Forwarded, log)
}
