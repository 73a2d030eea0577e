package e2e

import (
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/ftgw/ftgw/internal/lab"
)

// A live peer under load is not declared dead because its heartbeats are late: every core is
// kept busy by others, with clients beside it, and nobody claims.
func TestNoTakeoverOfABusyPeer(t *testing.T) {
	const last = 30 * time.Second
	x := start(t, lab.Options{}, lab.Config{})
	wait := x.busy()
	seconds := strconv.Itoa(int(last / time.Second))
	for range runtime.NumCPU() {
		for _, h := range []*lab.Host{x.A, x.B} {
			p, err := h.Start("burn", "timeout", seconds, "sh", "-c", "while :; do :; done")
			x.must(err)
			defer p.Kill()
		}
	}
	for end := time.Now().Add(last); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		a, b := x.service(x.A), x.service(x.B)
		if a.LastTakeover != nil || b.LastTakeover != nil {
			t.Fatalf("claimed: a %+v, b %+v", a.LastTakeover, b.LastTakeover)
		}
	}
	wait()
	x.whole()
	x.executions()
	x.duplex()
	if a, b := x.service(x.A), x.service(x.B); a.Role != "primary" || b.Role != "backup" || a.Epoch != 0 {
		t.Errorf("the roles have changed: %+v, %+v", a, b)
	}
}
