package proxy

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ftgw/ftgw/config"
	"github.com/ftgw/ftgw/replication"
)

// both makes all routes below /same sync-static, and those below /static static.
func both(_, path string) config.Mode {
	switch {
	case strings.HasPrefix(path, "/same"):
		return config.SyncStatic
	case strings.HasPrefix(path, "/static"):
		return config.Static
	}
	return config.Logged
}

// site is the upstream of one host: its bodies are the same as the other's, its heads are not.
type site struct {
	name string
	at   string
	asks atomic.Int64 // for sync-static routes
	do   atomic.Pointer[func(w http.ResponseWriter, r *http.Request) (done bool)]
}

func newSite(t testing.TB, name string) *site {
	s := &site{name: name}
	s.at = newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		static := strings.HasPrefix(r.URL.Path, "/static") || strings.HasPrefix(r.URL.Path, "/later")
		if static || strings.HasPrefix(r.URL.Path, "/same") {
			s.asks.Add(1)
			if do := s.do.Load(); do != nil && (*do)(w, r) {
				return
			}
		}
		if !static {
			w.Header().Set("Server", name)
		}
		w.Header().Set("Date", map[string]string{"a": "Sun, 01 Nov 2026 00:00:01 GMT", "b": "Sun, 01 Nov 2026 00:00:02 GMT"}[name])
		if !static {
			w.Header().Set("Etag", `"`+name+r.URL.Path+`"`)
		}
		text := strings.Repeat(r.URL.Path+"\n", 1+len(r.URL.Path))
		if n, err := strconv.Atoi(r.URL.Query().Get("size")); err == nil {
			text = strings.Repeat("0123456789", n/10)
		}
		if strings.HasPrefix(r.URL.Path, "/logged") {
			text = name + text
		}
		if r.URL.Query().Has("hint") {
			w.WriteHeader(http.StatusEarlyHints)
		}
		if !r.URL.Query().Has("chunked") {
			w.Header().Set("Content-Length", strconv.Itoa(len(text)))
		}
		io.WriteString(w, text)
	})
	return s
}

func (s *site) then(do func(w http.ResponseWriter, r *http.Request) bool) { s.do.Store(&do) }

// newTwoSites returns a pair of which each host has an upstream of its own.
func newTwoSites(t testing.TB, cfg Config) (executor, standby *host, a, b *site) {
	a, b = newSite(t, "a"), newSite(t, "b")
	if cfg.Shadow = true; cfg.Mode == nil {
		cfg.Mode = both
	}
	cfg.Upstream = b.at
	standby = newHost(t, cfg, Standby, &link{})
	cfg.Upstream = a.at
	return newHost(t, cfg, Executor, &link{peer: standby.Server}), standby, a, b
}

func get(path string) []byte { return []byte("GET " + path + " HTTP/1.1\r\nHost: shop\r\n\r\n") }

// replies parses what a host wrote.
func replies(t *testing.T, text string, methods ...string) (all []*http.Response, bodies []string) {
	t.Helper()
	br := bufio.NewReader(strings.NewReader(text))
	for i := range max(1, len(methods)) {
		q := &http.Request{Method: "GET"}
		if i < len(methods) {
			q.Method = methods[i]
		}
		resp, err := http.ReadResponse(br, q)
		for err == nil && resp.StatusCode < 200 {
			resp, err = http.ReadResponse(br, q)
		}
		if err != nil {
			t.Fatalf("reply %d: %v", i, err)
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatalf("reply %d: %v", i, err)
		}
		all, bodies = append(all, resp), append(bodies, string(body))
	}
	if rest, _ := io.ReadAll(br); len(rest) > 0 {
		t.Fatalf("%d bytes behind the replies: %.80q", len(rest), rest)
	}
	return all, bodies
}

// Replies of all shapes, on routes of both modes in turn: both hosts write the same bytes, the head is
// the executor's, and of what is the same on both no body went over.
func TestSame(t *testing.T) {
	executor, standby, a, b := newTwoSites(t, Config{Memory: 40_000})
	var mu sync.Mutex
	kinds := map[uint64][]replication.RecordKind{}
	executor.link.before = func(r Record) {
		mu.Lock()
		defer mu.Unlock()
		kinds[r.Index] = append(kinds[r.Index], r.Kind)
		if r.Kind == replication.KindSame && r.Size > 1000 {
			t.Errorf("a likeness of %d bytes", r.Size)
		}
	}
	w := newTwin(t, executor, standby)
	requests := []string{
		"GET /same/0 HTTP/1.1\r\nHost: shop\r\n\r\n",
		"GET /same/1?size=100000 HTTP/1.1\r\nHost: shop\r\n\r\n",
		"GET /logged/2 HTTP/1.1\r\nHost: shop\r\n\r\n",
		"HEAD /same/3 HTTP/1.1\r\nHost: shop\r\n\r\n",
		"POST /same/4?chunked HTTP/1.1\r\nHost: shop\r\nContent-Length: 5\r\n\r\nhello",
		"POST /logged/5 HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
		"PUT /same/6 HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
		"GET /same/7?hint HTTP/1.1\r\nHost: shop\r\n\r\n",
		"PUT /same/8 HTTP/1.1\r\nHost: shop\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello",
		"GET /same/9 HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n",
	}
	var methods []string
	for _, q := range requests {
		method, _, _ := strings.Cut(q, " ")
		methods = append(methods, method)
		w.write([]byte(q))
	}
	w.readers.Wait()
	if w.seen(0) != w.seen(1) {
		t.Fatalf("the hosts wrote\n%s\nand\n%s", w.seen(0), w.seen(1))
	}
	all, bodies := replies(t, w.seen(1), methods...)
	for i, resp := range all {
		if resp.Header.Get("Server") != "a" || resp.Header.Get("Date") != "Sun, 01 Nov 2026 00:00:01 GMT" {
			t.Errorf("reply %d is not the executor's: %v", i, resp.Header)
		}
		if methods[i] != "HEAD" && i != 1 && !strings.Contains(bodies[i], fmt.Sprintf("/%d\n", i)) {
			t.Errorf("reply %d is %q", i, bodies[i])
		}
	}
	if a.asks.Load() != 8 || b.asks.Load() != 8 {
		t.Errorf("the upstreams were asked %d and %d times", a.asks.Load(), b.asks.Load())
	}
	mu.Lock()
	defer mu.Unlock()
	for i, q := range requests {
		last := kinds[uint64(i)][len(kinds[uint64(i)])-1]
		if (last == replication.KindSame) != strings.Contains(q, "/same") {
			t.Errorf("exchange %d has records %v", i, kinds[uint64(i)])
		}
	}
	for _, h := range []*host{executor, standby} {
		for _, e := range h.Ledger(false, 0).Exchanges {
			if want := both("", e.Path); e.Mode != want || e.Bytes == 0 || e.Status != 200 {
				t.Errorf("%+v, want mode %s", e, want)
			}
		}
	}
	if st := executor.Stats(); st.Delivered != 10 || st.SyncStatic != 8 || st.Unlike != 0 {
		t.Errorf("executor %+v", st)
	}
	if st := standby.Stats(); st.Mirrored != 8 || st.Differed != 0 || st.Failed != 0 || st.Held != 0 {
		t.Errorf("standby %+v", st)
	}
}

// Whatever is wrong with the standby's reply, the executor's is stored before it goes out, and the
// connection's next exchange is in step again.
func TestUnlike(t *testing.T) {
	other := func(text string, status int) func(w http.ResponseWriter, r *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			w.WriteHeader(status)
			io.WriteString(w, text)
			return true
		}
	}
	own := strings.Repeat("/same/x\n", 8)
	for name, do := range map[string]func(w http.ResponseWriter, r *http.Request) bool{
		"another body":   other("y"+own[1:], 200),
		"last byte":      other(own[:len(own)-1]+"x", 200),
		"shorter":        other(own[1:], 200),
		"another status": other(own, 203),
		"too long":       other(strings.Repeat("x", 200_000), 200),
		"cut":            func(http.ResponseWriter, *http.Request) bool { panic(http.ErrAbortHandler) },
		"slow": func(_ http.ResponseWriter, r *http.Request) bool {
			select {
			case <-r.Context().Done():
			case <-time.After(patience):
			}
			return true
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			executor, standby, _, b := newTwoSites(t, Config{MaxReply: 100_000, AgreeWithin: 100 * time.Millisecond})
			b.then(do)
			w := newTwin(t, executor, standby)
			w.write(get("/same/x"))
			eventually(t, "the reply", func() bool { return executor.Stats().Delivered == 1 })
			if st := executor.Stats(); st.Unlike != 1 || st.SyncStatic != 0 {
				t.Errorf("%+v", st)
			}
			b.then(func(http.ResponseWriter, *http.Request) bool { return false })
			executor.sulking.Store(0)
			w.write([]byte("GET /same/x HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n"))
			w.readers.Wait()
			if w.seen(0) != w.seen(1) {
				t.Fatalf("the hosts wrote\n%s\nand\n%s", w.seen(0), w.seen(1))
			}
			if _, bodies := replies(t, w.seen(1), "GET", "GET"); bodies[0] != own || bodies[1] != own {
				t.Errorf("%q", bodies)
			}
			if st := executor.Stats(); st.Unlike != 1 || st.SyncStatic != 1 {
				t.Errorf("%+v", st)
			}
			e := executor.Ledger(false, 0).Exchanges
			if len(e) != 2 || e[0].Mode != config.Logged || e[1].Mode != config.SyncStatic {
				t.Errorf("%+v", e)
			}
		})
	}
}

// A standby that has not got the request yet is not waited for beyond the limit, nor asked again for a
// while.
func TestLateStandby(t *testing.T) {
	executor, standby, _, b := newTwoSites(t, Config{AgreeWithin: 50 * time.Millisecond})
	w := newTwin(t, executor, standby)
	began := time.Now()
	w.a.Write(get("/same/0"))
	w.a.Write(get("/same/1"))
	eventually(t, "the replies", func() bool { return executor.Stats().Delivered == 2 })
	t.Logf("after %v", time.Since(began))
	if st := executor.Stats(); st.Unlike != 2 || b.asks.Load() != 0 {
		t.Errorf("%+v", st)
	}
	executor.sulking.Store(0)
	w.b.Write(get("/same/0"))
	w.b.Write(get("/same/1"))
	w.write([]byte("GET /same/2 HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n"))
	w.readers.Wait()
	if w.seen(0) != w.seen(1) {
		t.Fatalf("the hosts wrote\n%s\nand\n%s", w.seen(0), w.seen(1))
	}
	if st := executor.Stats(); st.SyncStatic != 1 {
		t.Errorf("%+v", st)
	}
}

// The executor is killed at each step of a series that mixes modes and upstreams that differ now and
// then: the standby goes on with the very bytes, and each request has one whole reply of one host.
func TestKillSyncStatic(t *testing.T) {
	for round := range 40 {
		t.Run(strconv.Itoa(round), func(t *testing.T) {
			t.Parallel()
			killSyncStatic(t, round)
		})
	}
}

func killSyncStatic(t *testing.T, round int) {
	rnd := rand.New(rand.NewPCG(uint64(round), 5))
	executor, standby, _, b := newTwoSites(t, Config{Memory: 8000, AgreeWithin: 30 * time.Millisecond})
	b.then(func(w http.ResponseWriter, r *http.Request) bool {
		switch rand.IntN(6) { // the handlers run at the same time
		case 0:
			io.WriteString(w, "b: "+r.URL.Path+"\n")
			return true
		case 1:
			time.Sleep(10 * time.Millisecond)
		}
		return false
	})
	const exchanges = 12
	var paths []string
	for i := range exchanges {
		path := fmt.Sprintf("/same/%d", i)
		switch rnd.IntN(4) {
		case 0:
			path = fmt.Sprintf("/logged/%d", i)
		case 1:
			path += "?size=30000"
		}
		paths = append(paths, path)
	}
	reached, records, at := make(chan struct{}), 0, rnd.IntN(exchanges*3/2)
	executor.link.before = func(r Record) {
		if records == at {
			if rnd.IntN(2) == 0 {
				executor.link.cut.Store(true) // before it is there
			} else {
				time.AfterFunc(time.Duration(rnd.IntN(2000))*time.Microsecond, func() { executor.link.cut.Store(true) })
			}
			close(reached)
		}
		records++
	}
	all, bodies := newTwin(t, executor, standby).survives(t, paths, reached, func() { kill(executor, standby) })
	for i, resp := range all {
		path, _, sized := strings.Cut(paths[i], "?")
		want, from := strings.Repeat(path+"\n", 1+len(path)), resp.Header.Get("Server")
		switch {
		case sized:
			want = strings.Repeat("0123456789", 3000)
		case strings.HasPrefix(path, "/logged"):
			want = from + want
		}
		if bodies[i] == "b: "+path+"\n" && from == "" { // the survivor's upstream said so
			continue
		}
		if bodies[i] != want {
			t.Errorf("reply %d of %s is %.80q", i, from, bodies[i])
		}
	}
	if st := standby.Stats(); st.Failed != 0 {
		t.Errorf("%+v", st)
	}
}

// The backup dies: its part is not missed, and its upstream is not asked any more.
func TestKillMirroringStandby(t *testing.T) {
	executor, standby, a, b := newTwoSites(t, Config{AgreeWithin: patience})
	asked := make(chan struct{}, 1)
	b.then(func(_ http.ResponseWriter, r *http.Request) bool {
		asked <- struct{}{}
		<-r.Context().Done()
		return true
	})
	w := newTwin(t, executor, standby)
	w.write(get("/same/0"))
	<-asked
	executor.link.alone.Store(true)
	standby.Abort()
	w.a.Write([]byte("GET /same/1 HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n"))
	w.readers.Wait()
	if _, bodies := replies(t, w.seen(0), "GET", "GET"); !strings.Contains(bodies[1], "/same/1") {
		t.Errorf("%q", bodies)
	}
	if a.asks.Load() != 2 || b.asks.Load() != 1 {
		t.Errorf("asked %d and %d", a.asks.Load(), b.asks.Load())
	}
}

// The executor's part goes back and forth, and each host mirrors in its turn.
func TestSameHandOver(t *testing.T) {
	executor, standby, _, _ := newTwoSites(t, Config{})
	standby.link.peer = executor.Server
	w := newTwin(t, executor, standby)
	for i := range 6 {
		w.write(get(fmt.Sprintf("/same/%d", i)))
		eventually(t, "the reply", func() bool {
			return executor.Stats().Delivered+standby.Stats().Delivered == uint64(i+1) && w.seen(0) == w.seen(1)
		})
		handOver(t, i, executor, standby)
	}
	w.write([]byte("GET /same/6 HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n"))
	w.readers.Wait()
	if w.seen(0) != w.seen(1) {
		t.Error("the hosts differ")
	}
	a, b := executor.Stats(), standby.Stats()
	if a.SyncStatic+b.SyncStatic != 7 || a.Mirrored+b.Mirrored != 7 || a.Mirrored == 0 || b.Mirrored == 0 {
		t.Errorf("%+v\n%+v", a, b)
	}
}

func FuzzLikeness(f *testing.F) {
	f.Add([]byte(strings.Repeat("x", 32) + "\x00\x00\x00\x00\x00\x00\x00\x05HTTP/1.1 200 OK\r\n\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if l, err := parseLikeness(b); err == nil && (l.size < 0 || len(l.head)+sameFixed != len(b)) {
			t.Errorf("%+v", l)
		}
	})
}
