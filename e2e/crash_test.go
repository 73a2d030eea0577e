package e2e

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/ftgw/ftgw/internal/lab"
	"github.com/ftgw/ftgw/internal/lab/client"
	"github.com/ftgw/ftgw/internal/lab/webapp"
)

// busy runs every phase of an exchange at once: a download that is in the middle of its reply,
// an upload in the middle of its request, slow requests that wait for their reply, sixteen
// connections of mixed sizes, and a keep-alive series that is now and then between two
// requests. The returned function ends the series and waits for all.
func (x *cluster) busy() (wait func()) {
	ctx := context.Background()
	x.loads++
	id := func(name string) string { return fmt.Sprintf("%d-%s", x.loads, name) }
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		r := client.Bytes(id("download"), 30<<20)
		r.Rate = 20 << 20
		x.report.Add(x.client.Once(ctx, r))
	})
	wg.Go(func() { x.report.Add(x.client.Once(ctx, client.Upload(id("upload"), 40<<20))) })
	for i := range 3 {
		wg.Go(func() {
			x.report.Add(x.client.Once(ctx, client.Slow(id(fmt.Sprint("slow", i)), 700*time.Millisecond)))
		})
	}
	series := func(name string, gap time.Duration, size int64) {
		x.client.Repeat(ctx, gap, func(i int) (client.Request, bool) {
			select {
			case <-stop:
				return client.Request{}, false
			default:
				return client.Bytes(fmt.Sprintf("%s-%d", id(name), i), size), true
			}
		}, &x.report)
	}
	wg.Go(func() { series("series", 5*time.Millisecond, 3000) })
	for i := range 16 {
		size := []int64{100, 1000, 20_000, 300_000}[i%4]
		wg.Go(func() { series(fmt.Sprintf("mixed%d", i), 20*time.Millisecond, size) })
	}
	return func() { close(stop); wg.Wait() }
}

// executions fails the test if a request was executed again although its reply was stored. A
// reply that was stored is replayed, so the client then has the first execution; of a request
// that was executed again it must have the last.
func (x *cluster) executions() {
	x.Helper()
	var entries []webapp.Entry
	for _, h := range x.serving() {
		entries = append(entries, x.journal(h)...)
	}
	slices.SortStableFunc(entries, func(a, b webapp.Entry) int { return a.Time.Compare(b.Time) })
	runs, where := map[string][]string{}, map[string]string{}
	for _, e := range entries {
		runs[e.ID] = append(runs[e.ID], e.Execution)
		where[e.Execution] = e.Host + " at " + e.Time.Format("05.000")
	}
	again := 0
	for _, r := range x.report.Results() {
		all := runs[r.ID]
		if len(all) > 1 {
			again++
		}
		if !slices.Contains(all, r.Execution) || r.Execution != all[len(all)-1] {
			var times []string
			for _, execution := range all {
				times = append(times, where[execution])
			}
			x.Errorf("%s: the client has the reply of %s, the executions were %v: %v", r.ID, where[r.Execution], all, times)
		}
	}
	x.Logf("%d of %d requests were executed again", again, len(runs))
}

// serving returns the hosts that may execute requests.
func (x *cluster) serving() []*lab.Host {
	hosts := []*lab.Host{x.A, x.B}
	if x.C != nil {
		hosts = append(hosts, x.C)
	}
	return hosts
}

// once fails the test if any request was executed more than once.
func (x *cluster) once() {
	x.Helper()
	runs := map[string]int{}
	for _, h := range x.serving() {
		for _, e := range x.journal(h) {
			if runs[e.ID]++; runs[e.ID] == 2 {
				x.Errorf("%s was executed twice", e.ID)
			}
		}
	}
}

// crash runs the load, kills the victim in the middle and checks what the client saw.
func crash(t *testing.T, congestion string, victim func(*cluster) *lab.Host, whole bool) {
	x := start(t, lab.Options{CongestionControl: congestion}, lab.Config{})
	v := victim(x)
	survivor := x.A
	if v == x.A {
		survivor = x.B
	}
	watch := x.watch()
	wait := x.busy()
	time.Sleep(500 * time.Millisecond)
	if whole {
		x.must(v.Crash())
	} else {
		x.must(x.nodes[v].Kill())
	}
	x.until("the survivor serves alone", 10*time.Second, func() bool { return x.service(survivor).Role == "sole" })
	time.Sleep(300 * time.Millisecond)
	wait()
	x.whole()
	x.executions()
	st := x.service(survivor)
	watch.check(1, st.LastTakeover.At)
	t.Logf("survivor: %+v, takeover %+v", st, st.LastTakeover)
}

func TestCrash(t *testing.T) {
	a := func(x *cluster) *lab.Host { return x.A }
	b := func(x *cluster) *lab.Host { return x.B }
	for _, congestion := range []string{"cubic", "bbr"} {
		t.Run(congestion+"/primary/process", func(t *testing.T) { crash(t, congestion, a, false) })
		t.Run(congestion+"/primary/host", func(t *testing.T) { crash(t, congestion, a, true) })
		t.Run(congestion+"/backup/process", func(t *testing.T) { crash(t, congestion, b, false) })
		t.Run(congestion+"/backup/host", func(t *testing.T) { crash(t, congestion, b, true) })
	}
}
