// The command routes, and what a node knows of its routes: how many replies went out in which mode, and
// which routes are logged because the web servers do not reply alike.
package main

import (
	"fmt"
	"hash/fnv"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ftgw/ftgw/config"
	"github.com/ftgw/ftgw/replication"
	"github.com/ftgw/ftgw/rewrite"
)

// Routes is what a node says of its routes, as `ftgw routes --json` prints it.
type Routes struct {
	Node     string          `json:"node"`
	Services []ServiceRoutes `json:"services"`
}

// ServiceRoutes is that of one service: its routes in the order of the config file, and last the requests
// of none.
type ServiceRoutes struct {
	Name   string        `json:"name"`
	Routes []RouteStatus `json:"routes"`
}

// RouteStatus is one route.
type RouteStatus struct {
	Route string      `json:"route"` // what it matches, in the file's words; empty: requests of no route
	Text  string      `json:"text"`  // the path, exact or suffix of that
	Mode  config.Mode `json:"mode"`  // by the file
	// Replies that clients got whole from this node since its start, by how they were protected. One that
	// was to be static and was stored instead counts as the former.
	Replies map[config.Mode]uint64 `json:"replies"`
	// LoggedSince and Why tell of a route that is logged, whatever the file says; nil: it is not.
	LoggedSince *time.Time `json:"logged_since,omitempty"`
	Why         string     `json:"why,omitempty"`
}

// RoutesReset answers a reset.
type RoutesReset struct {
	Reset int `json:"reset"` // routes that have their mode again
}

func (n *node) routes() Routes {
	all := Routes{Node: n.self.Name}
	for _, g := range n.groups {
		for _, v := range g.services {
			all.Services = append(all.Services, ServiceRoutes{v.cfg.Name, v.routes()})
		}
	}
	return all
}

func (v *service) routes() []RouteStatus {
	var all []RouteStatus
	for i, st := range v.proxy.Routes() {
		r := RouteStatus{Mode: config.Logged, Replies: st.Replies}
		if routes := v.now().Routes; i < len(routes) {
			c := routes[i]
			r.Route, r.Text, r.Mode = c.String(), c.Text(), c.Mode
		}
		if st.Demoted != nil {
			r.LoggedSince, r.Why = &st.Demoted.At, st.Demoted.Why
		}
		all = append(all, r)
	}
	return all
}

func routeNames(routes []config.Route) (names []string) {
	for _, r := range routes {
		names = append(names, r.String())
	}
	return names
}

// resetRoutes gives routes of a service that are logged their mode back, here and on the other nodes.
func (n *node) resetRoutes(name, path string) (reset int, err error) {
	for _, g := range n.groups {
		for _, v := range g.services {
			if v.cfg.Name != name {
				continue
			}
			found := path == ""
			for i, r := range v.now().Routes {
				if path != "" && r.Text() != path {
					continue
				}
				found = true
				if v.proxy.ResetRoute(i) {
					reset++
				}
				g.tellRoute(v, i, false) // it may be logged there alone
			}
			if !found {
				return 0, fmt.Errorf("service %s has no route with the text %q (see ftgw routes)", name, path)
			}
			return reset, nil
		}
	}
	return 0, fmt.Errorf("this node has no service %q (see ftgw routes)", name)
}

// tellRoute tells the other nodes of the group that a route is logged now, or that it is not any more.
func (g *group) tellRoute(v *service, index int, logged bool) {
	for _, l := range g.links {
		if l != nil {
			l.Note(v.routeNote(index, logged))
		}
	}
}

// tellRoutes tells a node whose session is new, or that has the settings of this one now, of all routes
// that are logged.
func (g *group) tellRoutes(to int) {
	for _, v := range g.services {
		for i, r := range v.proxy.Routes() {
			if r.Demoted != nil {
				g.links[to].Note(v.routeNote(i, true))
			}
		}
	}
}

func (v *service) routeNote(index int, logged bool) replication.FlowNote {
	a := v.cfg.Advertised
	note := replication.FlowNote{Kind: replication.NoteRoute}
	note.Flow.Client, note.Flow.Advertised = netip.AddrPortFrom(a.Addr(), uint16(index)), a
	note.Flow.ISN = v.routesMark()
	if logged {
		note.Reason = replication.RouteLogged
	}
	return note
}

// routesMark tells lists of routes apart: while a node is reloaded and the other is not, an index means
// another route to each.
func (v *service) routesMark() rewrite.Seq {
	h := fnv.New32a()
	for _, r := range v.now().Routes {
		fmt.Fprintln(h, r)
	}
	return rewrite.Seq(h.Sum32())
}

// toldRoute takes such a note. One that is about another list of routes says nothing here; it is said
// again when both have the same.
func (g *group) toldRoute(n replication.FlowNote, from string) {
	v, index := g.serviceOf(n.Flow.Advertised), int(n.Flow.Client.Port())
	switch {
	case v == nil || n.Flow.ISN != v.routesMark():
	case n.Reason == replication.RouteLogged:
		v.proxy.Demote(index, fmt.Sprintf("node %s has found that out; see its log", from))
	default:
		v.proxy.ResetRoute(index)
	}
}

func routesCommand() *cobra.Command {
	var asked askFlags
	var asJSON, again bool
	cmd := &cobra.Command{
		Use:   "routes [--reset SERVICE [PATH]]",
		Short: "Show the routes and their modes, or have a route trusted again",
		Long: `Routes asks the running node for the routes of its services, in the order of the config file: how
many replies clients got whole from this node, by how they were protected, and whether the route
has its mode. The last line of a service is about requests of no route.

A static or deferred route rests on the promise that the web servers of both hosts reply alike. The
first reply that breaks it turns the route to logged, on all nodes. When the cause is mended,
--reset gives the routes of a SERVICE their modes back, on all nodes that this one has a session
with; with a PATH, only those whose path, exact or suffix is PATH. A node without a session tells
the others when it comes back what it found: ask again then.

Exit codes: 0 shown or reset; 69 no ftgw answers at the socket; others as in
ftgw --help.`,
		Example: `  ftgw routes
  ftgw routes --json
  ftgw routes --reset shop               all routes of shop
  ftgw routes --reset shop /static/`,
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case !again && len(args) > 0:
				return noArgs(cmd, args)
			case again && (len(args) == 0 || len(args) > 2):
				return codedError{exitUsage, fmt.Errorf("--reset needs a service and takes a path: ftgw routes --reset SERVICE [PATH] (see %s --help)", cmd.CommandPath())}
			}
			socket, err := asked.at()
			if err != nil {
				return err
			}
			if again {
				return reset(cmd, socket, append(args, "")[:2], asJSON)
			}
			return show(cmd, http.MethodGet, socket, "routes", nil, asJSON, writeRoutes)
		},
	}
	asked.add(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the node's JSON as it is")
	cmd.Flags().BoolVar(&again, "reset", false, "give routes of SERVICE that are logged their mode back")
	return cmd
}

// reset asks for it; what is a service and a path, which may be empty.
func reset(cmd *cobra.Command, socket string, what []string, asJSON bool) error {
	query := url.Values{"service": what[:1], "path": what[1:]}
	return show(cmd, http.MethodPost, socket, "routes/reset", query, asJSON, func(out io.Writer, r RoutesReset) error {
		_, err := fmt.Fprintf(out, "%s: %d logged routes have their mode again here; the other nodes are told\n", what[0], r.Reset)
		return err
	})
}

// writeRoutes prints a table for a reader.
func writeRoutes(out io.Writer, all Routes) error {
	w := newTable(out)
	fmt.Fprintf(w, "SERVICE\tROUTE\tMODE\tNOW")
	for _, m := range config.Modes {
		fmt.Fprintf(w, "\t%s", strings.ToUpper(string(m)))
	}
	fmt.Fprintln(w)
	for _, s := range all.Services {
		for _, r := range s.Routes {
			now := r.Mode
			if r.LoggedSince != nil {
				now = config.Logged
			}
			route := r.Route
			if route == "" {
				route = "(no route)"
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s", s.Name, route, r.Mode, now)
			for _, m := range config.Modes {
				fmt.Fprintf(w, "\t%d", r.Replies[m])
			}
			fmt.Fprintln(w)
		}
	}
	for _, s := range all.Services {
		for _, r := range s.Routes {
			if r.LoggedSince != nil {
				fmt.Fprintf(w, "\n%s, %s: logged since %s: %s\n  when that is mended: ftgw routes --reset %s %s\n",
					s.Name, r.Route, r.LoggedSince.Format(time.RFC3339), r.Why, s.Name, r.Text)
			}
		}
	}
	return w.Flush()
}
