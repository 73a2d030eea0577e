package e2e

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/mdlayher/arp"
	"github.com/mdlayher/ethernet"
	"golang.org/x/sys/unix"

	"github.com/ftgw/ftgw/internal/lab"
	"github.com/ftgw/ftgw/internal/lab/client"
	"github.com/ftgw/ftgw/rewrite"
)

// flood is how many SYNs are sent, and floodRate how many in a second at most.
const (
	flood     = 20_000
	floodRate = 20_000
)

// A flood of SYNs, from addresses that answer nothing and from a station that does not want
// the SYN-ACKs: connections that are there go on, and new ones are served soon after.
func TestSynFlood(t *testing.T) {
	x := start(t, lab.Options{}, lab.Config{})
	ctx := context.Background()
	c, err := x.client.Dial(ctx)
	x.must(err)
	defer c.Close()
	x.report.Add(c.Do(ctx, client.Bytes("before", 1000)))

	done := make(chan error, 1)
	go func() { done <- x.flood() }()
	for i, ended := 0, false; !ended; i++ {
		select {
		case err := <-done:
			x.must(err)
			ended = true
		default:
			x.report.Add(c.Do(ctx, client.Bytes(fmt.Sprintf("during%d", i), 10_000)))
		}
	}
	x.report.Add(c.Do(ctx, client.Bytes("after", 10_000)))
	x.whole()
	begin := time.Now()
	x.unharmed(t, "new connection after the flood")
	took := time.Since(begin)
	st, err := x.B.Status(ctx)
	x.must(err)
	t.Logf("a new connection was served %v after the flood; b: %v", took, st.Drops)
	if took > 10*time.Second { // the oldest handshakes give way after a second
		t.Errorf("a new connection had to wait for %v", took)
	}
	if st.Drops["half-open-limit"] == 0 {
		t.Error("the flood met no limit")
	}
	for _, h := range []*lab.Host{x.A, x.B} {
		if s := x.service(h); s.LastTakeover != nil {
			t.Errorf("%s claimed: %+v", h.Name, s)
		}
	}
	x.duplex()
}

// flood sends SYNs of ever new connections from the client's side.
func (x *cluster) flood() error {
	const burst = 200
	begin := time.Now()
	for n := 0; n < flood; n += burst {
		packets := make([][]byte, burst)
		for i := range packets {
			k := n + i
			from := netip.AddrPortFrom(netip.AddrFrom4([4]byte{203, 0, 113, byte(k)}), uint16(1024+k))
			packets[i] = rewrite.AppendSegment(nil, rewrite.Header{Src: from, Dst: advertised, Seq: rewrite.Seq(k * 7919),
				Flags: rewrite.SYN, Window: 500, MSS: 1460, WScale: 7, SACKPermitted: true, HasTS: true, TSVal: 1}, nil)
		}
		if err := routed(x.Client, packets...); err != nil {
			return err
		}
		time.Sleep(time.Until(begin.Add(time.Duration(n) * time.Second / floodRate)))
	}
	return nil
}

// claim returns an ARP frame's payload in which mac says that it has address.
func claim(mac net.HardwareAddr, address netip.Addr, op arp.Operation) ([]byte, error) {
	p, err := arp.NewPacket(op, mac, address, ethernet.Broadcast, address)
	if err != nil {
		return nil, err
	}
	return p.MarshalBinary()
}

// A station claims addresses that are not its own, by ARP: the advertised one and the hosts'. It is logged, the rules go on taking clones from the peer alone, and clients
// are served again as soon as it stops.
func TestARPSpoofing(t *testing.T) {
	x := start(t, lab.Options{}, lab.Config{})
	ctx := context.Background()
	spoof := func(t *testing.T, address netip.Addr) {
		t.Helper()
		for _, op := range []arp.Operation{arp.OperationRequest, arp.OperationReply} {
			p, err := claim(x.Witness.MAC(), address, op)
			if err != nil {
				t.Fatal(err)
			}
			if err := frames(x.Witness, ethernet.Broadcast, unix.ETH_P_ARP, p, p, p); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, c := range []struct {
		name    string
		address netip.Addr
		log     *lab.Host
		says    string
	}{
		{"the advertised address", advertised.Addr(), x.B, "another station claims the advertised address"},
		{"the backup's own", x.B.Addr(), x.A, "the peer's address is claimed by another station"},
		{"the primary's own", x.A.Addr(), x.B, "the peer's address is claimed by another station"},
	} {
		t.Run(c.name, func(t *testing.T) {
			conn, err := x.client.Dial(ctx)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if r := conn.Do(ctx, client.Bytes("before "+c.name, 10_000)); !r.OK() {
				t.Fatal(r)
			}
			spoof(t, c.address)
			begin := time.Now()
			if r := conn.Do(ctx, client.Bytes("after "+c.name, 10_000)); !r.OK() {
				t.Error(r)
			}
			x.unharmed(t, c.name)
			took := time.Since(begin)
			t.Logf("served again after %v", took)
			if took > 5*time.Second {
				t.Errorf("the service took %v to recover", took)
			}
			if !strings.Contains(x.nodes[c.log].Log(), c.says) {
				t.Errorf("%s does not log %q:\n%s", c.log.Name, c.says, x.nodes[c.log].Log())
			}
		})
	}
	x.duplex()
	x.until("clones are taken again", 10*time.Second, func() bool {
		before := x.drops(x.A, "rule-not-peer")
		x.unharmed(t, "at the end")
		return x.drops(x.A, "rule-not-peer") == before
	})
	for _, h := range []*lab.Host{x.A, x.B} {
		t.Logf("%s: %+v", h.Name, x.service(h))
	}
}
