package witness

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ftgw/ftgw/replication"
	"github.com/ftgw/ftgw/takeover"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	patience = 10 * time.Second
	pairAB   = "a,b"
)

// place is a witness' address and what it has on disk, which outlive its process.
type place struct {
	t     *testing.T
	at    netip.AddrPort
	mu    sync.Mutex
	disk  map[string]takeover.Grant
	fails error
}

func newPlace(t *testing.T) *place {
	var r [3]byte
	rand.Read(r[:])
	return &place{t: t, at: netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 1 + r[0]%250, r[1], r[2]}), 7950)}
}

func (p *place) write(g map[string]takeover.Grant) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fails == nil {
		p.disk = g
	}
	return p.fails
}

func keys(t *testing.T, seed byte) replication.Keys {
	k, err := replication.DeriveKeys(bytes.Repeat([]byte{seed}, 32))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// run starts a witness; the returned function ends it.
func (p *place) run() (stop func()) {
	_, stop = p.serve(pairAB)
	return stop
}

// serve starts a witness of groups.
func (p *place) serve(groups ...string) (s *Server, stop func()) {
	pairs := map[string][]string{}
	for _, g := range groups {
		pairs[g] = strings.Split(g, ",")
	}
	s = New(Config{Listen: p.at, Keys: keys(p.t, 1), Pairs: pairs, Grants: p.disk,
		Hello:        func() replication.Hello { return replication.Hello{Node: "w", Boot: [16]byte{9}} },
		SuspectAfter: 50 * time.Millisecond, HangTimeout: 400 * time.Millisecond, Write: p.write, Log: slog.New(slog.DiscardHandler)})
	return s, background(p.t, s.Run)
}

func background(t *testing.T, run func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// node is one node's client and what it was told.
type node struct {
	*Client
	stop func()
	mu   sync.Mutex
	said []string
}

func (n *node) note(format string, args ...any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.said = append(n.said, fmt.Sprintf(format, args...))
}

func (n *node) Answer(a replication.GrantAnswer) {
	n.note("answer %d granted=%v against=%v held=%d", a.Epoch, a.Granted, a.Against, a.Held)
}

// Notice is answered as a node does that has closed its gate.
func (n *node) Notice(m replication.Notice) { n.note("notice %d", m.Epoch); n.Silent(m.Epoch) }
func (n *node) Witness(up bool)             { n.note("up %v", up) }

func (n *node) heard(what string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return strings.Contains(strings.Join(n.said, "; "), what)
}

// join starts a node's client.
func (p *place) join(name string, role replication.Role, change func(*ClientConfig)) *node {
	n := &node{}
	cfg := ClientConfig{Self: netip.MustParseAddrPort("127.0.0.1:0"), Witness: p.at, Pair: pairAB, Keys: keys(p.t, 1),
		Hello:     func() replication.Hello { return replication.Hello{Node: name, Boot: [16]byte{name[0]}} },
		Beat:      func() replication.Heartbeat { return replication.Heartbeat{Role: role} },
		Heartbeat: 10 * time.Millisecond, Silence: patience / 2, Handler: n, Log: slog.New(slog.DiscardHandler)}
	if change != nil {
		change(&cfg)
	}
	n.Client = NewClient(cfg)
	n.stop = background(p.t, n.Run)
	return n
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

// asks asks until there is an answer other than that it is too early.
func (n *node) asks(t *testing.T, epoch, base uint64, want string) {
	t.Helper()
	until(t, want, func() bool { n.Ask(epoch, base, false); time.Sleep(20 * time.Millisecond); return n.heard(want) })
}

// One of two is granted the claim, the speaker is told before, and a new process of the witness
// remembers.
func TestGrant(t *testing.T) {
	p := newPlace(t)
	stop := p.run()
	a, b := p.join("a", replication.RolePrimary, nil), p.join("b", replication.RoleBackup, nil)
	until(t, "both are connected", func() bool { return a.Up() && b.Up() && a.RTT() > 0 })
	b.asks(t, 1, 0, "answer 1 granted=true")
	if !a.heard("notice 1") {
		t.Error("the speaker was not told")
	}
	a.asks(t, 2, 0, "answer 2 granted=false against=true held=1")
	stop()
	until(t, "both miss it", func() bool { return !a.Up() && !b.Up() && a.heard("up false") })
	p.run()
	until(t, "both are back", func() bool { return a.Up() && b.Up() })
	a.asks(t, 4, 0, "answer 4 granted=false against=true held=1")
}

// What is not on disk is not granted.
func TestGrantNeedsTheDisk(t *testing.T) {
	p := newPlace(t)
	p.fails = errors.New("disk full")
	p.run()
	b := p.join("b", replication.RoleBackup, nil)
	b.asks(t, 1, 0, "answer 1 granted=false")
	time.Sleep(600 * time.Millisecond) // it has listened for long enough by now
	b.asks(t, 3, 0, "answer 3 granted=false")
	if b.heard("granted=true") || len(p.disk) > 0 {
		t.Errorf("granted: %v", b.said)
	}
}

// Strangers, and nodes of another config, are turned away, and the node can say why.
func TestTurnedAway(t *testing.T) {
	p := newPlace(t)
	p.run()
	for name, tt := range map[string]struct {
		node   string
		change func(*ClientConfig)
		wrong  string
	}{
		"other secret": {"a", func(c *ClientConfig) { c.Keys = keys(t, 2) }, "secret"},
		"other config": {"a", func(c *ClientConfig) {
			c.Hello = func() replication.Hello { return replication.Hello{Node: "a", ConfigDigest: [32]byte{1}} }
		}, "another config"},
		"no such node": {"c", nil, "no group"},
	} {
		t.Run(name, func(t *testing.T) {
			n := p.join(tt.node, replication.RoleJoining, tt.change)
			until(t, "it says what is wrong: "+tt.wrong, func() bool { return strings.Contains(n.Wrong(), tt.wrong) })
			if n.Up() {
				t.Error("connected")
			}
		})
	}
}

// Where the nodes beat slowly, a request comes long after the last answer to a beat, and so does the
// next answer.
func TestSlowBeats(t *testing.T) {
	p := newPlace(t)
	s := New(Config{Listen: p.at, Keys: keys(t, 1), Pairs: map[string][]string{pairAB: {"a", "b"}},
		Hello:        func() replication.Hello { return replication.Hello{Node: "w", Boot: [16]byte{9}} },
		SuspectAfter: 900 * time.Millisecond, HangTimeout: time.Second, Write: p.write, Log: slog.New(slog.DiscardHandler)})
	background(t, s.Run)
	b := p.join("b", replication.RoleBackup, func(c *ClientConfig) { c.Heartbeat = 400 * time.Millisecond })
	until(t, "connected", b.Up)
	time.Sleep(600 * time.Millisecond) // the witness has listened for long enough by then
	silent := func() time.Duration { return time.Since(b.start) - time.Duration(b.Client.heard.Load()) }
	until(t, "a beat is answered", func() bool { return silent() < 50*time.Millisecond })
	until(t, "the next one is near", func() bool { return silent() > 300*time.Millisecond })
	b.Ask(1, 0, false)
	until(t, "granted", func() bool { return b.heard("answer 1 granted=true") })
	if b.heard("up false") {
		t.Error("the connection was given up between two beats")
	}
}

// A request that lay about is of no claim any more.
func TestOldRequestIsPassedOver(t *testing.T) {
	p := newPlace(t)
	p.run()
	b := p.join("b", replication.RoleBackup, nil)
	until(t, "connected", b.Up)
	time.Sleep(600 * time.Millisecond)
	c := b.conn.Load()
	if err := c.send(replication.GrantRequest{Pair: pairAB, Epoch: 1, Echo: 1}.Append(nil)); err != nil {
		t.Fatal(err)
	}
	b.asks(t, 3, 0, "answer 3 granted=true")
	if b.heard("answer 1") {
		t.Error("answered")
	}
}
