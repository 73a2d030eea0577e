package proxy

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ftgw/ftgw/replication"
	"github.com/ftgw/ftgw/rewrite"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 20 * time.Second // bound of every wait in the tests

func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

// web is the upstream: its replies differ at each execution.
type web struct {
	*httptest.Server
	mu       sync.Mutex
	executed map[string]int // by transaction ID
	attempts map[string]string
}

func newWeb(t testing.TB) *web {
	w := &web{executed: map[string]int{}, attempts: map[string]string{}}
	w.Server = httptest.NewServer(http.HandlerFunc(w.serve))
	t.Cleanup(w.Close)
	return w
}

func (w *web) serve(rw http.ResponseWriter, r *http.Request) {
	id := r.Header.Get("Idempotency-Key")
	w.mu.Lock()
	w.executed[id]++
	n := w.executed[id]
	w.attempts[id] = max(w.attempts[id], r.Header.Get("Ftgw-Attempt")) // a cancelled one may come late
	w.mu.Unlock()
	sum := sha256.New()
	size, err := io.Copy(sum, r.Body)
	if err != nil {
		return
	}
	q := r.URL.Query()
	rw.Header().Set("X-Tx", id)
	rw.Header().Set("X-Execution", strconv.Itoa(n))
	if d, err := time.ParseDuration(q.Get("sleep")); err == nil {
		select {
		case <-time.After(d):
		case <-r.Context().Done():
		}
	}
	if q.Has("hint") {
		rw.Header().Set("Link", "</a.css>; rel=preload")
		rw.WriteHeader(http.StatusEarlyHints)
	}
	if s := q.Get("status"); s != "" {
		code, _ := strconv.Atoi(s)
		rw.WriteHeader(code)
		return
	}
	if q.Has("trailer") {
		rw.Header().Set("Trailer", "X-Sum")
		defer rw.Header().Set("X-Sum", "yes")
	}
	if s := q.Get("size"); s != "" {
		total, _ := strconv.Atoi(s)
		if !q.Has("chunked") {
			rw.Header().Set("Content-Length", s)
		}
		pattern := bytes.Repeat([]byte(fmt.Sprintf("%07d\n", n)), 8<<10)
		for total > 0 {
			k, err := rw.Write(pattern[:min(total, len(pattern))])
			if err != nil {
				return
			}
			total -= k
		}
		return
	}
	fmt.Fprintf(rw, "%s %s host=%s size=%d sum=%x trailer=%v\n", r.Method, r.RequestURI, r.Host, size, sum.Sum(nil)[:4], r.Trailer)
}

func (w *web) addr() string { return strings.TrimPrefix(w.URL, "http://") }

// packets plays the packet layer: it knows connections by the client's port.
type packets struct {
	mu       sync.Mutex
	cond     *sync.Cond
	known    map[netip.AddrPort]rewrite.FlowID
	duty     Duty
	received map[rewrite.FlowID]uint64
	eof      map[rewrite.FlowID]bool
	closed   map[rewrite.FlowID]int
	resets   map[rewrite.FlowID]int
	stopped  bool
	young    bool                       // flows begin after whatever takeover there was
	answered func()                     // called once when a duty has been named
	unshare  func(rewrite.FlowID) error // what Unprotect does, if anything
}

func newPackets(duty Duty) *packets {
	p := &packets{known: map[netip.AddrPort]rewrite.FlowID{}, duty: duty, received: map[rewrite.FlowID]uint64{},
		eof: map[rewrite.FlowID]bool{}, closed: map[rewrite.FlowID]int{}, resets: map[rewrite.FlowID]int{}}
	p.cond = sync.NewCond(&p.mu)
	return p
}

func (p *packets) introduce(client netip.AddrPort, id rewrite.FlowID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.known[client] = id
	p.cond.Broadcast()
}

func (p *packets) Accepted(client, local netip.AddrPort) (rewrite.FlowID, Duty, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		if id, ok := p.known[client]; ok || p.stopped {
			delete(p.known, client) // the port may be used again
			duty := p.duty
			if f := p.answered; f != nil && ok {
				p.answered = nil
				f()
			}
			return id, duty, ok
		}
		p.cond.Wait()
	}
}

func (p *packets) Duty(rewrite.FlowID) Duty {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.duty
}

func (p *packets) Survived(rewrite.FlowID) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.young
}

func (p *packets) Received(id rewrite.FlowID, n uint64, eof bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n < p.received[id] {
		panic("the stream went backwards")
	}
	p.received[id], p.eof[id] = n, p.eof[id] || eof
}

func (p *packets) Unprotect(_ context.Context, id rewrite.FlowID) error {
	if p.unshare == nil {
		return nil
	}
	return p.unshare(id)
}

func (p *packets) Reset(id rewrite.FlowID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.resets[id]++
}

func (p *packets) Closed(id rewrite.FlowID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed[id]++
}

func (p *packets) got(id rewrite.FlowID) uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.received[id]
}

// link is a Log that stores on another server in memory.
type link struct {
	peer   *Server // nil: simplex
	cut    atomic.Bool
	alone  atomic.Bool // the peer is dead: all is well without it, but it takes no flow
	stored atomic.Int64
	before func(Record) // called before each record is committed
}

var errFenced = errors.New("fenced")

func (l *link) Store(ctx context.Context, r Record, body io.ReaderAt) error {
	if l.cut.Load() {
		return errFenced
	}
	err := l.store(ctx, r, body)
	if l.peer == nil || l.alone.Load() && !l.cut.Load() {
		if r.Kind.Gives() {
			return ErrPeerLost
		}
		return nil
	}
	return err
}

func (l *link) store(ctx context.Context, r Record, body io.ReaderAt) error {
	if l.peer == nil || l.alone.Load() {
		return nil
	}
	k, err := l.peer.OpenRecord(r)
	if err != nil {
		return err
	}
	defer k.Abort()
	if _, err := io.Copy(k, io.NewSectionReader(body, 0, r.Size)); err != nil {
		return err
	}
	if l.before != nil {
		l.before(r)
	}
	if l.cut.Load() || ctx.Err() != nil {
		return errFenced
	}
	l.stored.Add(1)
	answer := make(chan error, 2) // a second one would stay in it
	if late, ok := k.(replication.LateSink); ok && late.Later(func(err error) { answer <- err }) {
		select {
		case err := <-answer:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return k.Commit()
}

// host is one running server.
type host struct {
	*Server
	packets *packets
	link    *link
	at      string
}

func newHost(t testing.TB, cfg Config, duty Duty, l *link) *host {
	t.Helper()
	if cfg.SpillDir == "" {
		cfg.SpillDir = t.TempDir()
	}
	h := &host{packets: newPackets(duty), link: l}
	if cfg.Connect == nil && cfg.Upstream != "" {
		cfg.Connect = connector(t, cfg.Upstream, time.Minute)
	}
	h.Server = New(cfg, h.packets, l)
	listener, err := Listen(t.Context(), netip.MustParseAddrPort("127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	h.at = listener.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- h.Serve(ctx, listener) }()
	t.Cleanup(func() {
		h.packets.mu.Lock()
		h.packets.stopped = true
		h.packets.cond.Broadcast()
		h.packets.mu.Unlock()
		cancel()
		select {
		case err := <-served:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(patience):
			t.Error("Serve does not end")
		}
	})
	return h
}

var isn atomic.Uint32

// dial connects a client and introduces it under id, or a new one.
func (h *host) dial(t testing.TB, ids ...rewrite.FlowID) (*net.TCPConn, rewrite.FlowID) {
	t.Helper()
	c, err := net.Dial("tcp4", h.at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if _, bench := t.(*testing.B); !bench {
		c.SetDeadline(time.Now().Add(patience))
	}
	client := addrPort(c.LocalAddr())
	id := rewrite.FlowID{Key: rewrite.Key{Client: client, Advertised: addrPort(c.RemoteAddr())}, ISN: rewrite.Seq(isn.Add(1))}
	if len(ids) > 0 {
		id = ids[0]
	}
	h.packets.introduce(client, id)
	return c.(*net.TCPConn), id
}

// newPair returns an executor that stores on a standby.
func newPair(t testing.TB, cfg Config) (executor, standby *host) {
	standby = newHost(t, cfg, Standby, &link{})
	return newHost(t, cfg, Executor, &link{peer: standby.Server}), standby
}

func all(rewrite.FlowID) bool { return true }

// logFunc stands between an executor and its log.
type logFunc func(r Record, store func() error) error

func (f logFunc) over(l Log) Log { return wrapped{f, l} }

type wrapped struct {
	f logFunc
	l Log
}

func (w wrapped) Store(ctx context.Context, r Record, body io.ReaderAt) error {
	return w.f(r, func() error { return w.l.Store(ctx, r, body) })
}
