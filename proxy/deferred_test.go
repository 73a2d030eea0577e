package proxy

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ftgw/ftgw/config"
	"github.com/ftgw/ftgw/replication"
	"github.com/ftgw/ftgw/rewrite"
)

// later makes routes below /later deferred, and the others as both does.
func later(method, path string) config.Mode {
	if strings.HasPrefix(path, "/later") {
		return config.Deferred
	}
	return both(method, path)
}

// newDeferring returns a pair whose pieces are of 10,000 bytes, and counts what goes from one to the other.
func newDeferring(t testing.TB, cfg Config, up ...string) (executor, standby *host, sent *atomic.Int64) {
	sent = new(atomic.Int64)
	cfg.Mode, cfg.MaxReply, cfg.Memory = later, 10_000, 7000
	cfg.Routes, cfg.Route = []string{"/later"}, func(_, path string) int { return strings.Index(path, "/later") }
	cfg.Upstream = up[len(up)-1]
	standby = newHost(t, cfg, Standby, &link{})
	cfg.Upstream = up[0]
	executor = newHost(t, cfg, Executor, &link{peer: standby.Server})
	executor.link.before = func(r Record) { sent.Add(r.Size) }
	return executor, standby, sent
}

// response is the only reply of what merged returns; the error is that of reading its body.
func (w *twin) response(t *testing.T, standby *host) (resp *http.Response, body []byte, err error) {
	t.Helper()
	if resp, err = http.ReadResponse(bufio.NewReader(strings.NewReader(w.merged(t, standby))), nil); err != nil {
		t.Fatal(err)
	}
	body, err = io.ReadAll(resp.Body)
	return resp, body, err
}

// merged is what the client of a twin got: what the executor gave it, and then what the standby's kernel
// has behind that, unless it resets the connection. Before that place the standby's may be zero.
func (w *twin) merged(t *testing.T, standby *host) string {
	t.Helper()
	a, b := w.seen(0), w.seen(1)
	for i := range min(len(a), len(b)) {
		if b[i] != a[i] && b[i] != 0 {
			t.Fatalf("byte %d of %d is %q at the standby, %q at the executor", i, len(a), b[i], a[i])
		}
	}
	standby.packets.mu.Lock()
	defer standby.packets.mu.Unlock()
	switch resets := standby.packets.resets[w.id]; {
	case len(b) < len(a) && resets == 1:
		return a
	case len(b) < len(a) || resets > 0:
		t.Fatalf("the standby has %d bytes, the executor gave %d; %d resets", len(b), len(a), resets)
	}
	if strings.IndexByte(b[len(a):], 0) >= 0 {
		t.Fatal("a client gets bytes that no web server sent")
	}
	return a + b[len(a):]
}

// Replies of all modes on one connection, pipelined: of the deferred ones next to nothing goes over, the
// standby's web server is not asked, and both kernels end at the same place.
func TestDeferred(t *testing.T) {
	up := newSite(t, "a")
	idle := newSite(t, "b")
	var asked atomic.Int64
	idle.then(func(_ http.ResponseWriter, r *http.Request) bool {
		if strings.HasPrefix(r.URL.Path, "/later") {
			asked.Add(1)
		}
		return false
	})
	executor, standby, sent := newDeferring(t, Config{}, up.at, idle.at)
	w := newTwin(t, executor, standby)
	paths := []string{"/logged/0", "/later/1?size=500000", "/later/2?size=300", "/later/3?size=10010", "/logged/4",
		"/later/5?size=70000&chunked", "/later/6?size=2000000"}
	for _, path := range paths {
		w.write(get(path))
	}
	w.write([]byte("HEAD /later/7?size=500000 HTTP/1.1\r\nHost: shop\r\n\r\n"))
	w.write([]byte("GET /later/8?size=300000 HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n"))
	w.readers.Wait()
	if len(w.seen(0)) != len(w.seen(1)) {
		t.Fatalf("%d and %d bytes", len(w.seen(0)), len(w.seen(1)))
	}
	_, bodies := replies(t, w.merged(t, standby), strings.Fields("GET GET GET GET GET GET GET HEAD GET")...)
	for i, want := range map[int]int{1: 500_000, 2: 300, 3: 10_010, 5: 70_000, 6: 2_000_000, 7: 0, 8: 300_000} {
		if bodies[i] != strings.Repeat("0123456789", want/10) {
			t.Errorf("reply %d has %d bytes", i, len(bodies[i]))
		}
	}
	if st := executor.Stats(); st.Deferred != 4 || st.Delivered != 9 || st.Deferring != 0 {
		t.Errorf("%+v", st)
	}
	if n := sent.Load() - 70_000; n > 30_000 || asked.Load() != 0 {
		t.Errorf("%d bytes of records, %d questions", n, asked.Load())
	}
	modes := map[bool]config.Mode{true: config.Deferred, false: config.Logged}
	for _, h := range []*host{executor, standby} {
		for _, e := range h.Ledger(false, 0).Exchanges {
			if e.Mode != modes[e.Index == 1 || e.Index == 3 || e.Index == 6 || e.Index == 8] || e.Status != 200 ||
				e.Index == 6 && (e.Bytes < 2_000_000 || e.Bytes > 2_000_400) {
				t.Errorf("%+v", e)
			}
		}
	}
}

// A reply whose end the client has not acknowledged is not over: the standby keeps its request, and
// nothing else is stored meanwhile.
func TestDeferredUnacknowledged(t *testing.T) {
	executor, standby, _ := newDeferring(t, Config{}, newSite(t, "a").at)
	c, id := executor.dial(t)
	b, _ := standby.dial(t, id)
	go io.Copy(io.Discard, b)
	size := 16 << 20
	for _, peer := range []io.Writer{c, b} {
		fmt.Fprintf(peer, "GET /later/0?size=%d HTTP/1.1\r\nHost: shop\r\n\r\nGET /logged/1 HTTP/1.1\r\nHost: shop\r\n\r\n", size)
	}
	got, err := io.CopyN(io.Discard, c, int64(size/4)) // more than the sockets' buffers hold is missing
	if err != nil {
		t.Fatal(got, err)
	}
	if st := standby.Stats(); st.Held != 1 || executor.Stats().Deferring != 1 {
		t.Errorf("%+v", st)
	}
	if e := standby.Ledger(false, 0).Exchanges; len(e) != 0 {
		t.Errorf("%+v", e)
	}
	go io.Copy(io.Discard, c)
	eventually(t, "both replies are stored", func() bool { return len(standby.Ledger(false, 0).Exchanges) == 2 })
	eventually(t, "nothing is held", func() bool { return standby.Stats().Held == 0 && executor.Stats().Deferring == 0 })
}

// The executor is killed before each record of a deferred reply in turn. Where the second execution is
// the same as far as the first went out, the client gets the whole; else it gets no byte of the second.
func TestKillDeferred(t *testing.T) {
	for kills := range 10 {
		for _, differs := range []int{longBody, 25_000, 0} {
			t.Run(fmt.Sprint(kills, " ", differs), func(t *testing.T) {
				t.Parallel()
				killDeferred(t, kills, differs)
			})
		}
	}
}

func killDeferred(t *testing.T, kills, differs int) {
	up := long(t, differs)
	executor, standby, _ := newDeferring(t, Config{}, up)
	reached, records := make(chan struct{}), 0
	executor.link.before = func(r Record) {
		if records == kills {
			executor.link.cut.Store(true)
			close(reached)
		}
		records++
	}
	w := newTwin(t, executor, standby)
	w.write([]byte("GET /later?length HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n"))
	if kills <= 8 { // the head, seven pieces, the end
		<-reached
		kill(executor, standby)
	}
	w.readers.Wait()
	_, got, err := w.response(t, standby)
	released := min(10_000*max(0, kills-1), longBody) // of the first execution's body
	switch {
	case released <= differs || kills > 8:
		execution := 2
		if kills > 8 {
			execution = 1
		}
		if err != nil || string(got) != longText(execution, differs) {
			t.Errorf("%d bytes, %v", len(got), err)
		}
		if e := standby.Ledger(true, 0).Exchanges; kills > 1 && kills <= 8 && (len(e) != 1 || e[0].Mode != config.Deferred || e[0].Outcome != Reexecuted) {
			t.Errorf("%+v", e)
		}
	default:
		if released < longBody && err == nil || !strings.HasPrefix(longText(1, differs)[:released], string(got)) {
			t.Errorf("%d bytes, %v: spliced", len(got), err)
		}
		e := standby.Ledger(true, 0).Exchanges
		if st := standby.Stats(); len(e) != 1 || e[0].Outcome != Truncated || st.Failed != 1 || standby.Routes()[0].Demoted == nil {
			t.Errorf("%+v, %+v", e, st)
		}
	}
}

// A second execution whose head says that its body is another one ends the reply, though its beginning is
// the same.
func TestDeferredNature(t *testing.T) {
	for name, tt := range map[string]struct {
		field, a, b string
		goesOn      bool
	}{
		"ETag":     {"ETag", `"1"`, `"2"`, false},
		"coding":   {"Content-Encoding", "", "br", false},
		"modified": {"Last-Modified", "Sun, 01 Nov 2026 00:00:01 GMT", "Sun, 01 Nov 2026 00:00:02 GMT", false},
		"Server":   {"Server", "a", "b", true},
		"ranges":   {"Content-Type", "multipart/byteranges; boundary=1", "multipart/byteranges; boundary=2", false},
		"status":   {"status", "200", "203", false},
		"length":   {"length", "60000", "70000", false},
	} {
		for _, at := range []uint16{1, 3} { // of the records; before the first digest the head has gone out alone
			t.Run(fmt.Sprint(name, " ", at), func(t *testing.T) {
				site := func(value string) string {
					return newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
						length, status := 60_000, 200
						switch n, _ := strconv.Atoi(value); tt.field {
						case "length":
							length = n
						case "status":
							status = n
						default:
							w.Header()[tt.field] = []string{value}
						}
						w.Header().Set("Content-Length", strconv.Itoa(length))
						w.WriteHeader(status)
						io.WriteString(w, strings.Repeat("x", length))
					})
				}
				var log words
				executor, standby, _ := newDeferring(t, Config{Log: slog.New(slog.NewTextHandler(&log, nil))}, site(tt.a), site(tt.b))
				reached := make(chan struct{})
				executor.link.before = func(r Record) {
					if r.Kind == replication.KindDigest && r.Interim == at {
						executor.link.cut.Store(true)
						close(reached)
					}
				}
				w := newTwin(t, executor, standby)
				w.write([]byte("GET /later HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n"))
				<-reached
				kill(executor, standby)
				w.readers.Wait()
				resp, got, err := w.response(t, standby)
				if resp.Header.Get(tt.field) != tt.a && tt.field != "status" && tt.field != "length" || (err == nil) != tt.goesOn || tt.goesOn && len(got) != 60_000 {
					t.Errorf("%d bytes, %v, %v", len(got), err, resp.Header)
				}
				if text := log.String(); strings.Contains(text, "the reply differs") == tt.goesOn || (standby.Routes()[0].Demoted == nil) != tt.goesOn {
					t.Errorf("%s", text)
				}
			})
		}
	}
}

// Executors are killed anywhere in series of requests of all modes, each reply the same on both hosts.
func TestKillDeferredSeries(t *testing.T) {
	for round := range 40 {
		t.Run(strconv.Itoa(round), func(t *testing.T) {
			t.Parallel()
			rnd := rand.New(rand.NewPCG(uint64(round), 7))
			executor, standby, _ := newDeferring(t, Config{Shadow: true}, newSite(t, "a").at, newSite(t, "b").at)
			var raw bytes.Buffer
			var sizes []int
			var methods []string
			for i := range 9 {
				size := 10 * (1 + rnd.IntN(20_000))
				path := fmt.Sprintf("/%s/%d?size=%d", []string{"later", "later", "static", "same"}[rnd.IntN(4)], i, size)
				end := map[bool]string{true: "Connection: close\r\n"}[i == 8]
				fmt.Fprintf(&raw, "GET %s HTTP/1.1\r\nHost: shop\r\nConnection: keep-alive\r\n%s\r\n", path, end)
				sizes, methods = append(sizes, size), append(methods, "GET")
			}
			reached, records, at := make(chan struct{}), 0, rnd.IntN(60)
			executor.link.before = func(Record) {
				if records == at {
					executor.link.cut.Store(true)
					close(reached)
				}
				records++
			}
			w := newTwin(t, executor, standby)
			w.write(raw.Bytes())
			over := make(chan struct{})
			go func() { w.readers.Wait(); close(over) }()
			select {
			case <-reached:
				kill(executor, standby)
				<-over
			case <-over:
			}
			_, bodies := replies(t, w.merged(t, standby), methods...)
			for i, body := range bodies {
				if body != strings.Repeat("0123456789", sizes[i]/10) {
					t.Errorf("reply %d has %d bytes of %d", i, len(body), sizes[i])
				}
			}
		})
	}
}

// An upstream that fails within such a reply ends the connection at the same place on both hosts.
func TestDeferredCut(t *testing.T) {
	up := newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(longBody))
		io.WriteString(w, longText(1, 0)[:35_000])
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	})
	executor, standby, _ := newDeferring(t, Config{}, up)
	w := newTwin(t, executor, standby)
	w.write(get("/later"))
	w.readers.Wait()
	if len(w.seen(0)) != len(w.seen(1)) {
		t.Errorf("%d and %d bytes", len(w.seen(0)), len(w.seen(1)))
	}
	if _, got, err := w.response(t, standby); err == nil || string(got) != longText(1, 0)[:30_000] {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if e, st := executor.Ledger(false, 0).Exchanges[0], executor.Stats(); e.Outcome != Truncated || st.Deferring != 0 || st.Deferred != 0 {
		t.Errorf("%+v, %+v", e, st)
	}
}

// Where the executor may not defer, the reply is logged; and each host defers in its turn.
func TestDeferredHandOver(t *testing.T) {
	var may atomic.Bool
	executor, standby, _ := newDeferring(t, Config{MayDefer: func(rewrite.FlowID) bool { return may.Load() }}, newSite(t, "a").at)
	standby.link.peer = executor.Server
	w := newTwin(t, executor, standby)
	var methods []string
	for i := range 12 {
		may.Store(i > 2)
		w.write(get(fmt.Sprintf("/later/%d?size=%d", i, 20_000*(i+1))))
		handOver(t, i, executor, standby)
		eventually(t, "replies", func() bool { return executor.Stats().Delivered+standby.Stats().Delivered == uint64(i+1) })
		methods = append(methods, "GET")
	}
	w.write([]byte("GET /later/12?size=50000 HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n"))
	w.readers.Wait()
	a, b := w.seen(0), w.seen(1)
	if len(a) != len(b) {
		t.Fatalf("%d and %d bytes", len(a), len(b))
	}
	var text strings.Builder // each host has zeros where the other gave the bytes
	for i := range len(a) {
		if a[i] != b[i] && a[i] != 0 && b[i] != 0 {
			t.Fatalf("byte %d is %q and %q", i, a[i], b[i])
		}
		text.WriteByte(max(a[i], b[i]))
	}
	_, bodies := replies(t, text.String(), append(methods, "GET")...)
	for i, body := range bodies[:12] {
		if body != strings.Repeat("0123456789", 2000*(i+1)) {
			t.Errorf("reply %d has %d bytes", i, len(body))
		}
	}
	x, y := executor.Stats(), standby.Stats()
	if x.Deferred == 0 || y.Deferred == 0 || x.Deferred+y.Deferred != 10 || x.Delivered+y.Delivered != 13 {
		t.Errorf("%+v\n%+v", x, y)
	}
}

// A client that goes away within a deferred reply, or takes nothing of its end, costs its connection, and
// nothing waits for it.
func TestDeferredClientGone(t *testing.T) {
	executor, standby, _ := newDeferring(t, Config{WriteTimeout: 50 * time.Millisecond, IdleTimeout: 100 * time.Millisecond}, newSite(t, "a").at)
	for _, stays := range []bool{false, true} {
		c, id := executor.dial(t)
		b, _ := standby.dial(t, id)
		go io.Copy(io.Discard, b)
		c.SetReadBuffer(4 << 10)
		for _, peer := range []io.Writer{c, b} {
			fmt.Fprintf(peer, "GET /later/0?size=%d HTTP/1.1\r\nHost: shop\r\n\r\n", map[bool]int{true: 400_000, false: 64 << 20}[stays])
		}
		eventually(t, "it begins", func() bool { return executor.Stats().Deferring == 1 })
		if !stays {
			c.SetLinger(0)
			c.Close()
		}
		eventually(t, "it is over", func() bool { return executor.Stats().Deferring == 0 && executor.Stats().Open == 0 })
		b.Close()
	}
}
