package e2e

import (
	"testing"
	"time"

	"github.com/ftgw/ftgw/internal/lab"
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
		x.until("the survivor serves alone", 3*time.Second, func() bool { return x.service(survivor).Role == "sole" })
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
