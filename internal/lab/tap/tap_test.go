package tap_test

import (
	"context"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/florianl/go-nfqueue/v2"
	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"

	"github.com/ftgw/ftgw/internal/lab"
	"github.com/ftgw/ftgw/internal/lab/capture"
	"github.com/ftgw/ftgw/internal/lab/labtest"
	"github.com/ftgw/ftgw/internal/lab/oracle"
	"github.com/ftgw/ftgw/internal/lab/tap"
)

// upload sends size bytes from the client to host a's port 80.
func upload(t *testing.T, l *lab.Lab, size int64) {
	t.Helper()
	var ln net.Listener
	if err := l.A.Do(func() (err error) { ln, err = net.Listen("tcp", l.A.Addr().String()+":80"); return err }); err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	got := make(chan int64, 1)
	go func() {
		c, err := ln.Accept()
		if err != nil {
			got <- -1
			return
		}
		defer c.Close()
		n, _ := io.Copy(io.Discard, c)
		got <- n
	}()
	if err := l.Client.Do(func() error {
		c, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			return err
		}
		c.SetDeadline(time.Now().Add(20 * time.Second))
		if _, err := c.Write(make([]byte, size)); err != nil {
			return err
		}
		return c.Close()
	}); err != nil {
		t.Fatal(err)
	}
	if n := <-got; n != size {
		t.Errorf("got %d bytes, want %d", n, size)
	}
}

func TestTapBehindLoss(t *testing.T) {
	l := labtest.Lab(t, lab.Options{CongestionControl: "cubic"})
	at := netip.AddrPortFrom(l.A.Addr(), 80)
	undo, err := tap.Loss(l.A, at, 50)
	if err != nil {
		t.Fatal(err)
	}
	tp, err := tap.Start(l.A, at, 5)
	if err != nil {
		t.Fatal(err)
	}
	wire, err := capture.Start(l.Router, lab.LAN, capture.Options{})
	if err != nil {
		t.Fatal(err)
	}
	// Big segments are few: lost ones must be likely.
	upload(t, l, 16<<20)
	lost, err := tap.Lost(l.A)
	if err != nil || lost == 0 {
		t.Errorf("%d segments lost, %v", lost, err)
	}
	handed, err := tp.Stop()
	if err != nil {
		t.Fatal(err)
	}
	seen, err := wire.Stop()
	if err != nil {
		t.Fatal(err)
	}
	if handed.Whole() != nil || seen.Whole() != nil || handed.Other > 0 {
		t.Fatalf("lossy: %v, %v, %d others", handed.Whole(), seen.Whole(), handed.Other)
	}
	r := oracle.InputCommit(handed.Segments, seen.Segments, at, time.Time{})
	if r.Err != nil || r.Checked < 10 || r.Unjudged > 0 {
		t.Errorf("a kernel that acknowledges its own input must pass: %+v", r)
	}
	t.Logf("%d handed, %d lost, %d acknowledgments checked", len(handed.Segments), lost, r.Checked)
	if err := undo(); err != nil {
		t.Error(err)
	}
	if _, err := tp.Stop(); err != nil {
		t.Errorf("second stop: %v", err)
	}
	if _, err := tap.Loss(l.A, at, 2000); err == nil {
		t.Error("lost more than all")
	}
}

// TestTapTimeIsBehindTheQueue holds every packet for a while in prerouting: the tap must
// tell when the kernel was handed it, not when it arrived.
func TestTapTimeIsBehindTheQueue(t *testing.T) {
	const hold = 40 * time.Millisecond
	l := labtest.Lab(t, lab.Options{})
	at := netip.AddrPortFrom(l.A.Addr(), 80)
	arrival, err := capture.Start(l.A, "eth0", capture.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var q *nfqueue.Nfqueue
	if err := l.A.Do(func() (err error) {
		q, err = nfqueue.Open(&nfqueue.Config{NfQueue: 3, MaxPacketLen: 65535, MaxQueueLen: 1000, Copymode: nfqueue.NfQnlCopyPacket})
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	if err := q.RegisterWithErrorFunc(ctx, func(a nfqueue.Attribute) int {
		time.Sleep(hold)
		q.SetVerdict(*a.PacketID, nfqueue.NfAccept)
		return 0
	}, func(error) int { return 0 }); err != nil {
		t.Fatal(err)
	}
	if err := l.A.Do(queueRule); err != nil {
		t.Fatal(err)
	}
	tp, err := tap.Start(l.A, at, 6)
	if err != nil {
		t.Fatal(err)
	}
	upload(t, l, 1000)
	handed, err := tp.Stop()
	if err != nil {
		t.Fatal(err)
	}
	arrived, err := arrival.Stop()
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range handed.Segments {
		for _, a := range arrived.Segments {
			if a.Src == h.Src && a.Seq == h.Seq && a.Flags == h.Flags && a.Len == h.Len {
				if d := h.Time.Sub(a.Time); d < hold*9/10 {
					t.Errorf("%v was handed to the kernel %v after it arrived, want %v", h, d, hold)
				}
				break
			}
		}
	}
	if len(handed.Segments) < 3 {
		t.Errorf("%d segments handed over", len(handed.Segments))
	}
}

// queueRule sends TCP port 80 in prerouting through queue 3.
func queueRule() error {
	c, err := nftables.New()
	if err != nil {
		return err
	}
	table := c.AddTable(&nftables.Table{Name: "hold", Family: nftables.TableFamilyIPv4})
	chain := c.AddChain(&nftables.Chain{Name: "pre", Table: table, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityRaw})
	info := xt.Unknown([]byte{3, 0, 1, 0, 0, 0, 0, 0}) // queue 3, one queue, no flags
	c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{6}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{0, 80}},
		&expr.Target{Name: "NFQUEUE", Rev: 3, Info: &info},
	}})
	return c.Flush()
}
