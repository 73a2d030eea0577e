package e2e

import (
	"context"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"

	"github.com/ftgw/ftgw/internal/lab"
	"github.com/ftgw/ftgw/internal/lab/capture"
	"github.com/ftgw/ftgw/internal/lab/client"
	"github.com/ftgw/ftgw/internal/lab/oracle"
)

// Killing ftgw never lets an RST or FIN of its connections reach a client: not while its
// sockets die, not when somebody flushes all nftables rules and the router still sends clients
// there, not when it starts again. Two minutes are captured, longer than any timer of the
// kernel's orphaned sockets that still retransmits.
func TestKilledDaemonIsSilent(t *testing.T) {
	for name, victim := range map[string]func(*cluster) *lab.Host{
		"primary": func(x *cluster) *lab.Host { return x.A },
		"backup":  func(x *cluster) *lab.Host { return x.B },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			killed(t, victim)
		})
	}
}

func killed(t *testing.T, victim func(*cluster) *lab.Host) {
	x := start(t, lab.Options{}, lab.Config{
		Service: "idle_timeout = \"10m\"\n", Tail: "[timing]\nturn_over = \"0s\"\n"})
	v := victim(x)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	wire, err := capture.Start(x.Router, lab.LAN, capture.Options{})
	x.must(err)
	defer wire.Stop()

	// Idle connections, and one that is in the middle of a slow reply all the time.
	var open []*client.Conn
	for i := range 8 {
		c, err := x.client.Dial(ctx)
		x.must(err)
		defer c.Close()
		x.report.Add(c.Do(ctx, client.Bytes(fmt.Sprintf("before%d", i), 5000)))
		open = append(open, c)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		patient := *x.client
		patient.Timeout = 2 * time.Minute
		r := client.Bytes("slow reader", 50<<20)
		r.Rate = 1 << 20
		x.report.Add(patient.Once(ctx, r))
	})
	time.Sleep(2 * time.Second)

	begin := time.Now()
	phase := func(at time.Duration) { time.Sleep(time.Until(begin.Add(at))) }
	x.must(x.nodes[v].Kill())
	phase(20 * time.Second)
	flush(t, v)
	phase(25 * time.Second)
	x.must(misled(x.Router, v.MAC(), 3*time.Second))
	for i, c := range open[:4] {
		x.report.Add(c.Do(ctx, client.Bytes(fmt.Sprintf("between%d", i), 5000)))
	}
	phase(60 * time.Second)
	x.node(v)
	x.duplex()
	phase(2 * time.Minute)
	for i, c := range open[4:] {
		x.report.Add(c.Do(ctx, client.Bytes(fmt.Sprintf("after%d", i), 5000)))
	}
	wg.Wait()
	x.whole()

	trace, err := wire.Stop()
	x.must(err)
	x.must(trace.Whole())
	if err := oracle.NoEnding(trace.Segments, advertised); err != nil {
		t.Error(err)
	}
	if err := oracle.Silent(trace.Segments, advertised, capture.MAC(v.MAC()), begin, time.Time{}); err != nil {
		t.Error(err)
	}
	t.Logf("captured %d segments in two minutes", len(trace.Segments))
}

// flush does what `nft flush ruleset` does on a host.
func flush(t *testing.T, h *lab.Host) {
	t.Helper()
	err := h.Do(func() error {
		c, err := nftables.New()
		if err != nil {
			return err
		}
		c.FlushRuleset()
		return c.Flush()
	})
	if err != nil {
		t.Fatal(err)
	}
}

// misled makes the router believe for a while that the advertised address is at mac.
func misled(router *lab.Host, mac net.HardwareAddr, during time.Duration) error {
	return router.Do(func() error {
		lan, err := netlink.LinkByName(lab.LAN)
		if err != nil {
			return err
		}
		entry := &netlink.Neigh{LinkIndex: lan.Attrs().Index, Family: netlink.FAMILY_V4,
			IP: advertised.Addr().AsSlice(), HardwareAddr: mac, State: netlink.NUD_PERMANENT}
		if err := netlink.NeighSet(entry); err != nil {
			return err
		}
		time.Sleep(during)
		return netlink.NeighDel(entry)
	})
}
