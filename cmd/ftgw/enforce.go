// How a node takes a config that a reload has read: all that can fail comes first, then it waits until
// nothing leans on the former settings, then all parts have the new ones.
package main

import (
	"context"

	"github.com/ftgw/ftgw/config"
	"github.com/ftgw/ftgw/proxy"
	"github.com/ftgw/ftgw/rewrite"
)

// tryConfig is the try of a node's reloader.
func (n *node) tryConfig(ctx context.Context, cfg *config.Config, changes []config.Change, dry bool) error {
	next, err := n.prepare(cfg)
	if err != nil || dry {
		return err
	}
	if len(changes) > 0 {
		if err := n.settle(ctx); err != nil {
			return err
		}
	}
	n.enforce(next)
	return nil
}

// next is a config that is ready to be put in force.
type next struct {
	cfg      *config.Config
	flows    rewrite.Limits
	logs     accessSet
	services []nextService
}

type nextService struct {
	v   *service
	cfg config.Service
	web *way // nil: the present one serves
	to  proxy.Config
}

// prepare makes what a config needs. Nothing is in force yet, and nothing has to be undone.
func (n *node) prepare(cfg *config.Config) (*next, error) {
	flows, _, err := connectionLimits(cfg.Limits.MaxFlows, n.log)
	if err != nil {
		return nil, err
	}
	p := &next{cfg: cfg, flows: flowLimits(cfg, flows)}
	if p.logs, err = n.access.prepare(cfg, n.services(cfg)); err != nil {
		return nil, err
	}
	for _, c := range n.services(cfg) {
		g, err := n.groupFor(c.Name)
		if err != nil {
			return nil, err
		}
		s := nextService{v: g.serviceOf(c.Advertised), cfg: c}
		if s.to, err = g.proxyConfig(s.v, cfg, c, p.logs.of(cfg, c)); err != nil {
			return nil, err
		}
		if !sameWeb(*s.v.now(), c) {
			if s.web, err = g.newWeb(s.v, c); err != nil {
				return nil, err
			}
		}
		p.services = append(p.services, s)
	}
	return p, nil
}

// enforce puts it in force, which cannot fail.
func (n *node) enforce(p *next) {
	n.present.Store(p.cfg)
	n.data.setLimits(p.flows)
	endFormer := n.access.adopt(p.logs)
	for _, s := range p.services {
		s.v.present.Store(&s.cfg)
		if s.web != nil {
			s.v.replaceWeb(n.ctx, s.web)
		}
		s.v.proxy.Reload(s.to)
	}
	endFormer()
	n.word.Store(p.cfg.Settings())
	for _, g := range n.groups {
		for i := range g.nodes {
			if i != g.index && g.said[i].Load() == n.word.Load() {
				g.tellRoutes(i)
			}
		}
	}
}
