// What the config file says of HTTP, and the way to the web server, as the proxy wants them.
package main

import (
	"cmp"
	"context"
	"fmt"
	"sync"

	"github.com/ftgw/ftgw/config"
	"github.com/ftgw/ftgw/proxy"
	"github.com/ftgw/ftgw/upstream"
)

// httpConfig fills in what the service's keys and the limits say, and makes the service's pool of
// connections.
func (g *group) httpConfig(v *service, to *proxy.Config) error {
	c, l := v.cfg, g.n.cfg.Limits
	to.MaxLine, to.MaxHeader, to.MaxFields = int(l.RequestLine), int(l.RequestHead), l.RequestFields
	to.MaxBody = int64(cmp.Or(l.RequestBody, -1)) // 0 in the file is any, there the default
	to.MaxReply = int64(l.MaxReply)
	to.HeaderTimeout, to.BodyTimeout, to.IdleTimeout = c.HeadTimeout, c.BodyTimeout, c.IdleTimeout
	to.BodyRate = int64(cmp.Or(c.BodyRate, -1))
	to.Via, to.ProxyProtocol = c.Via, c.ProxyProtocol
	var err error
	if to.Forwarding, err = forwarding(c.Forwarding); err != nil {
		return fmt.Errorf("service %s: %w", c.Name, err)
	}
	access, err := g.n.accessLog(c)
	if err != nil {
		return err
	}
	if access != nil {
		to.Access = access.Write
	}
	address, err := upstream.ParseAddress(c.Upstream)
	if err != nil {
		return fmt.Errorf("service %s: %w", c.Name, err)
	}
	v.pool = upstream.NewPool(upstream.PoolConfig{Address: address, Patience: c.UpstreamTimeout,
		Total: max(1, g.n.upstreams/len(g.n.cfg.Services))})
	to.Upstream, to.Connect = c.Upstream, connector(v.pool)
	return nil
}

func connector(p *upstream.Pool) func(context.Context, bool, []byte) (proxy.UpstreamConn, error) {
	return func(ctx context.Context, fresh bool, preface []byte) (proxy.UpstreamConn, error) {
		if fresh {
			return p.Fresh(ctx, preface)
		}
		return p.Get(ctx)
	}
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

// serve runs the proxy, and its connections to the web server for as long: an exchange whose
// connection were closed first would fail, and its failure could still be stored.
func (v *service) serve(ctx context.Context) error {
	pool, end := context.WithCancel(context.WithoutCancel(ctx))
	var owned sync.WaitGroup
	owned.Go(func() { v.pool.Run(pool) }) // returns nil
	defer owned.Wait()
	defer end()
	return v.proxy.Serve(ctx, v.listener)
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
