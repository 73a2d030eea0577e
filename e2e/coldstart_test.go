package e2e

import (
	"context"
	"testing"
	"time"

	"github.com/ftgw/ftgw/internal/lab"
	"github.com/ftgw/ftgw/internal/lab/client"
)

const startWait = 5 * time.Second // of the default config

// A host that starts alone serves after start_wait and not before; which of the two, and
// whether the other's host is dead or has no daemon, makes no difference.
func TestColdStartAlone(t *testing.T) {
	for _, tt := range []struct {
		name  string
		alone func(*cluster) (*lab.Host, *lab.Host)
		dead  bool // the other host, not only its daemon
	}{
		{"primary, backup off", func(x *cluster) (*lab.Host, *lab.Host) { return x.A, x.B }, true},
		{"backup, no primary", func(x *cluster) (*lab.Host, *lab.Host) { return x.B, x.A }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			x := prepare(t, lab.Options{}, lab.Config{})
			h, other := tt.alone(x)
			if tt.dead {
				x.must(other.Crash())
			}
			begin := time.Now()
			x.node(h)
			x.until("the host serves alone", startWait+3*time.Second, func() bool { return x.service(h).Role == "sole" })
			if took := x.service(h).LastTakeover.At.Sub(begin); took < startWait {
				t.Errorf("claimed after %v, before start_wait", took)
			} else {
				t.Logf("claimed after %v", took)
			}
			x.report.Add(x.client.Once(context.Background(), client.Bytes("alone", 100_000)))
			if tt.dead {
				x.must(other.Reboot())
				x.app(other)
			}
			x.node(other)
			x.duplex()
			x.report.Add(x.client.Once(context.Background(), client.Bytes("pair", 100_000)))
			x.whole()
		})
	}
}

// Both at once are a pair long before start_wait, and nobody claims.
func TestColdStartTogether(t *testing.T) {
	x := prepare(t, lab.Options{}, lab.Config{})
	begin := time.Now()
	x.node(x.A)
	x.node(x.B)
	x.duplex()
	if took := time.Since(begin); took > 4*time.Second {
		t.Errorf("a pair after %v", took)
	}
	a, b := x.service(x.A), x.service(x.B)
	if a.Role != "primary" || b.Role != "backup" || b.Owner != "b" || a.LastTakeover != nil || b.LastTakeover != nil {
		t.Errorf("a: %+v, b: %+v", a, b)
	}
}

// The survivor dies before the newcomer has any of its connections. A newcomer that was not in
// the pair yet claims nothing before start_wait; one that had just joined claims at once, for
// new connections. Either tells the clients of the lost ones by an RST: the latter those
// in the middle of a reply too, the former when they say something.
func TestSurvivorDiesBeforeTheNewcomerIsInSync(t *testing.T) {
	t.Run("joining", func(t *testing.T) { survivorDies(t, false) })
	t.Run("joined", func(t *testing.T) { survivorDies(t, true) })
}

func survivorDies(t *testing.T, joined bool) {
	x := start(t, lab.Options{}, lab.Config{})
	ctx := context.Background()
	x.must(x.A.Crash())
	x.until("b serves alone", 10*time.Second, func() bool { return x.service(x.B).Role == "sole" })
	idle, err := x.client.Dial(ctx)
	x.must(err)
	defer idle.Close()
	if r := idle.Do(ctx, client.Bytes("before", 2000)); !r.OK() {
		t.Fatal(r)
	}
	running := make(chan client.Result, 1)
	go func() { // ends with its connection, or with the test
		r := client.Bytes("running", 30<<20)
		r.Rate = 2 << 20
		running <- x.client.Once(t.Context(), r)
	}()
	time.Sleep(200 * time.Millisecond) // it is in the middle
	x.must(x.A.Reboot())
	x.app(x.A)
	begin := time.Now()
	if joined {
		x.node(x.A)
		x.duplex()
		x.must(x.B.Crash())
	} else {
		x.must(x.B.Crash()) // before a has heard of it
		x.node(x.A)
	}
	x.until("a serves alone", startWait+10*time.Second, func() bool { return x.service(x.A).Role == "sole" })
	c := x.service(x.A).LastTakeover
	took := c.At.Sub(begin)
	t.Logf("a claimed %v after its start: %s", took, c.Reason)
	if !joined && took < startWait {
		t.Errorf("a claimed after %v, before start_wait", took)
	}
	if joined { // else a cannot know of a client that only listens, before its keep-alive
		if r := <-running; r.Failure != client.Reset || time.Since(c.At) > 5*time.Second {
			t.Errorf("the client in the middle of a reply, %v after the claim: %v", time.Since(c.At), r)
		}
	}
	if r := idle.Do(ctx, client.Bytes("after", 2000)); r.Failure != client.Reset {
		t.Errorf("the client of an idle connection: %v", r)
	}
	x.report.Add(x.client.Once(ctx, client.Bytes("new", 2000)))
	x.whole()
}
