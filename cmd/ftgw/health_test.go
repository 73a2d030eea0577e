package main

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ftgw/ftgw/proxy"
	"github.com/ftgw/ftgw/replication"
	"github.com/ftgw/ftgw/takeover"
	"github.com/ftgw/ftgw/upstream"
)

// found gives a service a web server that is found well or not.
func (v *service) found(t *testing.T, err error) {
	t.Helper()
	changed := make(chan struct{}, 1)
	h, e := upstream.NewHealth(upstream.HealthConfig{Fall: 1, Check: func(context.Context) error { return err },
		Changed: func(upstream.State) { changed <- struct{}{} }})
	if e != nil {
		t.Fatal(e)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { h.Run(ctx); close(ended) }()
	<-changed
	cancel()
	<-ended
	v.web.Store(&way{health: h})
}

// What a node with two services makes of its web servers' health and its peer's.
func TestHealthDecides(t *testing.T) {
	bad := errors.New("it said 500")
	for _, tt := range []struct {
		name    string
		role    takeover.Role
		own     error
		peer    bool // says that its servers are well
		apart   bool
		gives   bool
		moves   bool // the peer may execute what failed
		warning string
	}{
		{name: "all well", role: takeover.Primary, peer: true, moves: true},
		{name: "own fails", role: takeover.Primary, own: bad, peer: true, gives: true, moves: true, warning: "web-b executes the requests"},
		{name: "both fail", role: takeover.Primary, own: bad, warning: "requests fail, for that of web-b is not well either"},
		{name: "the peer's fails", role: takeover.Primary},
		{name: "no session", role: takeover.Primary, own: bad, peer: true, apart: true, warning: "requests fail"},
		{name: "backup", role: takeover.Backup, own: bad, peer: true, moves: true, warning: "if web-b died now, requests would fail"},
		{name: "spare", role: takeover.Joining, own: bad, peer: true, moves: true, warning: "if web-b died now, requests would fail"},
		{name: "alone", role: takeover.Sole, own: bad, apart: true, warning: "requests fail"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n := placed(t, "web-a")
			g := n.groups[0]
			g.services[0].found(t, nil)
			g.services[1].found(t, tt.own)
			g.dir.status.Store(&takeover.Status{View: takeover.View{Role: tt.role, Paired: !tt.apart}, Session: !tt.apart, Target: 1})
			s := &session{g: g, from: 1}
			h := replication.Heartbeat{}
			if tt.peer {
				h.Flags = replication.FlagServing
			}
			s.Heartbeat(h)
			if v, why := g.givesUp(); (v != nil) != tt.gives || v != nil && (v != g.services[1] || why != bad.Error()) {
				t.Errorf("gives up: %v, %s", v, why)
			}
			if g.peerServes() != tt.moves {
				t.Errorf("the peer serves: %v", g.peerServes())
			}
			if says := g.beat(1).Flags&replication.FlagServing != 0; says != (tt.own == nil) {
				t.Errorf("tells the peer %v", says)
			}
			w := g.healthWarnings()
			if (len(w) == 1) != (tt.warning != "") || len(w) == 1 && !strings.Contains(w[0], bad.Error()+": "+tt.warning) {
				t.Errorf("warnings %q, want %q", w, tt.warning)
			}
			s.Down(errors.New("cut"), false)
			if g.peerServes() {
				t.Error("a lost peer serves")
			}
		})
	}
}

// A node says that it serves only once its servers have been found well.
func TestUnknownIsNotServing(t *testing.T) {
	g := placed(t, "web-a").groups[0]
	if g.serves() || len(g.healthWarnings()) > 0 {
		t.Error("serves unseen")
	}
}

// A primary whose peer does not take its part asks again, but rarely.
func TestGivesAwayRarely(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := placed(t, "web-a").groups[0]
		var log bytes.Buffer
		g.log = slog.New(slog.NewTextHandler(&log, nil))
		for _, v := range g.services {
			v.found(t, errors.New("refused"))
			v.proxy = proxy.New(proxy.Config{}, nil, nil)
		}
		g.dir.status.Store(&takeover.Status{View: takeover.View{Role: takeover.Primary, Paired: true}, Session: true, Target: 1})
		g.serve[1].Store(true)
		ctx, cancel := context.WithTimeout(t.Context(), 35*time.Second)
		defer cancel()
		if err := g.keepHealthy(ctx); err != nil {
			t.Error(err)
		}
		if n := strings.Count(log.String(), "the primary's part goes to the peer"); n != 4 {
			t.Errorf("tried %d times in 35 s:\n%s", n, &log)
		}
	})
}
