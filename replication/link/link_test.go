package link

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ftgw/ftgw/replication"
	"github.com/ftgw/ftgw/rewrite"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 10 * time.Second

// nextHost makes loopback addresses of this process's own, so that tests do not meet.
var nextHost atomic.Uint32

func addrs(t testing.TB) (low, high netip.AddrPort) {
	t.Helper()
	n := nextHost.Add(1)
	var r [2]byte
	rand.Read(r[:])
	at := func(last byte) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 1 + r[0]%250, r[1], last}), uint16(7000+n))
	}
	return at(1), at(3)
}

func keys(t testing.TB, seed byte) replication.Keys {
	t.Helper()
	k, err := replication.DeriveKeys(bytes.Repeat([]byte{seed}, 32))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// host is one end: a Handler that remembers, its Link, and the Port that it is alone on.
type host struct {
	*Link
	port     *Port
	mu       sync.Mutex
	changed  *sync.Cond
	ups      int
	downs    []error
	resets   []bool
	hello    replication.Hello
	beats    int
	log      []string // confirmations, notes, epochs, farewell, in order
	during   []int    // the number of the session in which each came
	records  map[replication.RecordKey][]byte
	commits  int
	refuse   error
	commitAs error
	gate     chan struct{} // sinks wait here, if set
	signs    atomic.Int64
}

func (h *host) note(format string, a ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.log = append(h.log, fmt.Sprintf(format, a...))
	h.during = append(h.during, h.ups)
	h.changed.Broadcast()
}

func (h *host) Up(hello replication.Hello) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ups++
	h.hello = hello
	h.changed.Broadcast()
}

func (h *host) Down(err error, reset bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.downs, h.resets = append(h.downs, err), append(h.resets, reset)
	h.changed.Broadcast()
}
func (h *host) Sign() { h.signs.Add(1) }
func (h *host) Heartbeat(replication.Heartbeat) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.beats++
	h.changed.Broadcast()
}
func (h *host) Confirm(cs []rewrite.Confirmation) {
	for _, c := range cs {
		h.note("confirm %d %d", c.RcvNxt, c.Edge)
	}
}
func (h *host) Stored([]replication.StoredItem) {}
func (h *host) Notes(ns []replication.FlowNote) {
	for _, n := range ns {
		h.note("note %d %d", n.Kind, n.Reason)
	}
}
func (h *host) Leave()                    { h.note("leave") }
func (h *host) Epoch(e replication.Epoch) { h.note("epoch %d %v %s", e.Epoch, e.Against, e.Owner) }
func (h *host) OpenRecord(r replication.Record) (RecordSink, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return &sink{h: h, key: r.RecordKey}, h.refuse
}

type sink struct {
	h   *host
	key replication.RecordKey
	bytes.Buffer
}

func (s *sink) Write(p []byte) (int, error) {
	if g := s.h.gate; g != nil {
		<-g
	}
	return s.Buffer.Write(p)
}
func (s *sink) Abort() {}
func (s *sink) Commit() error {
	s.h.mu.Lock()
	defer s.h.mu.Unlock()
	if s.h.commitAs != nil {
		return s.h.commitAs
	}
	s.h.records[s.key] = s.Bytes()
	s.h.commits++
	s.h.changed.Broadcast()
	return nil
}

// until waits for a condition on the host, whose lock is held while ok runs.
func (h *host) until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	late := false
	timer := time.AfterFunc(patience, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		late = true
		h.changed.Broadcast()
	})
	defer timer.Stop()
	h.mu.Lock()
	defer h.mu.Unlock()
	for !ok() {
		if late {
			t.Fatalf("waited %v for: %s (ups %d, downs %v, log %q)", patience, what, h.ups, h.downs, h.log)
		}
		h.changed.Wait()
	}
}

type option func(*Config)

func newHost(t testing.TB, name string, self, peer netip.AddrPort, opts ...option) *host {
	h := &host{records: make(map[replication.RecordKey][]byte)}
	h.changed = sync.NewCond(&h.mu)
	var boot [16]byte
	rand.Read(boot[:])
	other := map[string]string{"a": "b", "b": "a"}[name]
	cfg := Config{
		Self: self, Peer: peer, Group: "a,b", PeerName: other, Keys: keys(t, 1), Handler: h, RefusedRetry: 50 * time.Millisecond,
		Hello: func() replication.Hello {
			return replication.Hello{Node: name, Boot: boot, Epoch: 7, Role: replication.RolePrimary}
		},
	}
	for _, o := range opts {
		o(&cfg)
	}
	h.Link = New(cfg)
	h.port = NewPort(PortConfig{Self: self, Own: cfg.Own.Self, Keys: cfg.Keys, Log: cfg.Log})
	h.port.Add(h.Link)
	return h
}

// start runs port and link until the test ends or stop is called.
func (h *host) start(t testing.TB) (stop func()) {
	t.Helper()
	port, link := background(t, h.port.Run), background(t, h.Run)
	return func() { link(); port() }
}

// background runs a part until the test ends or stop is called.
func background(t testing.TB, run func(context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func connected(t testing.TB, opts ...option) (a, b *host) {
	t.Helper()
	low, high := addrs(t)
	a, b = newHost(t, "a", low, high, opts...), newHost(t, "b", high, low, opts...)
	b.start(t)
	a.start(t)
	a.until(t, "a up", func() bool { return a.ups == 1 })
	b.until(t, "b up", func() bool { return b.ups == 1 })
	return a, b
}

func flow(port uint16) rewrite.FlowID {
	return rewrite.FlowID{Key: rewrite.Key{
		Client:     netip.AddrPortFrom(netip.MustParseAddr("198.51.100.7"), port),
		Advertised: netip.MustParseAddrPort("192.0.2.100:80"),
	}, ISN: 1000}
}

func reply(port uint16, index uint64, size int) replication.Record {
	return replication.Record{RecordKey: replication.RecordKey{Flow: flow(port), Index: index, Kind: replication.KindReply}, Epoch: 7, Size: int64(size)}
}

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

func TestSession(t *testing.T) {
	a, b := connected(t)
	if a.hello.Node != "b" || b.hello.Node != "a" || b.hello.Epoch != 7 {
		t.Errorf("hellos: a got %+v, b got %+v", a.hello, b.hello)
	}
	b.SendEpoch(replication.Epoch{Epoch: 9, Against: true, Owner: "b"})
	a.until(t, "epoch", func() bool { return len(a.log) == 1 })
	b.Note(replication.FlowNote{Flow: flow(1), Kind: replication.NoteSimplex, Reason: 4})
	a.until(t, "note", func() bool { return len(a.log) == 2 })
	b.Link.Confirm(rewrite.Confirmation{Flow: flow(1), RcvNxt: 5, Edge: 50})
	a.until(t, "confirmation", func() bool { return len(a.log) == 3 })
	want := "[epoch 9 true b note 1 4 confirm 5 50]"
	if got := fmt.Sprint(a.log); got != want {
		t.Errorf("a heard %s, want %s", got, want)
	}
	a.until(t, "heartbeats", func() bool { return a.beats > 5 })
	if rtt := a.RTT(); rtt <= 0 || rtt > time.Second {
		t.Errorf("round trip %v", rtt)
	}
	if s := a.Status(); !s.Up || s.Peer.Node != "b" || s.Refusal != nil || s.Sessions != 1 {
		t.Errorf("status %+v", s)
	}
	if a.signs.Load() == 0 {
		t.Error("no sign")
	}
}

func TestStore(t *testing.T) {
	a, b := connected(t)
	for _, dir := range []struct{ from, to *host }{{a, b}, {b, a}} {
		for i, size := range []int{0, 1, 1 << 10, 64 << 10, 3<<20 + 17} {
			body := random(size)
			r := reply(1, uint64(i), size)
			if err := dir.from.Store(t.Context(), r, bytes.NewReader(body)); err != nil {
				t.Fatalf("store %d bytes: %v", size, err)
			}
			dir.to.mu.Lock()
			if !bytes.Equal(dir.to.records[r.RecordKey], body) {
				t.Errorf("%d bytes arrived changed", size)
			}
			dir.to.mu.Unlock()
		}
	}
}

func TestStoreResults(t *testing.T) {
	a, b := connected(t)
	set := func(refuse, commit error) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.refuse, b.commitAs = refuse, commit
	}
	no := errors.New("no")
	set(no, nil)
	if err := a.Store(t.Context(), reply(1, 0, 300_000), bytes.NewReader(random(300_000))); !errors.Is(err, ErrRefused) {
		t.Errorf("refused record: %v", err)
	}
	set(nil, no)
	if err := a.Store(t.Context(), reply(1, 0, 5), bytes.NewReader(random(5))); !errors.Is(err, ErrFailed) {
		t.Errorf("record that cannot be kept: %v", err)
	}
	set(nil, nil)
	if err := a.Store(t.Context(), reply(1, 0, 5), bytes.NewReader(random(4))); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("body that is too short: %v", err)
	}
	if err := a.Store(t.Context(), replication.Record{}, nil); err == nil {
		t.Error("a record without flow was sent")
	}
	if err := a.Store(t.Context(), reply(1, 0, 5), bytes.NewReader(random(5))); err != nil {
		t.Errorf("after all that: %v", err)
	}
	if s := b.Status(); s.Refused != 1 || s.Failed != 1 {
		t.Errorf("status %+v", s)
	}
}

func TestStoreEnds(t *testing.T) {
	low, high := addrs(t)
	a := newHost(t, "a", low, high)
	stop := a.start(t)
	store := func(ctx context.Context) chan error {
		c := make(chan error, 1)
		go func() { c <- a.Store(ctx, reply(1, 0, 1), bytes.NewReader([]byte{1})) }()
		return c
	}
	ctx, cancel := context.WithCancel(t.Context())
	c := store(ctx)
	cancel()
	if err := <-c; !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	c = store(t.Context())
	a.Abandon()
	if err := <-c; !errors.Is(err, ErrAbandoned) {
		t.Errorf("abandoned: %v", err)
	}
	if err := <-store(t.Context()); !errors.Is(err, ErrAbandoned) {
		t.Errorf("after Abandon: %v", err)
	}
	a.Resume()
	c = store(t.Context())
	b := newHost(t, "b", high, low)
	b.start(t)
	if err := <-c; err != nil {
		t.Errorf("resumed: %v", err)
	}
	stop()
	if err := <-store(t.Context()); !errors.Is(err, ErrClosed) {
		t.Errorf("after Run: %v", err)
	}
}
