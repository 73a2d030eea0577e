package main

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ftgw/ftgw/config"
	"github.com/ftgw/ftgw/proxy"
)

const designRoutesTable = `SERVICE  ROUTE              MODE      NOW       LOGGED  SYNC-STATIC  STATIC  DEFERRED  UNPROTECTED
shop     path = "/static/"  static    logged    7       0            3       0         0
shop     suffix = ".iso"    deferred  deferred  0       0            0       2         0
shop     (no route)         logged    logged    40      0            0       0         0

shop, path = "/static/": logged since 2026-01-02T03:04:05Z: the heads differ in field "ETag"
  when that is mended: ftgw routes --reset shop /static/
`

func designRoutes() Routes {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	return Routes{Node: "web-b", Services: []ServiceRoutes{{Name: "shop", Routes: []RouteStatus{
		{Route: `path = "/static/"`, Text: "/static/", Mode: config.Static, Replies: map[config.Mode]uint64{config.Logged: 7, config.Static: 3},
			LoggedSince: &at, Why: `the heads differ in field "ETag"`},
		{Route: `suffix = ".iso"`, Text: ".iso", Mode: config.Deferred, Replies: map[config.Mode]uint64{config.Deferred: 2}},
		{Mode: config.Logged, Replies: map[config.Mode]uint64{config.Logged: 40}},
	}}}}
}

func designReset(service, path string) (int, error) {
	if service != "shop" {
		return 0, fmt.Errorf("this node has no service %q (see ftgw routes)", service)
	}
	if path != "" && path != "/static/" {
		return 0, errors.New("no such route")
	}
	return 1, nil
}

func TestRoutesThroughTheSocket(t *testing.T) {
	path := serve(t)
	for _, tt := range []struct {
		args string
		code int
		want string // of either output
	}{
		{"", 0, strings.Split(designRoutesTable, "\n")[4]},
		{"--json", 0, `{"route":"suffix = \".iso\"","text":".iso","mode":"deferred","replies":{"deferred":2}}`},
		{"--json", 0, `"logged_since":"2026-01-02T03:04:05Z","why":"the heads differ in field \"ETag\""`},
		{"--reset shop", 0, "shop: 1 logged routes have their mode again"},
		{"--reset shop /static/ --json", 0, `{"reset":1}`},
		{"--reset shop /img/", exitFailed, "ftgw: no such route\n"},
		{"--reset blog", exitFailed, `ftgw: this node has no service "blog"`},
		{"--reset", exitUsage, "needs a service"},
		{"--reset shop /a /b", exitUsage, "needs a service"},
		{"shop", exitUsage, `takes no "shop"`},
		{"--help", 0, "promise"},
	} {
		var out, errOut bytes.Buffer
		args := append([]string{"routes", "--socket", path}, strings.Fields(tt.args)...)
		if code := execute(t.Context(), args, &out, &errOut); code != tt.code || !strings.Contains(out.String()+errOut.String(), tt.want) {
			t.Errorf("%q: exit code %d, want %d:\n%s%s\nwant %s", tt.args, code, tt.code, &out, &errOut, tt.want)
		}
		if tt.args == "" {
			if diff := cmp.Diff(designRoutesTable, out.String()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		}
	}
}

// While one node is reloaded and the other is not, an index may mean another route to each: such a note
// is passed over.
func TestNotesOfAnotherListOfRoutes(t *testing.T) {
	g := placed(t, "web-a").groups[0]
	v := g.services[0]
	with := func(paths ...string) {
		c := v.cfg
		for _, p := range paths {
			c.Routes = append(c.Routes, config.Route{Path: p, Mode: config.Static})
		}
		v.present.Store(&c)
		v.proxy = proxy.New(proxy.Config{Routes: routeNames(c.Routes)}, nil, nil)
	}
	logged := func() bool { return v.routes()[0].LoggedSince != nil }
	with("/a", "/b")
	note := v.routeNote(0, true)
	if g.toldRoute(note, "web-b"); !logged() {
		t.Error("the route is not logged")
	}
	with("/b", "/a")
	if g.toldRoute(note, "web-b"); logged() {
		t.Error("another route is logged")
	}
}
