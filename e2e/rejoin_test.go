package e2e

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/ftgw/ftgw/internal/lab"
	"github.com/ftgw/ftgw/internal/lab/client"
)

// A pair becomes a pair again when the dead host comes back, and then survives the death of
// the other one: four deaths in a row, each host as survivor and as newcomer, with connections
// that are opened after each reunion.
func TestPairIsReunited(t *testing.T) {
	x := start(t, lab.Options{}, lab.Config{})
	for round, victim := range []*lab.Host{x.A, x.B, x.A, x.B} {
		survivor := x.A
		if victim == x.A {
			survivor = x.B
		}
		before := x.service(survivor)
		wait := x.busy()
		time.Sleep(400 * time.Millisecond)
		x.must(victim.Crash())
		x.until("the survivor serves alone", 10*time.Second, func() bool { return x.service(survivor).Role == "sole" })
		time.Sleep(200 * time.Millisecond)
		wait()
		x.whole()
		after := x.service(survivor)
		if after.Epoch <= before.Epoch {
			t.Errorf("round %d: epoch %d after %d", round, after.Epoch, before.Epoch)
		}
		x.must(victim.Reboot())
		x.app(victim)
		begin := time.Now()
		x.node(victim)
		x.duplex()
		t.Logf("round %d: duplex again %v after the start; survivor %+v", round, time.Since(begin), after)
		if s := x.service(survivor); s.Owner != survivor.Name || s.Role != "primary" {
			t.Errorf("round %d: the address or the voice moved: %+v", round, s)
		}
	}
	x.executions()
}

// Connections from the time alone go on, and end at the next exchange boundary once there is a
// pair again; idle ones end by themselves. No request is lost by it.
func TestSimplexConnectionsAreTurnedOver(t *testing.T) {
	x := start(t, lab.Options{}, lab.Config{})
	ctx := context.Background()
	var open []*client.Conn
	for i := range 6 {
		c, err := x.client.Dial(ctx)
		x.must(err)
		defer c.Close()
		x.report.Add(c.Do(ctx, client.Bytes(fmt.Sprintf("before%d", i), 2000)))
		open = append(open, c)
	}
	x.must(x.A.Crash())
	x.until("b serves alone", 10*time.Second, func() bool { return x.service(x.B).Role == "sole" })
	for i, c := range open {
		x.report.Add(c.Do(ctx, client.Bytes(fmt.Sprintf("alone%d", i), 2000)))
		if !c.Usable() {
			t.Error("closed though there is no pair")
		}
	}
	x.must(x.A.Reboot())
	x.app(x.A)
	x.node(x.A)
	x.duplex()
	for i, c := range open[:3] {
		x.report.Add(c.Do(ctx, client.Bytes(fmt.Sprintf("again%d", i), 2000)))
		if c.Usable() {
			t.Error("a busy connection was not turned over")
		}
	}
	x.until("no simplex flow left", 15*time.Second, func() bool { return x.service(x.B).Flows.Simplex == 0 })
	c, err := x.client.Dial(ctx)
	x.must(err)
	defer c.Close()
	x.report.Add(c.Do(ctx, client.Bytes("fresh", 2000)))
	if n := x.service(x.A).Flows.Duplex; n == 0 {
		t.Error("the fresh connection is not held by both")
	}
	x.whole()
}
