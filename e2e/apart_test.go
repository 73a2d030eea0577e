package e2e

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/ftgw/ftgw/internal/lab"
)

// Two hosts with a network of their own replicate by it (paper 004's duplex-mi). When it is cut,
// the clients' network stands in before anybody claims, and gives it back afterwards. No client
// notices more than a pause.
func TestReplicationNetwork(t *testing.T) {
	x := start(t, lab.Options{CongestionControl: "cubic", Apart: true}, lab.Config{})
	own, other := x.B.ApartAddr().String(), x.B.Addr().String()
	x.sessionAt(own)
	x.check(nil, 0, "node b: answers at its replication_address "+own)
	sent := func() (n uint64) {
		x.must(x.A.Do(func() error {
			l, err := netlink.LinkByName("eth1")
			if err == nil {
				n = l.Attrs().Statistics.TxBytes
			}
			return err
		}))
		return n
	}
	before := sent()
	wait := x.busy()
	x.until("replies go by it", 10*time.Second, func() bool { return sent()-before > 1<<20 })
	for _, cut := range []func() error{x.A.Apart().Dark, x.B.Apart().Cut} {
		x.must(cut())
		x.sessionAt(other)
		x.duplex()
		x.must(x.A.Apart().Mend())
		x.must(x.B.Apart().Mend())
		x.sessionAt(own)
	}
	x.duplex()
	wait()
	x.whole()
	x.executions()
	if a, b := x.service(x.A), x.service(x.B); a.Role != "primary" || b.Role != "backup" || a.LastTakeover != nil || b.LastTakeover != nil {
		t.Errorf("somebody claimed: a %+v, b %+v", a, b)
	}
}

// sessionAt waits until the session of a goes to an address of b.
func (x *cluster) sessionAt(want string) {
	x.Helper()
	x.until("the session is at "+want, 20*time.Second, func() bool {
		ctx, cancel := context.WithTimeout(x.Context(), time.Second)
		defer cancel()
		st, err := x.A.Status(ctx)
		return err == nil && slices.ContainsFunc(st.Peers, func(p lab.PeerStatus) bool { return p.Name == "b" && p.Session == want })
	})
}

// A host whose link to the clients dies is heard by the hosts' own network all the same. It falls
// silent, says so, and the other one claims, sooner where the carrier is lost.
func TestClientLinkDiesAlone(t *testing.T) {
	x := start(t, lab.Options{Apart: true}, lab.Config{})
	victim, survivor := x.A, x.B
	w := x.watch()
	var first time.Time
	for _, pull := range []func(*lab.Host) error{(*lab.Host).Dark, (*lab.Host).Cut} {
		wait := x.busy()
		time.Sleep(300 * time.Millisecond)
		pulled := time.Now()
		x.must(pull(victim))
		x.until("the other one serves alone", 10*time.Second, func() bool { return x.service(survivor).Role == "sole" })
		last := x.service(survivor).LastTakeover
		t.Logf("claimed after %v: %s", last.At.Sub(pulled), last.Reason)
		if !strings.Contains(last.Reason, "the peer's own link is dead, as it says itself") {
			t.Errorf("the claim rests on: %s", last.Reason)
		}
		time.Sleep(time.Second)
		if v := x.service(victim); v.Role != "joining" || v.Mode != "simplex" {
			t.Errorf("the host without clients is %+v", v)
		}
		x.must(victim.Mend())
		x.duplex()
		time.Sleep(300 * time.Millisecond)
		wait()
		x.whole()
		x.executions()
		if first.IsZero() {
			first = last.At
		}
		victim, survivor = survivor, victim
	}
	w.check(2, first)
}

// Both hosts lose the clients' network, as when its switch restarts: nobody claims, and all goes
// on when it is back. Then they lose each other there alone: the one that does not answer for the
// address makes room. Then the whole of both networks: one claims.
func TestClientsNetworkFails(t *testing.T) {
	x := start(t, lab.Options{Apart: true}, lab.Config{})
	wait := x.busy()
	time.Sleep(300 * time.Millisecond)
	x.must(x.A.Dark())
	x.must(x.B.Dark())
	x.until("both are silent", 10*time.Second, func() bool {
		return x.service(x.A).Why == "own link dead" && x.service(x.B).Why == "own link dead"
	})
	time.Sleep(time.Second)
	x.must(x.A.Mend())
	x.must(x.B.Mend())
	x.duplex()
	if a, b := x.service(x.A), x.service(x.B); a.LastTakeover != nil || b.LastTakeover != nil {
		t.Errorf("somebody claimed: a %+v, b %+v", a, b)
	}
	x.must(x.A.Part())
	x.must(x.B.Part())
	x.until("b serves alone", 10*time.Second, func() bool { return x.service(x.B).Role == "sole" && x.service(x.A).Role == "joining" })
	time.Sleep(2 * time.Second)
	if a := x.service(x.A); a.Role != "joining" {
		t.Errorf("a is %+v while no clone would reach it", a)
	}
	x.must(x.A.Mend())
	x.must(x.B.Mend())
	x.duplex()
	x.until("no connection is b's alone", 15*time.Second, func() bool { return x.service(x.B).Flows.Simplex == 0 })
	x.must(x.B.Apart().Dark())
	x.must(x.B.Dark())
	x.until("a serves alone", 10*time.Second, func() bool { return x.service(x.A).Role == "sole" })
	x.must(x.B.Apart().Mend())
	x.must(x.B.Mend())
	x.duplex()
	wait()
	x.whole()
	x.executions()
}
