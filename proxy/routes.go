package proxy

import (
	"slices"
	"sync/atomic"
	"time"

	"github.com/ftgw/ftgw/config"
)

// route is what is known of one route's exchanges. It is safe for concurrent use.
type route struct {
	index   int // in Config.Routes; their number for the requests of none
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

// routes makes room for so many, and for the requests of none.
func newRoutes(n int) []route {
	all := make([]route, n+1)
	for i := range all {
		all[i].index = i
	}
	return all
}

// route returns the route of a request.
func (s *Server) route(method, path string) *route {
	none := len(s.routes) - 1
	if none == 0 {
		return &s.routes[0]
	}
	if i := s.cfg.Route(method, path); i >= 0 && i < none {
		return &s.routes[i]
	}
	return &s.routes[none]
}

// Routes returns the present numbers, in the order of Config.Routes; the last are those of requests of no
// route.
func (s *Server) Routes() []RouteStats {
	all := make([]RouteStats, len(s.routes))
	for i := range s.routes {
		all[i] = RouteStats{Replies: map[config.Mode]uint64{}, Demoted: s.routes[i].demoted.Load()}
		for k, mode := range config.Modes {
			if n := s.routes[i].replies[k].Load(); n > 0 {
				all[i].Replies[mode] = n
			}
		}
	}
	return all
}

// inForce returns the mode that a request has now, and its route.
func (s *Server) inForce(method, path string) (config.Mode, *route) {
	mode, r := s.cfg.Mode(method, path), s.route(method, path)
	if (mode == config.Static || mode == config.Deferred) && r.demoted.Load() != nil {
		return config.Logged, r
	}
	return mode, r
}

// Demote turns a route to logged, as the peer has done. An index that is none changes nothing. It reports
// whether the route was not.
func (s *Server) Demote(index int, why string) bool {
	if index < 0 || index >= len(s.routes) || !s.routes[index].demoted.CompareAndSwap(nil, &Demotion{why, time.Now()}) {
		return false
	}
	s.cfg.Log.Error("a route is logged from now on: its replies are not the same on both hosts. Make them so, then reset it by ftgw routes --reset, or write another mode",
		"route", s.routeName(index), "why", why)
	return true
}

// demote does so because of what was found here, and tells of it.
func (s *Server) demote(r *route, why string) {
	if s.Demote(r.index, why) {
		s.cfg.Demoted(r.index)
	}
}

// ResetRoute gives a route its mode back. It reports whether it was logged instead.
func (s *Server) ResetRoute(index int) bool {
	if index < 0 || index >= len(s.routes) || s.routes[index].demoted.Swap(nil) == nil {
		return false
	}
	s.cfg.Log.Info("a route has its mode again", "route", s.routeName(index))
	return true
}

func (s *Server) routeName(index int) string {
	if index < len(s.cfg.Routes) {
		return s.cfg.Routes[index]
	}
	return "none"
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
