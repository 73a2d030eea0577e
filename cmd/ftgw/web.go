// The way to a service's web server: connections and checks, which a reload may replace by others.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/ftgw/ftgw/config"
	"github.com/ftgw/ftgw/proxy"
	"github.com/ftgw/ftgw/upstream"
)

// way is the way to one web server.
type way struct {
	pool   *upstream.Pool   // of connections to it
	health *upstream.Health // as this node finds it
}

// newWeb makes the way that the keys of a service describe; nothing runs yet.
func (g *group) newWeb(v *service, c config.Service) (*way, error) {
	address, err := upstream.ParseAddress(c.Upstream)
	if err != nil {
		return nil, fmt.Errorf("service %s: %w", c.Name, err)
	}
	w := &way{pool: upstream.NewPool(upstream.PoolConfig{Address: address, Patience: c.UpstreamTimeout,
		Total: max(1, g.n.upstreams/len(g.n.cfg.Services))})}
	var preface []byte
	if c.ProxyProtocol {
		preface = upstream.LocalPreface()
	}
	w.health, err = upstream.NewHealth(upstream.HealthConfig{Address: address, Path: c.HealthPath, Preface: preface,
		Interval: c.HealthInterval, Timeout: c.HealthTimeout, Rise: c.HealthRise, Fall: c.HealthFall,
		Changed: func(s upstream.State) {
			if v.web.Load() == w {
				g.judged(v, s)
			}
		}})
	if err != nil {
		return nil, fmt.Errorf("service %s: %w", c.Name, err)
	}
	return w, nil
}

// sameWeb reports whether the way of one serves the other.
func sameWeb(a, b config.Service) bool {
	keys := func(s config.Service) config.Service {
		return config.Service{Upstream: s.Upstream, UpstreamTimeout: s.UpstreamTimeout, ProxyProtocol: s.ProxyProtocol,
			HealthPath: s.HealthPath, HealthInterval: s.HealthInterval, HealthTimeout: s.HealthTimeout,
			HealthRise: s.HealthRise, HealthFall: s.HealthFall}
	}
	x, y := keys(a), keys(b)
	return fmt.Sprint(x) == fmt.Sprint(y)
}

// judged tells of the web server's verdict; hooks only of what is another than before, whichever
// server that was.
func (g *group) judged(v *service, s upstream.State) {
	level, event := slog.LevelInfo, upstreamUp
	sick := s.Verdict == upstream.Unhealthy
	if sick {
		level, event = slog.LevelWarn, upstreamDown
	}
	if v.sick.Swap(sick) != sick {
		g.happened(v, event, s.Reason)
	}
	g.event(level, "web server", "service", v.cfg.Name, "upstream", v.now().Upstream, "verdict", s.Verdict.String(), "why", s.Reason)
}

// replaceWeb makes w the way of all exchanges from now on. Those under way end on the former one.
func (v *service) replaceWeb(ctx context.Context, w *way) {
	v.web.Swap(w).pool.Retire()
	select {
	case v.webs <- w:
	case <-ctx.Done(): // nothing runs any more
	}
}

// serve runs the proxy, and its connections to the web server for as long: an exchange whose
// connection were closed first would fail, and its failure could still be stored.
func (v *service) serve(ctx context.Context) error {
	pools, end := context.WithCancel(context.WithoutCancel(ctx))
	var owned sync.WaitGroup
	owned.Go(func() { v.keepWebs(ctx, pools) })
	defer owned.Wait()
	defer end()
	return v.proxy.Serve(ctx, v.listener)
}

// keepWebs runs the checks of the latest way until ctx ends, and the pools of all until pools does.
func (v *service) keepWebs(ctx, pools context.Context) {
	var owned sync.WaitGroup
	defer owned.Wait()
	for w := v.web.Load(); w != nil; {
		checks, stop := context.WithCancel(ctx)
		owned.Go(func() { w.pool.Run(pools) })    // returns nil
		owned.Go(func() { w.health.Run(checks) }) // likewise
		select {
		case w = <-v.webs:
		case <-pools.Done():
			w = nil
		}
		stop()
	}
}

// connect lends a connection to the present web server; see proxy.Config.
func (v *service) connect(ctx context.Context, fresh bool, preface []byte) (proxy.UpstreamConn, error) {
	for {
		w := v.web.Load()
		c, err := w.lend(ctx, fresh, preface)
		if errors.Is(err, upstream.ErrClosed) && v.web.Load() != w {
			continue // it was replaced just then
		}
		if err != nil {
			return nil, err
		}
		return c, nil
	}
}

func (w *way) lend(ctx context.Context, fresh bool, preface []byte) (*upstream.Conn, error) {
	if fresh {
		return w.pool.Fresh(ctx, preface)
	}
	return w.pool.Get(ctx)
}

// failed tells the checks of an exchange that the web server failed.
func (v *service) failed(err error) { v.web.Load().health.Report(err) }

// state is what the checks have found.
func (v *service) state() upstream.State { return v.web.Load().health.State() }
