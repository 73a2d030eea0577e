package shim

import (
	"bytes"
	"container/heap"
	"context"
	"encoding/binary"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/ftgw/ftgw/internal/lab"
	"github.com/ftgw/ftgw/internal/lab/capture"
	"github.com/ftgw/ftgw/internal/lab/client"
	"github.com/ftgw/ftgw/internal/lab/labtest"
	"github.com/ftgw/ftgw/internal/lab/webapp"
)

// frame is an Ethernet frame with a TCP segment of n bytes.
func frame(n int) []byte {
	b := make([]byte, 14+40+n)
	b[5], b[11] = 1, 2
	binary.BigEndian.PutUint16(b[12:], 0x0800)
	b[14], b[14+9] = 0x45, 6
	binary.BigEndian.PutUint16(b[16:], uint16(40+n))
	b[14+20+12] = 5 << 4
	return b
}

func newMill(f Faults) *mill { return &mill{Faults: f, rand: rand.New(rand.NewPCG(1, 2))} }

func TestMill(t *testing.T) {
	whole := frame(100)
	for _, row := range []struct {
		name   string
		faults Faults
		want   []time.Duration // of the frames that go on
		bits   int             // that differ
	}{
		{"nothing", Faults{}, []time.Duration{0}, 0},
		{"twice", Faults{Duplicate: 1000, Delay: 3}, []time.Duration{3, 3}, 0},
		{"late", Faults{Reorder: 1000, Late: 5, Delay: 3}, []time.Duration{8}, 0},
		{"wrong", Faults{Corrupt: 1000}, []time.Duration{0}, 1},
		{"others", Faults{Corrupt: 1000, Delay: 3, Between: [2]capture.MAC{{5: 1}, {5: 3}}}, []time.Duration{0}, 0},
		{"between", Faults{Corrupt: 1000, Delay: 3, Between: [2]capture.MAC{{5: 2}, {5: 1}}}, []time.Duration{3}, 1},
	} {
		m := newMill(row.faults)
		var after []time.Duration
		bits := 0
		for _, o := range m.grind(slices.Clone(whole)) {
			after = append(after, o.after)
			for i := range whole {
				for x := o.frame[i] ^ whole[i]; x != 0; x &= x - 1 {
					bits++
				}
			}
			if !bytes.Equal(o.frame[:14], whole[:14]) {
				t.Errorf("%s: the Ethernet header was altered", row.name)
			}
		}
		if !slices.Equal(after, row.want) || bits != row.bits {
			t.Errorf("%s: after %v with %d bits wrong, want %v with %d", row.name, after, bits, row.want, row.bits)
		}
	}
}

func TestMillLetsARPBe(t *testing.T) {
	arp := frame(0)
	binary.BigEndian.PutUint16(arp[12:], 0x0806)
	m := newMill(Faults{Corrupt: 1000})
	if got := m.grind(slices.Clone(arp)); !bytes.Equal(got[0].frame, arp) || m.counts.Corrupted != 0 {
		t.Error("an ARP frame was altered")
	}
}

// What a capture may have taken an altered header for is known, and nothing else is.
func TestMillTellsWhatItForged(t *testing.T) {
	m := newMill(Faults{Corrupt: 1000})
	differ := 0
	for range 2000 {
		was, _ := capture.ParseFrame(frame(20))
		if got, ok := capture.ParseFrame(m.grind(frame(20))[0].frame); ok && got != was {
			differ++
			if m.forged[differ-1] != got {
				t.Fatal("another one")
			}
		}
	}
	if differ == 0 || differ != len(m.forged) || m.counts.Corrupted != 2000 {
		t.Errorf("%d differ, %d known, %+v", differ, len(m.forged), m.counts)
	}
}

func TestQueueKeepsOrder(t *testing.T) {
	w := &way{}
	now := time.Now()
	for _, i := range []int{3, 1, 2} {
		w.put(now.Add(time.Duration(i)), []byte{byte(i)})
	}
	w.put(now.Add(2), []byte{9})
	var got []byte
	for len(w.late) > 0 {
		got = append(got, heap.Pop(&w.late).(held).frame...)
	}
	if !bytes.Equal(got, []byte{1, 2, 9, 3}) {
		t.Errorf("%v", got)
	}
}

// serve runs the web application on a host's own address.
func serve(t *testing.T, l *lab.Lab, h *lab.Host) *client.Client {
	t.Helper()
	var listener net.Listener
	err := h.Do(func() (err error) {
		listener, err = net.Listen("tcp", net.JoinHostPort(h.Addr().String(), "8081"))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	journal, err := webapp.OpenJournal("")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: webapp.Handler(h.Name, journal, "")}
	done := make(chan struct{})
	go func() { defer close(done); server.Serve(listener) }()
	t.Cleanup(func() { server.Close(); <-done })
	return &client.Client{Namespace: l.Client, Target: listener.Addr().String(), Timeout: 20 * time.Second}
}

// Plain TCP gets every byte over each cable whatever the shim does, and the cable is as before
// when the shim has gone.
func TestShim(t *testing.T) {
	l := labtest.Lab(t, lab.Options{})
	c := serve(t, l, l.A)
	both := func(name string) {
		t.Helper()
		for _, q := range []client.Request{client.Bytes(name, 300_000), client.Upload(name, 300_000)} {
			if x := c.Once(t.Context(), q); !x.OK() {
				t.Errorf("%s: %v", name, x)
			}
		}
	}
	for _, h := range []*lab.Host{l.A, l.Client} {
		for name, f := range map[string]Faults{
			"duplicate": {Duplicate: 300},
			"reorder":   {Reorder: 200, Late: 3 * time.Millisecond},
			"corrupt":   {Corrupt: 50},
			"delay":     {Delay: 20 * time.Millisecond},
		} {
			s, err := Start(l.Router, h, f, 7)
			if err != nil {
				t.Fatal(err)
			}
			begin := time.Now()
			both(h.Name + " " + name)
			took := time.Since(begin)
			counts, err := s.Stop()
			if err != nil || counts.Frames == 0 || f.Delay == 0 && counts.Struck() == 0 || took < 4*f.Delay {
				t.Errorf("%s %s: %+v in %v, %v", h.Name, name, counts, took, err)
			}
			both("after " + name)
		}
	}
}

// Each kind of segment is lost alone, on its way in.
func TestLose(t *testing.T) {
	l := labtest.Lab(t, lab.Options{})
	c := serve(t, l, l.A)
	for _, row := range []struct {
		name  string
		share Share
		match Match
	}{
		{"data", Share{Lost: 50, Of: 1000}, Match{Kind: Data, To: l.A.Addr(), ToPort: 8081}},
		{"bare", Share{Lost: 4, Of: 40, Row: true}, Match{Kind: Bare, To: l.A.Addr(), ToPort: 8081}},
		{"all", Share{Lost: 100, Of: 1000}, Match{FromMAC: []byte{2, 0, 0, 0, 0, 0xfe}}},
	} {
		loss, err := Lose(l.A, row.name, l.A.Interface(), row.share, row.match)
		if err != nil {
			t.Fatal(err)
		}
		x := c.Once(t.Context(), client.Upload(row.name, 3_000_000))
		y := c.Once(t.Context(), client.Bytes(row.name, 3_000_000))
		n, err := loss.Lost()
		if !x.OK() || !y.OK() || n == 0 || err != nil {
			t.Errorf("%s: %d lost, %v, %v, %v", row.name, n, err, x, y)
		}
		if err := loss.End(); err != nil {
			t.Error(err)
		}
	}
	loss, err := Lose(l.A, "everything", l.A.Interface(), All(), Match{Kind: TCP, ToPort: 8081})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if conn, err := c.Dial(ctx); err == nil {
		conn.Close()
		t.Error("a connection was made")
	}
	if err := loss.End(); err != nil {
		t.Error(err)
	}
	if x := c.Once(t.Context(), client.Bytes("after", 100)); !x.OK() {
		t.Error(x)
	}
}
