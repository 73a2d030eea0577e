package e2e

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ftgw/ftgw/internal/lab"
	"github.com/ftgw/ftgw/internal/lab/capture"
	"github.com/ftgw/ftgw/internal/lab/client"
	"github.com/ftgw/ftgw/internal/lab/oracle"
)

// Hosts in several groups, and groups of more than two.

// shop is the second service of a dual-role pair: on an address of its own, with the roles swapped.
var shop = lab.Service{Name: "shop", Advertised: "192.0.2.101:80", List: []string{"b", "a"}, Keys: "forward = 20081"}

// named returns what a node says of one service; zero while it does not answer.
func (x *cluster) named(h *lab.Host, service string) lab.ServiceStatus {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	st, err := h.Status(ctx)
	i := slices.IndexFunc(st.Services, func(s lab.ServiceStatus) bool { return s.Name == service })
	if err != nil || i < 0 {
		return lab.ServiceStatus{}
	}
	return st.Services[i]
}

// pair waits until the hosts are in duplex for a service, the first as primary.
func (x *cluster) pair(service string, primary, backup *lab.Host, within time.Duration) {
	x.Helper()
	x.until(fmt.Sprintf("%s in duplex, %s primary and %s backup", service, primary.Name, backup.Name), within, func() bool {
		p, b := x.named(primary, service), x.named(backup, service)
		return p.InSync && b.InSync && p.Role == "primary" && b.Role == "backup" && p.Peer == backup.Name && b.Peer == primary.Name
	})
}

// use loads a service with requests in every phase until the returned function is called, which
// waits for all.
func (x *cluster) use(c *client.Client, name string) (wait func()) {
	ctx := context.Background()
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		r := client.Bytes(name+"-download", 16<<20)
		r.Rate = 8 << 20
		x.report.Add(c.Once(ctx, r))
	})
	wg.Go(func() { x.report.Add(c.Once(ctx, client.Upload(name+"-upload", 16<<20))) })
	wg.Go(func() { x.report.Add(c.Once(ctx, client.Slow(name+"-slow", 700*time.Millisecond))) })
	for k := range 6 {
		size := []int64{200, 3000, 60_000}[k%3]
		wg.Go(func() {
			c.Repeat(ctx, 10*time.Millisecond, func(i int) (client.Request, bool) {
				select {
				case <-stop:
					return client.Request{}, false
				default:
					return client.Bytes(fmt.Sprintf("%s-%d-%d", name, k, i), size), true
				}
			}, &x.report)
		})
	}
	return func() { close(stop); wg.Wait() }
}

// dualRole starts two hosts of which each is primary of one service and backup of the other, and
// returns a client of each.
func dualRole(t *testing.T, witness bool) (x *cluster, web, shopping *client.Client) {
	x = prepare(t, lab.Options{CongestionControl: "cubic"}, lab.Config{More: []lab.Service{shop}, Witness: witness})
	if witness {
		x.node(x.Witness)
	}
	x.node(x.A)
	x.node(x.B)
	x.pair("web", x.A, x.B, 20*time.Second)
	x.pair("shop", x.B, x.A, 20*time.Second)
	second := *x.client
	second.Target = shop.Advertised
	return x, x.client, &second
}

// oneVoice judges a capture: one voice for each connection, changed so often at most, and no
// reset.
func (x *cluster) oneVoice(wire *capture.Capture, at netip.AddrPort, switches int) {
	x.Helper()
	got, err := wire.Stop()
	x.must(err)
	x.must(got.Whole())
	if err := oracle.OneVoice(got.Segments, at, switches); err != nil {
		x.Errorf("%v: %v", at, err)
	}
	if err := oracle.NoReset(got.Segments, at); err != nil {
		x.Errorf("%v: %v", at, err)
	}
}

// bothVoices judges a capture for both services of a dual-role pair.
func (x *cluster) bothVoices(wire *capture.Capture, switches int) {
	x.Helper()
	x.oneVoice(wire, advertised, switches)
	x.oneVoice(wire, netip.MustParseAddrPort(shop.Advertised), switches)
}

func (x *cluster) capture() *capture.Capture {
	x.Helper()
	wire, err := capture.Start(x.Router, lab.LAN, capture.Options{})
	x.must(err)
	x.Cleanup(func() { wire.Stop() })
	return wire
}

// Each of two hosts is primary of one service and backup of the other (paper 004). When one dies,
// the other goes on with both, and nothing is lost on either.
func TestDualRole(t *testing.T) {
	for _, tt := range []struct {
		name    string
		witness bool
		fail    func(x *cluster) (survivor *lab.Host)
	}{
		{"host a", false, func(x *cluster) *lab.Host { x.must(x.A.Crash()); return x.B }},
		{"process of b, with witness", true, func(x *cluster) *lab.Host { x.must(x.nodes[x.B].Kill()); return x.A }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			x, web, shopping := dualRole(t, tt.witness)
			wire := x.capture()
			waitWeb, waitShop := x.use(web, "web"), x.use(shopping, "shop")
			time.Sleep(500 * time.Millisecond)
			survivor := tt.fail(x)
			x.until("the survivor serves both alone", 10*time.Second, func() bool {
				return x.named(survivor, "web").Role == "sole" && x.named(survivor, "shop").Role == "sole"
			})
			time.Sleep(300 * time.Millisecond)
			waitWeb()
			waitShop()
			x.whole()
			x.executions()
			x.bothVoices(wire, 1)
			for _, s := range []string{"web", "shop"} {
				if st := x.named(survivor, s); st.Owner != survivor.Name || st.LastTakeover == nil {
					t.Errorf("%s: %+v", s, st)
				}
			}
		})
	}
}

// The roles of one service are swapped while the other's stay; drain gives up all of them.
func TestSwitchoverOfOneService(t *testing.T) {
	x, web, shopping := dualRole(t, false)
	wire := x.capture()
	waitWeb, waitShop := x.use(web, "web"), x.use(shopping, "shop")
	time.Sleep(300 * time.Millisecond)
	p := x.refused(x.A, "switchover")
	if !strings.Contains(p, "web") || !strings.Contains(p, "shop") {
		t.Errorf("which services are there? %s", p)
	}
	x.command(x.B, "switchover", "shop")
	x.pair("web", x.A, x.B, 10*time.Second)
	x.pair("shop", x.A, x.B, 10*time.Second)
	x.command(x.A, "drain")
	x.pair("web", x.B, x.A, 10*time.Second)
	x.pair("shop", x.B, x.A, 10*time.Second)
	for _, s := range []string{"web", "shop"} {
		if st := x.named(x.A, s); st.Owner != "b" {
			t.Errorf("%s after drain: %+v", s, st)
		}
	}
	waitWeb()
	waitShop()
	x.whole()
	x.once()
	x.bothVoices(wire, 2)
}

// refused runs a subcommand that must fail and returns what it says.
func (x *cluster) refused(h *lab.Host, words ...string) string {
	x.Helper()
	p, err := h.Start(words[0], append(append([]string{program}, words...), "--socket", h.Socket())...)
	x.must(err)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if p.Wait(ctx) == nil {
		x.Errorf("ftgw %v on %s was not refused", words, h.Name)
	}
	return p.Log()
}

// A survivor that is asked to stop at once waits for the spare, which is about to join, and hands
// over to it.
func TestFreshSurvivorStops(t *testing.T) {
	x := prepare(t, lab.Options{Third: true, CongestionControl: "cubic"}, lab.Config{List: []string{"a", "b", "c"}})
	x.app(x.C)
	for _, h := range []*lab.Host{x.A, x.B, x.C} {
		x.node(h)
	}
	x.pair("web", x.A, x.B, 20*time.Second)
	wire := x.capture()
	wait := x.use(x.client, "load")
	time.Sleep(300 * time.Millisecond)
	x.must(x.nodes[x.A].Kill())
	x.until("b has claimed", 10*time.Second, func() bool { return x.named(x.B, "web").LastTakeover != nil })
	x.must(x.nodes[x.B].Signal(syscall.SIGTERM))
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	x.must(x.nodes[x.B].Wait(ctx))
	x.until("c serves", 10*time.Second, func() bool { return x.named(x.C, "web").Role == "sole" })
	time.Sleep(200 * time.Millisecond)
	wait()
	x.whole()
	x.executions()
	x.oneVoice(wire, advertised, 2)
}

// The last node does not go without being forced. Then it ends its connections in good order: a
// reply in progress comes whole, an idle connection is closed, and the node exits with 0. SIGTERM
// does the same.
func TestLastNodeStops(t *testing.T) {
	for _, name := range []string{"drain", "SIGTERM"} {
		t.Run(name, func(t *testing.T) {
			x := start(t, lab.Options{}, lab.Config{Tail: "[timing]\nturn_over = \"300ms\""})
			wire := x.capture()
			x.must(x.nodes[x.A].Kill())
			x.until("b serves alone", 10*time.Second, func() bool { return x.service(x.B).Role == "sole" })
			ctx := context.Background()
			idle, err := x.client.Dial(ctx)
			x.must(err)
			defer idle.Close()
			x.report.Add(idle.Do(ctx, client.Bytes("idle", 2000)))
			slow, big := make(chan struct{}), make(chan struct{})
			go func() {
				defer close(slow)
				x.report.Add(x.client.Once(ctx, client.Slow("slow", 1500*time.Millisecond)))
			}()
			go func() {
				defer close(big)
				r := client.Bytes("big", 8<<20)
				r.Rate = 4 << 20
				x.report.Add(x.client.Once(ctx, r))
			}()
			time.Sleep(200 * time.Millisecond)
			if name == "drain" {
				if text := x.refused(x.B, "drain"); !strings.Contains(text, "web") || !strings.Contains(text, "--force") {
					t.Errorf("drain of the last node: %s", text)
				}
				if st := x.service(x.B); st.Role != "sole" {
					t.Errorf("a refused drain: %+v", st)
				}
				x.command(x.B, "drain", "--force")
			} else {
				x.must(x.nodes[x.B].Signal(syscall.SIGTERM))
			}
			<-slow
			<-big
			end, cancel := context.WithTimeout(ctx, 10*time.Second)
			defer cancel()
			if err := x.nodes[x.B].Wait(end); err != nil {
				t.Errorf("the node's end: %v\n%s", err, x.nodes[x.B].Log())
			}
			if n, err := idle.TCP().Read(make([]byte, 1)); n != 0 || err == nil || err.Error() != "EOF" {
				t.Errorf("the idle connection: %d bytes, %v", n, err)
			}
			x.whole()
			x.oneVoice(wire, advertised, 1)
		})
	}
}

// What drain --force has not ended within its time holds the node up no longer.
func TestForcedDrainKeepsItsTime(t *testing.T) {
	x := start(t, lab.Options{}, lab.Config{})
	x.must(x.nodes[x.A].Kill())
	x.until("b serves alone", 10*time.Second, func() bool { return x.service(x.B).Role == "sole" })
	go x.client.Once(x.Context(), client.Slow("slow", time.Minute))
	x.until("it is executed", 10*time.Second, func() bool { return len(x.executedFor("slow")) == 1 })
	if text := x.refused(x.B, "drain", "--force", "--timeout", "1s"); !strings.Contains(text, "waiting for connections to end: 1 left") {
		t.Error(text)
	}
	end, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := x.nodes[x.B].Wait(end); err != nil {
		t.Errorf("the node's end: %v\n%s", err, x.nodes[x.B].Log())
	}
}

// Three hosts share a service. When one of the pair dies the next in line joins as the missing
// half, so the service survives the next death as well: a connection that began in the second
// duplex goes on through it, one from before is turned over in between, and no reply is lost. A
// dead host that comes back becomes the missing half in its turn.
func TestThreeHostsTwoCrashes(t *testing.T) {
	t.Run("hosts", func(t *testing.T) {
		threeHosts(t, false, func(x *cluster, h *lab.Host) { x.must(h.Crash()) }, func(x *cluster, h *lab.Host) {
			x.must(h.Reboot())
			x.app(h)
		})
	})
	t.Run("processes, with witness", func(t *testing.T) {
		threeHosts(t, true, func(x *cluster, h *lab.Host) { x.must(x.nodes[h].Kill()) }, func(*cluster, *lab.Host) {})
	})
}

func threeHosts(t *testing.T, witness bool, kill, revive func(*cluster, *lab.Host)) {
	x := prepare(t, lab.Options{Third: true, CongestionControl: "cubic"}, lab.Config{List: []string{"a", "b", "c"}, Witness: witness})
	x.app(x.C)
	if witness {
		x.node(x.Witness)
	}
	for _, h := range []*lab.Host{x.A, x.B, x.C} {
		x.node(h)
	}
	x.pair("web", x.A, x.B, 20*time.Second)
	if c := x.named(x.C, "web"); c.Role != "joining" || c.InSync {
		t.Errorf("the spare: %+v", c)
	}
	wire := x.capture()
	first := x.open("first")
	wait := x.use(x.client, "load1")
	time.Sleep(300 * time.Millisecond)

	kill(x, x.A)
	killed := time.Now()
	x.pair("web", x.B, x.C, 5*time.Second)
	t.Logf("duplex again %v after the death", time.Since(killed))
	x.again(first, "first")
	if first.Usable() {
		t.Error("a connection of the time alone was not turned over")
	}
	first.Close() // as a client does that was told so; b has the other half, and dies
	wait()
	x.until("no connection is b's alone", 15*time.Second, func() bool { return x.named(x.B, "web").Flows.Simplex == 0 })

	second := x.open("second")
	wait = x.use(x.client, "load2")
	time.Sleep(300 * time.Millisecond)
	kill(x, x.B)
	x.until("c serves alone", 10*time.Second, func() bool { return x.named(x.C, "web").Role == "sole" })
	x.again(second, "second")
	if !second.Usable() {
		t.Error("a connection of the second duplex did not survive")
	}
	wait()
	x.whole()
	x.executions()
	x.oneVoice(wire, advertised, 2)
	st := x.named(x.C, "web")
	t.Logf("c: %+v, takeover %+v", st, st.LastTakeover)

	revive(x, x.A)
	x.node(x.A)
	x.pair("web", x.C, x.A, 10*time.Second)
}

// open makes a connection with one exchange.
func (x *cluster) open(name string) *client.Conn {
	x.Helper()
	c, err := x.client.Dial(context.Background())
	x.must(err)
	x.Cleanup(func() { c.Close() })
	x.report.Add(c.Do(context.Background(), client.Bytes(name, 3000)))
	return c
}

// again makes one more exchange.
func (x *cluster) again(c *client.Conn, name string) {
	x.report.Add(c.Do(context.Background(), client.Bytes(name+"-again", 3000)))
}
