package proxy

import (
	"cmp"
	"slices"
	"sync/atomic"
	"time"

	"github.com/ftgw/ftgw/config"
)

// settings are a Config, and what is known of its routes.
type settings struct {
	Config
	routes []*route // those of Config.Routes, and one for the requests of none
}

// route is one of the routes. What is known of it outlasts a Reload that keeps its name.
type route struct {
	index int // in Config.Routes; their number for the requests of none
	name  string
	*known
}

// known is safe for concurrent use.
type known struct {
	replies [8]atomic.Uint64
	demoted atomic.Pointer[Demotion]
}

// Demotion says why a route in mode static or deferred is logged.
type Demotion struct {
	Why string
	At  time.Time
}

// RouteStats is what became of a route's requests since the start.
type RouteStats struct {
	Replies map[config.Mode]uint64 // that clients got whole from here, by how they were protected
	Demoted *Demotion              // nil: the route has its mode
}

// newSettings makes settings that follow others, or none.
func newSettings(cfg Config, former *settings) *settings {
	c := &settings{Config: cfg}
	before := map[string]*known{}
	if former != nil {
		for _, r := range former.routes {
			before[r.name] = r.known
		}
	}
	for i := range len(cfg.Routes) + 1 {
		r := &route{index: i, known: &known{}}
		if i < len(cfg.Routes) {
			r.name = cfg.Routes[i]
		}
		if k := before[r.name]; k != nil {
			r.known = k
		}
		c.routes = append(c.routes, r)
	}
	return c
}

// route returns the route of a request.
func (c *settings) route(method, path string) *route {
	none := len(c.routes) - 1
	if none == 0 {
		return c.routes[0]
	}
	if i := c.Route(method, path); i >= 0 && i < none {
		return c.routes[i]
	}
	return c.routes[none]
}

// Routes returns the present numbers, in the order of Config.Routes; the last are those of requests of no
// route.
func (s *Server) Routes() []RouteStats {
	var all []RouteStats
	for _, r := range s.cfg().routes {
		st := RouteStats{Replies: map[config.Mode]uint64{}, Demoted: r.demoted.Load()}
		for k, mode := range config.Modes {
			if n := r.replies[k].Load(); n > 0 {
				st.Replies[mode] = n
			}
		}
		all = append(all, st)
	}
	return all
}

// inForce returns the mode that a request has by these settings and what was found out, and its route.
func (c *settings) inForce(method, path string) (config.Mode, *route) {
	mode, r := c.Mode(method, path), c.route(method, path)
	if (mode == config.Static || mode == config.Deferred) && r.demoted.Load() != nil {
		return config.Logged, r
	}
	return mode, r
}

// Demote turns a route to logged, as the peer has done. An index that is none changes nothing. It reports
// whether the route was not.
func (s *Server) Demote(index int, why string) bool {
	c := s.cfg()
	if index < 0 || index >= len(c.routes) || !c.routes[index].demoted.CompareAndSwap(nil, &Demotion{why, time.Now()}) {
		return false
	}
	c.Log.Error("a route is logged from now on: its replies are not the same on both hosts. Make them so, then reset it by ftgw routes --reset, or write another mode",
		"route", cmp.Or(c.routes[index].name, "none"), "why", why)
	return true
}

// demote does so because of what was found here, and tells of it. A route that a Reload has removed
// meanwhile is left.
func (s *Server) demote(r *route, why string) {
	i := slices.IndexFunc(s.cfg().routes, func(o *route) bool { return o.known == r.known })
	if s.Demote(i, why) {
		s.cfg().Demoted(i)
	}
}

// ResetRoute gives a route its mode back. It reports whether it was logged instead.
func (s *Server) ResetRoute(index int) bool {
	c := s.cfg()
	if index < 0 || index >= len(c.routes) || c.routes[index].demoted.Swap(nil) == nil {
		return false
	}
	c.Log.Info("a route has its mode again", "route", cmp.Or(c.routes[index].name, "none"))
	return true
}

// counted counts a reply that the client got whole; r may be nil.
func (r *route) counted(mode config.Mode, o Outcome) {
	if r == nil || o != Delivered && o != Reexecuted && o != Executed && o != Unprotected {
		return
	}
	if i := slices.Index(config.Modes, mode); i >= 0 {
		r.replies[i].Add(1)
	}
}
