package rules

import (
	"encoding/binary"
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ftgw/ftgw/internal/lab/labtest"
	"github.com/ftgw/ftgw/nfq"
)

func TestLeaseAndFence(t *testing.T) {
	var largest atomic.Int64 // outbound packet; the fence must not make them small
	s := newSite(t, testSpec(), func(_ int, p *nfq.Packet) {
		if n := int64(len(p.Data)); !p.In && n > largest.Load() {
			largest.Store(n)
		}
	})
	s.echo(t)

	_, err := s.dial(t, s.spec.Lease)
	if n, _ := s.spoke(time.Time{}); err == nil || n != 0 {
		t.Fatalf("without a lease: dial %v, %d packets from V", err, n)
	}
	stop := s.renew(t)
	defer func() { stop() }()
	c, err := s.dial(t, patience)
	if err != nil {
		t.Fatalf("with a lease: %v", err)
	}
	exchange(t, c, 8<<20)
	if n, _ := s.spoke(time.Time{}); n < 100 {
		t.Fatalf("the capture saw %d packets from V of 8 MB", n)
	}
	if n := largest.Load(); n < 30000 {
		t.Errorf("largest outbound packet: %d bytes, want segmentation after the queue", n)
	}

	// Renewals end, the queue goes on.
	allBack := trickle(t, c)
	stop()
	last := time.Now()
	eventually(t, "the lease to end", func() bool { return time.Since(last) > s.spec.Lease+100*time.Millisecond })
	s.silent(t, "the queue accepts after the lease's end", s.accepted)
	if _, at := s.spoke(last); at.Sub(last) > s.spec.Lease+flight {
		over := at.Sub(last)
		t.Errorf("V spoke until %v after the last renewal, lease %v", over, s.spec.Lease)
	}
	stop = s.renew(t)
	allBack("after the lease came back")

	// Revoked: silent at once. Twice changes nothing.
	stop()
	for range 2 {
		if err := s.bundle.Revoke(s.v()); err != nil {
			t.Fatal(err)
		}
	}
	allBack = trickle(t, c)
	s.silent(t, "the queue accepts after Revoke", s.accepted)
	if drops, err := s.bundle.Drops(); err != nil || drops[DropNoLease] == 0 {
		t.Errorf("drops: %v, %v", drops, err)
	}
	stop = s.renew(t)
	allBack("after Revoke and Renew")

	// Somebody flushes the rules while the lease holds.
	stop()
	if err := s.bundle.Renew(s.v()); err != nil {
		t.Fatal(err)
	}
	s.flushRuleset(t)
	allBack = trickle(t, c)
	s.silent(t, "the dead device swallows", func() uint64 { return s.swallowed(t) })
	if _, err := s.dial(t, s.spec.Lease); err == nil {
		t.Error("dial succeeds without rules")
	}

	// And the connection goes on when they are back.
	s.bundle = install(t, s.host, s.spec)
	stop = s.renew(t)
	allBack("after the rules came back")
}

// Strict reverse path filtering would drop every client's packet, because the way back to the
// client from V leads to the dead device; InstallFence makes it loose.
func TestFenceUnderReversePathFilter(t *testing.T) {
	for _, mode := range []string{"0", "1", "2"} {
		t.Run(mode, func(t *testing.T) {
			s := newSite(t, testSpec(), nil)
			s.echo(t)
			s.do(t, s.host, func() error {
				for _, name := range []string{"all", "eth0"} {
					if err := os.WriteFile("/proc/sys/net/ipv4/conf/"+name+"/rp_filter", []byte(mode), 0); err != nil {
						return err
					}
				}
				return InstallFence(s.spec)
			})
			defer s.renew(t)()
			c, err := s.dial(t, patience)
			if err != nil {
				t.Fatal(err)
			}
			exchange(t, c, 1000)
		})
	}
}

// Both directions of a connection come to the same worker, and there is work for all.
func TestSpread(t *testing.T) {
	spec := testSpec()
	spec.Workers = 3
	var mu sync.Mutex
	worker := map[uint16]int{}
	busy := map[int]bool{}
	s := newSite(t, spec, func(w int, p *nfq.Packet) {
		mu.Lock()
		defer mu.Unlock()
		client := binary.BigEndian.Uint16(p.Data[20:])
		if !p.In {
			client = binary.BigEndian.Uint16(p.Data[22:])
		}
		if first, ok := worker[client]; ok && first != w {
			t.Errorf("client port %d (inbound %v): worker %d and %d", client, p.In, first, w)
		}
		worker[client], busy[w] = w, true
	})
	s.echo(t)
	defer s.renew(t)()
	for range 30 {
		c, err := s.dial(t, patience)
		if err != nil {
			t.Fatal(err)
		}
		exchange(t, c, 10)
		c.Close()
	}
	mu.Lock()
	defer mu.Unlock()
	if len(worker) != 30 || len(busy) != 3 {
		t.Errorf("%d connections on %d workers, want 30 on 3", len(worker), len(busy))
	}
}

func BenchmarkRenew(b *testing.B) {
	labtest.Require(b)
	ns := labtest.NS(b, "host")
	spec := testSpec()
	var bundle *Bundle
	if err := ns.Do(func() (err error) { bundle, err = Install(spec); return err }); err != nil {
		b.Fatal(err)
	}
	defer bundle.Close()
	b.ReportAllocs()
	for b.Loop() {
		if err := bundle.Renew(spec.Services[0].Advertised.Addr()); err != nil {
			b.Fatal(err)
		}
	}
}

// What the daemon injects with its marks skips the queues, and leaves only under the lease.
func TestInjected(t *testing.T) {
	const v, client = "192.0.2.100", "192.0.2.1"
	spec := testSpec()
	spec.Lease = 10 * time.Second // one renewal lasts, however slow the machine is
	s := newSite(t, spec, nil)
	send := func(mark uint32, b []byte, want error) {
		t.Helper()
		s.do(t, s.host, func() error {
			sender, err := nfq.OpenSender(mark)
			if err != nil {
				return err
			}
			defer sender.Close()
			if err := sender.Send(b); !errors.Is(err, want) {
				t.Errorf("Send: %v, want %v", err, want)
			}
			return nil
		})
	}
	segment := packet(unix.IPPROTO_TCP, v, client, 0, ports(80, 4711)...)
	dropped := func(reason string) uint64 {
		drops, err := s.bundle.Drops()
		if err != nil {
			t.Error(err)
		}
		return drops[reason]
	}
	begin := time.Now()
	send(s.spec.MarkSend, segment, unix.EPERM)
	eventually(t, "dropped for want of a lease", func() bool { return dropped(DropNoLease) == 1 })
	send(0, packet(unix.IPPROTO_UDP, v, client, 0, ports(80, 4711)...), unix.EPERM)
	eventually(t, "dropped as no service's", func() bool { return dropped(DropNotService) == 1 })
	if err := s.bundle.Renew(s.v()); err != nil {
		t.Fatal(err)
	}
	send(s.spec.MarkSend, segment, nil)
	eventually(t, "the segment at the client", func() bool { n, _ := s.spoke(begin); return n > 0 })
	if n, _ := s.spoke(begin); n != 1 {
		t.Errorf("%d packets from V at the client, want 1", n)
	}
	toV := packet(unix.IPPROTO_TCP, "203.0.113.9", v, 0, ports(4711, 80)...)
	send(s.spec.MarkLocal, toV, nil)
	send(0, toV, nil)
	eventually(t, "the unmarked segment queued", func() bool { return s.in[0].Stats().Packets > 0 })
	if in, out := s.in[0].Stats().Packets, s.out[0].Stats().Packets; in != 1 || out > 1 {
		t.Errorf("%d packets queued in and %d out, want 1 and the kernel's answer at most", in, out)
	}
}
