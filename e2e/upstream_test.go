package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ftgw/ftgw/internal/lab"
	"github.com/ftgw/ftgw/internal/lab/client"
)

// healthKeys are of a service whose web servers are checked by a path.
const healthKeys = "health_path = \"/health\"\nhealth_interval = \"300ms\"\nhealth_timeout = \"300ms\"\nupstream_timeout = \"700ms\"\n"

// working runs keep-alive series of downloads and uploads. The returned function ends them.
func (x *cluster) working() (wait func()) {
	x.loads++
	load := x.loads
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for c := range 8 {
		size := []int64{500, 3000, 100_000, 20_000}[c%4]
		wg.Go(func() {
			x.client.Repeat(context.Background(), 10*time.Millisecond, func(i int) (client.Request, bool) {
				select {
				case <-stop:
					return client.Request{}, false
				default:
				}
				id := fmt.Sprintf("load%d-%d-%d", load, c, i)
				switch i % 5 {
				case 2:
					return client.Upload(id, 10*size), true
				case 3:
					r := client.Upload(id, size)
					r.Expect100 = true
					return r, true
				}
				return client.Bytes(id, size), true
			}, &x.report)
		})
	}
	return func() { close(stop); wg.Wait() }
}

// appOf returns the latest web server of a host.
func appOf(h *lab.Host) (last *lab.Process) {
	for _, p := range h.Processes() {
		if p.Name == "app" {
			last = p
		}
	}
	return last
}

// healthy waits for what a node finds of its web server.
func (x *cluster) healthy(h *lab.Host, verdict string) {
	x.Helper()
	x.until(h.Name+"'s web server is "+verdict, 10*time.Second, func() bool { return x.service(h).Upstream == verdict })
}

// warned reports whether a node warns of that.
func (x *cluster) warned(h *lab.Host, of string) bool {
	st, err := h.Status(context.Background())
	return err == nil && slices.ContainsFunc(st.Warnings, func(w string) bool { return strings.Contains(w, of) })
}

// stays fails the test if a role changes for so long.
func (x *cluster) stays(primary *lab.Host, d time.Duration) {
	x.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if s := x.service(primary); s.Role != "primary" {
			x.Fatalf("%s is no longer primary: %+v", primary.Name, s)
		}
	}
}

// The primary's web server is killed, or hangs, under load: what it fails is executed by the peer,
// then the peer is primary. The client sees good replies only, and nothing flaps when the server
// is back.
func TestUpstreamFails(t *testing.T) {
	for name, fail := range map[string]func(*lab.Process) error{
		"killed": (*lab.Process).Kill,
		"hung":   (*lab.Process).Stop,
	} {
		t.Run(name, func(t *testing.T) {
			x := start(t, lab.Options{CongestionControl: "cubic"}, lab.Config{Service: healthKeys})
			x.healthy(x.A, "healthy")
			x.healthy(x.B, "healthy")
			wait := x.working()
			time.Sleep(500 * time.Millisecond)
			began := time.Now()
			x.must(fail(appOf(x.A)))
			x.until("the role moves", 10*time.Second, func() bool { return x.service(x.B).Role == "primary" })
			t.Logf("the role moved after %v", time.Since(began))
			time.Sleep(time.Second)
			if a, b := x.service(x.A), x.service(x.B); a.Role != "backup" || !b.InSync || a.Epoch != b.Epoch || a.Exchanges.Moved == 0 ||
				a.Exchanges.Failed+b.Exchanges.Failed > 0 || a.Upstream != "unhealthy" || a.UpstreamWhy == "" {
				t.Errorf("a %+v, b %+v", a, b)
			} else {
				t.Logf("%d exchanges moved; a finds: %s", a.Exchanges.Moved, a.UpstreamWhy)
			}
			if !x.warned(x.A, "if b died now, requests would fail") {
				t.Error("a does not warn")
			}
			if name == "killed" {
				x.app(x.A)
			} else {
				x.must(appOf(x.A).Cont())
			}
			x.healthy(x.A, "healthy")
			x.stays(x.B, 2*time.Second)
			wait()
			x.whole()
		})
	}
}

// Requests at which the primary's web server closes in mid-reply, or dies, are executed by the
// peer; the role stays where it is.
func TestUpstreamCuts(t *testing.T) {
	x := start(t, lab.Options{CongestionControl: "cubic"}, lab.Config{Service: healthKeys})
	x.healthy(x.A, "healthy")
	x.healthy(x.B, "healthy")
	ctx := context.Background()
	var wg sync.WaitGroup
	for c := range 4 {
		wg.Go(func() {
			x.client.Series(ctx, 20, 10*time.Millisecond, func(i int) client.Request {
				id, query := fmt.Sprintf("cut%d-%d", c, i), ""
				if i%2 == 1 {
					query = "&chunked=1"
				}
				switch i % 5 {
				case 0, 1:
					size := []int{1000, 300_000}[i%2]
					return client.Request{ID: id, Path: fmt.Sprintf("/cut?id=%s&on=a&size=%d%s", id, size, query), Upload: -1}
				case 2:
					return client.Upload(id, 50_000)
				}
				return client.Bytes(id, 3000)
			}, &x.report)
		})
	}
	wg.Wait()
	if a, b := x.service(x.A), x.service(x.B); a.Role != "primary" || b.Role != "backup" || a.Exchanges.Moved < 4 || a.Exchanges.Failed+b.Exchanges.Failed > 0 {
		t.Errorf("a %+v, b %+v", a, b)
	}
	x.whole()
	x.executions()
}

// Where both web servers are dead each request has one 502, promptly, and nothing moves to and
// fro. The first server that is back serves.
func TestBothUpstreamsFail(t *testing.T) {
	x := start(t, lab.Options{CongestionControl: "cubic"}, lab.Config{Service: healthKeys})
	x.healthy(x.A, "healthy")
	x.healthy(x.B, "healthy")
	ctx := context.Background()
	conns := make([]*client.Conn, 3)
	for i := range conns {
		var err error
		conns[i], err = x.client.Dial(ctx)
		x.must(err)
		defer conns[i].Close()
		x.report.Add(conns[i].Do(ctx, client.Bytes(fmt.Sprint("before", i), 3000)))
	}
	x.must(appOf(x.A).Kill())
	x.must(appOf(x.B).Kill())
	refused := func(round string) {
		t.Helper()
		for i, c := range conns {
			r := client.Status(fmt.Sprint(round, i), 502)
			began := time.Now()
			if got := c.Do(ctx, r); got.Status != 502 || time.Since(began) > 3*time.Second {
				t.Errorf("%s: %v after %v", round, got, time.Since(began))
			}
		}
	}
	refused("at once")
	x.healthy(x.A, "unhealthy")
	x.healthy(x.B, "unhealthy")
	time.Sleep(500 * time.Millisecond) // a switchover that had begun
	before, primary := x.moved(), x.A
	if x.service(x.B).Role == "primary" {
		primary = x.B
	}
	refused("later")
	x.stays(primary, 2*time.Second)
	if after := x.moved(); after != before {
		t.Errorf("exchanges moved to an unhealthy server: %d, %d", before, after)
	}
	if !x.warned(primary, "requests fail") {
		t.Error("no warning")
	}
	// The one that is back is the backup's: the role moves there.
	back := x.B
	if primary == x.B {
		back = x.A
	}
	x.app(back)
	x.until("the role is where the server is", 15*time.Second, func() bool { return x.service(back).Role == "primary" })
	for i, c := range conns {
		x.report.Add(c.Do(ctx, client.Bytes(fmt.Sprint("after", i), 3000)))
	}
	x.whole()
}

// moved is how many exchanges have moved, either way.
func (x *cluster) moved() uint64 {
	return x.service(x.A).Exchanges.Moved + x.service(x.B).Exchanges.Moved
}

// The peer dies right after an exchange has moved to it: the primary executes it again.
func TestPeerDiesAfterMove(t *testing.T) {
	for _, whole := range []bool{false, true} {
		t.Run(map[bool]string{false: "process", true: "host"}[whole], func(t *testing.T) {
			x := start(t, lab.Options{CongestionControl: "cubic"}, lab.Config{})
			x.healthy(x.A, "healthy")
			x.healthy(x.B, "healthy")
			ctx := context.Background()
			var wg sync.WaitGroup
			for i := range 4 {
				wg.Go(func() {
					c, err := x.client.Dial(ctx)
					if err != nil {
						t.Error(err)
						return
					}
					defer c.Close()
					x.report.Add(c.Do(ctx, client.Bytes(fmt.Sprint("before", i), 3000)))
					id := fmt.Sprint("moved", i)
					x.report.Add(c.Do(ctx, client.Request{ID: id, Delay: 2 * time.Second, Upload: -1,
						Path: fmt.Sprintf("/cut?id=%s&on=a&attempts=1&size=20000&delay=2000", id)}))
					x.report.Add(c.Do(ctx, client.Bytes(fmt.Sprint("after", i), 3000)))
				})
			}
			x.until("all moved", 10*time.Second, func() bool { return x.service(x.A).Exchanges.Moved == 4 })
			time.Sleep(100 * time.Millisecond)
			if whole {
				x.must(x.B.Crash())
			} else {
				x.must(x.nodes[x.B].Kill())
			}
			wg.Wait()
			x.whole()
			x.executions()
			for _, e := range x.journal(x.A) {
				if strings.HasPrefix(e.ID, "moved") && e.Attempt != "1" && e.Attempt != "3" {
					t.Errorf("%s: attempt %s", e.ID, e.Attempt)
				}
			}
			if a := x.service(x.A); a.Role != "sole" || a.Exchanges.Failed > 0 || a.Exchanges.Reexecuted != 4 {
				t.Errorf("%+v", a)
			}
		})
	}
}
