package e2e

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ftgw/ftgw/internal/lab"
	"github.com/ftgw/ftgw/internal/lab/client"
)

// syncStatic has the web application's downloads in mode sync-static. Only those with fixed=1 are the
// same on both hosts.
var syncStatic = lab.Config{Service: "[[service.route]]\npath = \"/bytes\"\nmethods = [\"GET\"]\nmode = \"sync-static\"\n"}

// fixed loads the service with replies that both hosts make, some through connections that idle, until
// the returned function ends it. more is added to the query.
func (x *cluster) fixed(name, more string) (wait func()) {
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for i := range 8 {
		size := []int64{100, 5000, 50_000, 2 << 20}[i%4]
		wg.Go(func() {
			x.client.Repeat(x.Context(), 5*time.Millisecond, func(k int) (client.Request, bool) {
				select {
				case <-stop:
					return client.Request{}, false
				default:
				}
				r := client.Bytes(fmt.Sprintf("%s-%d-%d", name, i, k), size)
				r.Path += "&fixed=1" + more
				return r, true
			}, &x.report)
		})
	}
	return func() { close(stop); wg.Wait() }
}

// Either host dies while both make each reply. No client notices.
func TestSyncStatic(t *testing.T) {
	for _, victim := range []string{"a", "b"} {
		t.Run(victim+" dies", func(t *testing.T) {
			x := start(t, lab.Options{CongestionControl: "cubic"}, syncStatic)
			wait := x.fixed("fixed", "")
			x.until("replies that both have made", 20*time.Second, func() bool { return x.service(x.A).Modes.SyncStatic > 200 })
			a, b := x.service(x.A), x.service(x.B)
			t.Logf("a %+v, b %+v", a.Modes, b.Modes)
			if b.Modes.Mirrored < 100 || b.Modes.Differed > 0 {
				t.Errorf("too few are the same: a %+v, b %+v", a.Modes, b.Modes)
			}
			dies, survives := x.A, x.B
			if victim == "b" {
				dies, survives = x.B, x.A
			}
			x.must(dies.Crash())
			x.until("the other serves alone", 10*time.Second, func() bool { return x.service(survives).Role == "sole" })
			before := x.service(survives).Exchanges.Delivered
			x.until("it delivers", 10*time.Second, func() bool { return x.service(survives).Exchanges.Delivered > before+50 })
			wait()
			x.whole()
			if out := x.ledger(survives); !strings.Contains(out, `"mode":"sync-static"`) {
				t.Errorf("the ledger of %s knows no such mode", survives.Name)
			}
		})
	}
}

// Upstreams that differ in each body: every reply is stored before it goes out, and a crash of the
// primary costs no client a byte.
func TestSyncStaticDiffers(t *testing.T) {
	x := start(t, lab.Options{CongestionControl: "cubic"}, syncStatic)
	wait := x.busy()
	time.Sleep(500 * time.Millisecond) // of load
	if a := x.service(x.A).Modes; a.SyncStatic > 0 || a.Instead == 0 {
		t.Errorf("%+v", a)
	}
	x.must(x.A.Crash())
	time.Sleep(500 * time.Millisecond)
	wait()
	x.whole()
}

// A backup whose web server is gone costs the mode, and nothing else.
func TestSyncStaticWithoutUpstream(t *testing.T) {
	x := start(t, lab.Options{}, syncStatic)
	for _, p := range x.B.Processes() {
		if p.Name == "app" {
			x.must(p.Kill())
		}
	}
	wait := x.fixed("alone", "")
	x.until("replies that are stored instead", 20*time.Second, func() bool { return x.service(x.A).Modes.Instead > 50 })
	x.app(x.B)
	x.until("replies that both make", 20*time.Second, func() bool { return x.service(x.A).Modes.SyncStatic > 50 })
	wait()
	x.whole()
}

// static has the downloads in mode static. Only those with fixed=1 and plain=1 are the same.
var static = lab.Config{Service: "[[service.route]]\npath = \"/bytes\"\nmode = \"static\"\n"}

// Either host dies while replies go out before both have made them.
func TestStatic(t *testing.T) {
	for _, victim := range []string{"a", "b"} {
		t.Run(victim+" dies", func(t *testing.T) {
			x := start(t, lab.Options{CongestionControl: "cubic"}, static)
			dies, survives := x.A, x.B
			if victim == "b" {
				dies, survives = x.B, x.A
			}
			wait := x.fixed("static", "&plain=1")
			x.until("static replies", 20*time.Second, func() bool { return x.service(x.A).Modes.Static > 200 })
			a, b := x.service(x.A), x.service(x.B)
			t.Logf("a %+v, b %+v", a.Modes, b.Modes)
			if b.Modes.Mirrored < 100 || b.Modes.Differed > 0 {
				t.Errorf("a %+v, b %+v", a.Modes, b.Modes)
			}
			x.must(dies.Crash())
			x.until("the other serves alone", 10*time.Second, func() bool { return x.service(survives).Role == "sole" })
			before := x.service(survives).Exchanges.Delivered
			x.until("it delivers", 10*time.Second, func() bool { return x.service(survives).Exchanges.Delivered > before+50 })
			wait()
			x.whole()
		})
	}
}

// Web servers that do not keep the promise are found out, and their route is logged from then on.
func TestStaticDiffers(t *testing.T) {
	x := start(t, lab.Options{CongestionControl: "cubic"}, static)
	r := client.Bytes("first", 5000)
	if got := x.client.Once(t.Context(), r); !got.OK() {
		t.Fatal(got)
	}
	x.until("it is found out", 10*time.Second, func() bool { return x.service(x.A).Modes.Instead == 1 })
	for _, h := range []*lab.Host{x.A, x.B} {
		if log := x.nodes[h].Log(); !strings.Contains(log, "a route is logged from now on") {
			t.Errorf("%s does not say so:\n%s", h.Name, log)
		}
		if w := strings.Join(x.warnings(h), "\n"); !strings.Contains(w, `the static route path = "/bytes" is logged`) {
			t.Errorf("%s warns of %q", h.Name, w)
		}
	}
	x.must(x.nodes[x.B].Kill())
	x.until("a serves alone", 10*time.Second, func() bool { return x.service(x.A).Role == "sole" })
	x.node(x.B)
	x.duplex()
	x.until("b is told when it is back", 10*time.Second, func() bool { return len(x.warnings(x.B)) == 1 })
	x.command(x.A, "routes")
	x.command(x.A, "routes", "--reset", "web", "/bytes")
	x.until("neither distrusts it", 10*time.Second, func() bool { return len(x.warnings(x.A)) == 0 && len(x.warnings(x.B)) == 0 })
	same := client.Bytes("same", 5000)
	same.Path += "&fixed=1&plain=1"
	for i, r := range []client.Request{same, client.Bytes("other", 5000)} {
		if got := x.client.Once(t.Context(), r); !got.OK() {
			t.Fatal(got)
		}
		x.until("it was static again", 10*time.Second, func() bool { return x.service(x.A).Modes.Static == uint64(2+i) })
	}
	x.until("it is found out again", 10*time.Second, func() bool { return len(x.warnings(x.A)) == 1 && len(x.warnings(x.B)) == 1 })
	time.Sleep(300 * time.Millisecond) // the time within which a host might not know, were it about to die
	wait := x.busy()
	time.Sleep(500 * time.Millisecond) // of load
	if a := x.service(x.A).Modes; a.Static != 3 || a.Logged == 0 {
		t.Errorf("%+v", a)
	}
	x.must(x.A.Crash())
	time.Sleep(500 * time.Millisecond)
	wait()
	x.whole()
}

// The primary's part goes to the backup and back while both make the replies: nobody notices, and both
// have mirrored.
func TestModesSwitchover(t *testing.T) {
	for name, c := range map[string]lab.Config{"sync-static": syncStatic, "static": static} {
		t.Run(name, func(t *testing.T) {
			x := start(t, lab.Options{CongestionControl: "cubic"}, c)
			wait := x.fixed(name, "&plain=1")
			same := func(h *lab.Host) uint64 { return x.service(h).Modes.SyncStatic + x.service(h).Modes.Static }
			x.until("replies of a", 20*time.Second, func() bool { return same(x.A) > 50 })
			x.command(x.A, "switchover")
			x.until("replies of b", 20*time.Second, func() bool { return same(x.B) > 50 })
			x.command(x.B, "switchover")
			before := same(x.A)
			x.until("replies of a again", 20*time.Second, func() bool { return same(x.A) > before+50 })
			wait()
			x.whole()
			if a, b := x.service(x.A).Modes, x.service(x.B).Modes; a.Mirrored == 0 || b.Mirrored == 0 || a.Differed+b.Differed > 0 {
				t.Errorf("a %+v, b %+v", a, b)
			}
			x.must(x.B.Crash())
			x.until("a serves alone", 10*time.Second, func() bool { return x.service(x.A).Role == "sole" })
			x.must(x.B.Reboot())
			x.app(x.B)
			x.node(x.B)
			x.duplex()
			mirrored := x.service(x.B).Modes.Mirrored
			wait = x.fixed(name+"-again", "&plain=1")
			x.until("b mirrors again", 20*time.Second, func() bool { return x.service(x.B).Modes.Mirrored > mirrored+50 })
			wait()
			x.whole()
		})
	}
}
