package e2e

import (
	"context"
	"fmt"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ftgw/ftgw/internal/lab"
	"github.com/ftgw/ftgw/internal/lab/client"
)

// command runs a subcommand against the node of a host.
func (x *cluster) command(h *lab.Host, words ...string) {
	x.Helper()
	p, err := h.Start(words[0], append(append([]string{program}, words...), "--socket", h.Socket())...)
	x.must(err)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := p.Wait(ctx); err != nil {
		x.Errorf("ftgw %v on %s: %v\n%s", words, h.Name, err, p.Log())
	} else {
		x.Logf("%s", p.Log())
	}
}

// The primary's part goes to the peer and back while clients are in every phase of an exchange.
// Nothing is lost, reset or executed twice, and at any moment one host speaks.
func TestSwitchover(t *testing.T) {
	x := start(t, lab.Options{CongestionControl: "cubic"}, lab.Config{})
	w := x.watch()
	wait := x.busy()
	time.Sleep(300 * time.Millisecond)
	x.command(x.A, "switchover")
	if a, b := x.service(x.A), x.service(x.B); a.Role != "backup" || b.Role != "primary" || a.Epoch != b.Epoch {
		t.Errorf("a %+v, b %+v", a, b)
	}
	time.Sleep(300 * time.Millisecond)
	x.command(x.B, "drain")
	if a := x.service(x.A); a.Role != "primary" || a.Owner != "a" {
		t.Errorf("a %+v", a)
	}
	time.Sleep(300 * time.Millisecond)
	wait()
	x.whole()
	x.once()
	w.voices(2)
	x.duplex()
}

// The pair is restarted, one host after the other, ten times over under load: a node that is
// asked to stop drains first. No client notices.
func TestRollingRestart(t *testing.T) {
	x := start(t, lab.Options{CongestionControl: "cubic"}, lab.Config{})
	ctx := context.Background()
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for c := range 8 {
		wg.Go(func() {
			size := []int64{500, 3000, 100_000, 20_000}[c%4]
			x.client.Repeat(ctx, 5*time.Millisecond, func(i int) (client.Request, bool) {
				select {
				case <-stop:
					return client.Request{}, false
				default:
					if i%7 == 6 {
						return client.Upload(fmt.Sprintf("up%d-%d", c, i), size), true
					}
					return client.Bytes(fmt.Sprintf("series%d-%d", c, i), size), true
				}
			}, &x.report)
		})
	}
	for round := range 10 {
		for _, h := range []*lab.Host{x.A, x.B} {
			began := time.Now()
			p := x.nodes[h]
			x.must(p.Signal(syscall.SIGTERM))
			end, cancel := context.WithTimeout(ctx, 20*time.Second)
			if err := p.Wait(end); err != nil {
				t.Errorf("round %d: %s: %v", round, h.Name, err)
			}
			cancel()
			stopped := time.Since(began)
			x.node(h)
			x.duplex()
			t.Logf("round %d: %s stopped in %v, in sync after %v", round, h.Name, stopped, time.Since(began)-stopped)
		}
	}
	close(stop)
	wg.Wait()
	x.whole()
	x.once()
}

// A node that has handed the voice over while an exchange still ran there has not given all up: drain
// and SIGTERM wait for it, so that the peer does not execute it as well.
func TestDrainAfterAnUnfinishedSwitchover(t *testing.T) {
	for _, name := range []string{"drain", "SIGTERM"} {
		t.Run(name, func(t *testing.T) {
			x := start(t, lab.Options{}, lab.Config{})
			ctx := context.Background()
			done := make(chan struct{})
			go func() {
				defer close(done)
				x.report.Add(x.client.Once(ctx, client.Slow("slow", 4*time.Second)))
			}()
			x.until("it is executed", 10*time.Second, func() bool { return len(x.executedFor("slow")) == 1 })
			x.refused(x.A, "switchover", "--timeout", "500ms")
			if a := x.service(x.A); a.Role != "backup" {
				t.Fatalf("a %+v", a)
			}
			if name == "drain" {
				x.command(x.A, "drain")
				select {
				case <-done:
				case <-time.After(300 * time.Millisecond):
					t.Error("drained, and the exchange still runs")
				}
			}
			x.must(x.nodes[x.A].Signal(syscall.SIGTERM))
			end, cancel := context.WithTimeout(ctx, 20*time.Second)
			defer cancel()
			x.must(x.nodes[x.A].Wait(end))
			<-done
			x.whole()
			x.once()
		})
	}
}
