package main

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/ftgw/ftgw/config"
	"github.com/ftgw/ftgw/takeover"
	"github.com/ftgw/ftgw/upstream"
)

// Every change of the role that a hook is for, and none besides: a node that is cut off from its
// spare, or starts, takes nothing over.
func TestEventsOf(t *testing.T) {
	all := []takeover.Role{takeover.Joining, takeover.Primary, takeover.Backup, takeover.Sole, takeover.Fenced}
	got := map[event]string{}
	for _, before := range all {
		for _, after := range all {
			for _, e := range eventsOf(before, after) {
				got[e] += before.String() + ">" + after.String() + " "
			}
		}
	}
	for e, want := range map[event]string{
		takenOver: "primary>sole backup>sole ",
		simplex:   "joining>sole primary>sole backup>sole fenced>sole ",
		duplex:    "joining>primary joining>backup sole>primary sole>backup fenced>primary fenced>backup ",
		fenced:    "joining>fenced primary>fenced backup>fenced sole>fenced ",
	} {
		if got[e] != want {
			t.Errorf("%s: %s, want %s", e, got[e], want)
		}
	}
}

// A hook has the facts of the service that it is run for, by the config of that moment; a node that
// leaves runs none.
func TestHookEnvironment(t *testing.T) {
	n := placed(t, "web-a")
	g := n.groups[0]
	out := filepath.Join(t.TempDir(), "out")
	cfg := *n.cfg
	cfg.Hooks = config.Hooks{Takeover: "env | grep ^FTGW_ | sort >> " + out, UpstreamDown: "echo $FTGW_EVENT $FTGW_REASON >> " + out,
		UpstreamUp: "echo $FTGW_EVENT $FTGW_REASON >> " + out}
	cfg.Timing.HookTimeout = 10 * time.Second
	n.present.Store(&cfg)
	st := takeover.Status{View: takeover.View{Role: takeover.Sole, Epoch: 7, Owner: true}, Target: 1, Why: "the peer's host does not answer"}
	g.dir.status.Store(&st)
	g.Changed(&takeover.Status{View: takeover.View{Role: takeover.Backup}}, &st)
	v := g.services[0]
	for _, s := range []upstream.State{{Verdict: upstream.Healthy, Reason: "it answers"}, {Verdict: upstream.Unhealthy, Reason: "a\x00b"},
		{Verdict: upstream.Unhealthy, Reason: "still"}, {Verdict: upstream.Healthy, Reason: "it answers"}} {
		g.judged(v, s)
	}
	n.leaving.Store(true)
	g.judged(v, upstream.State{Verdict: upstream.Unhealthy})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- v.hooks.Run(ctx) }()
	want := "FTGW_ADVERTISED=192.0.2.100:80\nFTGW_EPOCH=7\nFTGW_EVENT=takeover\nFTGW_NODE=web-a\nFTGW_OWNER=true\nFTGW_PEER=web-b\n" +
		"FTGW_REASON=the peer's host does not answer\nFTGW_ROLE=sole\nFTGW_SERVICE=" + v.cfg.Name + "\nFTGW_UPSTREAM=" + v.cfg.Upstream + "\n" +
		"upstream_down ab\nupstream_up it answers\n"
	var got string
	for end := time.Now().Add(20 * time.Second); len(got) < len(want) && time.Now().Before(end); time.Sleep(time.Millisecond) {
		text, _ := os.ReadFile(out)
		got = string(text)
	}
	cancel()
	if err := <-done; err != nil || got != want {
		t.Errorf("%v\n%s\nwant\n%s", err, got, want)
	}
}
