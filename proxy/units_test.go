package proxy

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ftgw/ftgw/replication"
	"github.com/ftgw/ftgw/rewrite"
)

func TestSpillIsWhatWasWritten(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 1))
	for range 200 {
		d := newDepot(t, 40<<10)
		s, want := d.newSpill(), []byte(nil)
		for range rnd.IntN(6) {
			p := make([]byte, rnd.IntN(60<<10))
			for i := range p {
				p[i] = byte(rnd.Uint32())
			}
			if rnd.IntN(2) == 0 {
				s.Write(p)
			} else if n, err := s.ReadFrom(bytes.NewReader(p)); err != nil || n != int64(len(p)) {
				t.Fatal(n, err)
			}
			want = append(want, p...)
		}
		got, err := io.ReadAll(io.NewSectionReader(s, 0, s.Len()))
		if err != nil || !bytes.Equal(got, want) || s.Len() != int64(len(want)) {
			t.Fatalf("%d bytes read, %d written: %v", len(got), len(want), err)
		}
		s.release()
		s.release()
		if n := d.used.Load(); n != 0 {
			t.Fatalf("%d bytes are still lent", n)
		}
	}
}

// TestSpillKeepsTheReadersError: a body that ends early is not one that ends, in memory, in a
// half-filled buffer or at its edge.
func TestSpillKeepsTheReadersError(t *testing.T) {
	for _, before := range []int{0, 1000, largeBuffer, largeBuffer + smallBuffer, 3 * largeBuffer} {
		d := newDepot(t, 64<<10)
		s := d.newSpill()
		r := io.MultiReader(bytes.NewReader(make([]byte, before)), iotest.ErrReader(io.ErrUnexpectedEOF))
		if n, err := s.ReadFrom(r); err != io.ErrUnexpectedEOF || n != int64(before) {
			t.Errorf("after %d bytes: %d, %v", before, n, err)
		}
		s.release()
	}
}

// TestHeldAgainstModel compares the suffix with a plain copy of the stream, records running
// ahead included.
func TestHeldAgainstModel(t *testing.T) {
	rnd := rand.New(rand.NewPCG(2, 2))
	for range 300 {
		h := &held{depot: newDepot(t, 8<<10)}
		var stream []byte
		start := uint64(0)
		for range 30 {
			if rnd.IntN(3) > 0 {
				p := make([]byte, rnd.IntN(5000))
				for i := range p {
					p[i] = byte(rnd.Uint32())
				}
				if err := h.append(p); err != nil {
					t.Fatal(err)
				}
				stream = append(stream, p...)
			} else {
				start += uint64(rnd.IntN(7000))
				h.trim(start)
			}
			want := stream[min(start, uint64(len(stream))):]
			got := make([]byte, 0, len(want))
			buf := make([]byte, 3000)
			for off := start; ; {
				n, err := h.readAt(buf, off)
				got = append(got, buf[:n]...)
				if off += uint64(n); err == io.EOF {
					break
				} else if err != nil {
					t.Fatal(err)
				}
			}
			if !bytes.Equal(got, want) || h.Len() != uint64(len(want)) || h.end != uint64(len(stream)) {
				t.Fatalf("held %d bytes, want %d", len(got), len(want))
			}
		}
		h.free()
	}
}

func TestOutboxOrder(t *testing.T) {
	rec := func(index uint64, kind replication.RecordKind, interim uint16) stored {
		return stored{Record: Record{RecordKey: replication.RecordKey{Index: index, Kind: kind, Interim: interim}}}
	}
	in := []stored{
		rec(0, replication.KindReply, 0), rec(1, replication.KindInterim, 0), rec(1, replication.KindInterim, 1),
		rec(1, replication.KindReply, 0), rec(2, replication.KindReply, 0), rec(3, replication.KindClose, 0),
	}
	var o outbox
	for _, i := range []int{0, 1, 2, 5, 4, 3} {
		if o.has(in[i].Record) {
			t.Errorf("has %d before it came", i)
		}
		o.put(in[i])
	}
	for i, want := range in {
		got, ok := o.take()
		if !ok || got.Record != want.Record {
			t.Fatalf("%d: %+v, %v", i, got.Record, ok)
		}
		if !o.has(want.Record) {
			t.Errorf("forgot %d", i)
		}
	}
	if _, ok := o.take(); ok {
		t.Error("more than was put in")
	}
}

func TestRecordsThatAreRefused(t *testing.T) {
	s := New(Config{SpillDir: t.TempDir()}, newPackets(Standby), &link{})
	id := rewrite.FlowID{Key: rewrite.Key{Client: netip.MustParseAddrPort("192.0.2.1:1"), Advertised: netip.MustParseAddrPort("192.0.2.100:80")}, ISN: 7}
	rec := Record{RecordKey: replication.RecordKey{Flow: id, Kind: replication.KindReply}, Size: 3, RequestEnd: 10}
	open := func(r Record, text string) error {
		k, err := s.OpenRecord(r)
		if err != nil {
			return err
		}
		defer k.Abort()
		k.Write([]byte(text))
		return k.Commit()
	}
	later := rec
	later.Index = 4
	if err := open(later, "abc"); !errors.Is(err, ErrNotHeld) {
		t.Errorf("a record in the middle of an unknown flow: %v", err)
	}
	for _, text := range []string{"ab", "abcd"} {
		if err := open(rec, text); !errors.Is(err, errSize) {
			t.Errorf("%q of %d bytes: %v", text, rec.Size, err)
		}
	}
	garbage := rec
	garbage.Kind = 9
	if err := open(garbage, "abc"); err == nil {
		t.Error("a record of no kind was taken")
	}
	for range 2 { // the second time it is there already
		if err := open(rec, "abc"); err != nil {
			t.Error(err)
		}
	}
	s.Promote(all)()
	if err := open(rec, "abc"); err != nil {
		t.Errorf("repeated after promotion: %v", err)
	}
	next := rec
	next.Index = 1
	if err := open(next, "abc"); !errors.Is(err, ErrNotHeld) {
		t.Errorf("new after promotion: %v", err)
	}
	s.expire(time.Now().Add(2 * earlyFor))
	if st := s.Stats(); st.Early != 0 {
		t.Errorf("%+v", st)
	}
}

func TestGravesAreBounded(t *testing.T) {
	var g graves
	for i := range maxGone + 10 {
		g.add(rewrite.FlowID{ISN: rewrite.Seq(i)}, 3)
	}
	if _, ok := g.find(rewrite.FlowID{ISN: 9}); ok || len(g.next) != maxGone {
		t.Errorf("%d kept", len(g.next))
	}
	if n, ok := g.find(rewrite.FlowID{ISN: maxGone + 9}); !ok || n != 3 {
		t.Error("the latest is gone")
	}
}

func TestListen(t *testing.T) {
	l, err := Listen(t.Context(), netip.MustParseAddrPort("127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	err = control(l, func(fd int) error {
		proto, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PROTOCOL)
		if proto != unix.IPPROTO_TCP {
			t.Errorf("protocol %d: not plain TCP", proto)
		}
		if n, _ := unix.GetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_SYNCNT); n != synAckRetries {
			t.Errorf("TCP_SYNCNT %d", n)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	_, err = Listen(t.Context(), addrPort(l.Addr()))
	if !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), "stop") {
		t.Errorf("taken port: %v", err)
	}
	if _, err := Listen(t.Context(), netip.MustParseAddrPort("192.0.2.77:1")); !errors.Is(err, syscall.EADDRNOTAVAIL) {
		t.Errorf("foreign address: %v", err)
	}
}

func TestTransactionID(t *testing.T) {
	a := rewrite.FlowID{Key: rewrite.Key{Client: netip.MustParseAddrPort("192.0.2.1:1"), Advertised: netip.MustParseAddrPort("192.0.2.100:80")}, ISN: 7}
	b := a
	b.ISN++
	if x := transactionID(a, 1); len(x) != 32 || x != transactionID(a, 1) || x == transactionID(a, 2) || x == transactionID(b, 1) {
		t.Error(x)
	}
}

func newDepot(t testing.TB, memory int64) *depot {
	d := &depot{dir: t.TempDir(), budget: 1 << 20}
	d.memory.Store(memory)
	return d
}
