package proxy

import (
	"fmt"
	"io"
	"log/slog"
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

// Static replies go out though the standby's web server has not answered, and what is stored comes
// after them; in the end both hosts have written the same.
func TestStatic(t *testing.T) {
	executor, standby, a, b := newTwoSites(t, Config{Memory: 40_000})
	gate := make(chan struct{})
	b.then(func(http.ResponseWriter, *http.Request) bool { <-gate; return false })
	open := sync.OnceFunc(func() { close(gate) })
	defer open()
	var mu sync.Mutex
	var kinds []replication.RecordKind
	executor.link.before = func(r Record) {
		mu.Lock()
		defer mu.Unlock()
		kinds = append(kinds, r.Kind)
	}
	w := newTwin(t, executor, standby)
	for i := range maxBehind {
		w.write(get(fmt.Sprintf("/static/%d?size=%d", i, 10+i*20_000)))
	}
	eventually(t, "replies", func() bool { return executor.Stats().Static == maxBehind })
	if st := standby.Stats(); st.Mirrored != 0 || len(w.seen(1)) > 0 {
		t.Errorf("%+v", st)
	}
	w.write(get("/static/8"))
	w.write(get("/logged/9"))
	w.write(get("/same/10"))
	w.write([]byte("HEAD /static/11 HTTP/1.1\r\nHost: shop\r\n\r\n"))
	w.write([]byte("GET /static/12 HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n"))
	time.Sleep(20 * time.Millisecond) // a ninth would have gone out by then
	if st := executor.Stats(); st.Delivered != maxBehind {
		t.Errorf("%+v", st)
	}
	open()
	w.readers.Wait()
	if w.seen(0) != w.seen(1) {
		t.Fatalf("the hosts wrote\n%.2000s\nand\n%.2000s", w.seen(0), w.seen(1))
	}
	methods := strings.Fields("GET GET GET GET GET GET GET GET GET GET GET HEAD GET")
	all, bodies := replies(t, w.seen(1), methods...)
	for i, resp := range all {
		if _, dated := resp.Header["Date"]; dated == (i != 9 && i != 10) {
			t.Errorf("reply %d: %v", i, resp.Header)
		}
		if i < maxBehind && len(bodies[i]) != 10+i*20_000 {
			t.Errorf("reply %d has %d bytes", i, len(bodies[i]))
		}
	}
	mu.Lock()
	defer mu.Unlock()
	for i, kind := range kinds {
		if want := map[bool]replication.RecordKind{true: replication.KindReply, false: replication.KindSame}[i == 9]; kind != want {
			t.Errorf("records %v", kinds)
			break
		}
	}
	if st := executor.Stats(); st.Static != 11 || st.SyncStatic != 1 || st.Delivered != 13 || st.Unlike != 0 {
		t.Errorf("%+v", st)
	}
	if st := standby.Stats(); st.Mirrored != 12 || a.asks.Load() != 12 || b.asks.Load() != 12 {
		t.Errorf("%+v", st)
	}
}

// While the peer may have claimed, a static reply waits for its answer.
func TestStaticInDoubt(t *testing.T) {
	var sure atomic.Bool
	executor, standby, _, b := newTwoSites(t, Config{MayOutrun: sure.Load})
	gate := make(chan struct{})
	b.then(func(http.ResponseWriter, *http.Request) bool { <-gate; return false })
	open := sync.OnceFunc(func() { close(gate) })
	defer open()
	asked := make(chan struct{})
	var once sync.Once
	executor.link.before = func(Record) { once.Do(func() { close(asked) }) }
	w := newTwin(t, executor, standby)
	w.write(get("/static/0"))
	<-asked
	time.Sleep(20 * time.Millisecond) // it would have gone out by then
	if got := w.seen(0); got != "" {
		t.Errorf("%q went out", got)
	}
	open()
	eventually(t, "the reply", func() bool { return executor.Stats().Static == 1 && standby.Stats().Mirrored == 1 })
	sure.Store(true)
	w.write([]byte("GET /static/1 HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n"))
	w.readers.Wait()
	if w.seen(0) != w.seen(1) || executor.Stats().Static != 2 {
		t.Errorf("the hosts wrote\n%s\nand\n%s", w.seen(0), w.seen(1))
	}
}

// words collects what is logged.
type words struct {
	mu   sync.Mutex
	text strings.Builder
}

func (w *words) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.Write(b)
}

func (w *words) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String()
}

// A reply that differs is found out, stored, and costs its route the mode on both hosts; one that fails
// is stored, and that is all.
func TestStaticDiffers(t *testing.T) {
	for _, tt := range []struct {
		name, says string
		do         func(w http.ResponseWriter, r *http.Request) bool
		demoted    bool
	}{
		{"header", `heads differ in field \"X-Secret\"`, func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("X-Secret", "hidden")
			return false
		}, true},
		{"more headers", "there", func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("X-A", "hidden")
			return false
		}, true},
		{"body", "bodies of 70 bytes differ", func(w http.ResponseWriter, r *http.Request) bool {
			w.Header().Set("X-Secret", "a")
			w.Header().Set("Content-Length", "70")
			io.WriteString(w, strings.Repeat("/static/y\n", 7))
			return true
		}, true},
		{"status", "status 404", func(w http.ResponseWriter, r *http.Request) bool {
			w.WriteHeader(404)
			return true
		}, true},
		{"failure", "", func(http.ResponseWriter, *http.Request) bool { panic(http.ErrAbortHandler) }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var log words
			var told atomic.Int64
			executor, standby, a, b := newTwoSites(t, Config{Demoted: func(int) { told.Add(1) }, Log: slog.New(slog.NewTextHandler(&log, nil)),
				Routes: []string{"/static/", "/other/"}, Route: func(_, path string) int { return strings.Index(path, "/static/") }})
			a.then(func(w http.ResponseWriter, r *http.Request) bool {
				w.Header().Set("X-Secret", "a")
				w.Header().Set("Content-Length", "70")
				io.WriteString(w, strings.Repeat("/static/x\n", 7))
				return true
			})
			b.then(tt.do)
			w := newTwin(t, executor, standby)
			w.write(get("/static/x"))
			eventually(t, "it is stored", func() bool { return executor.Stats().Unlike == 1 && w.seen(1) != "" })
			b.then(*a.do.Load())
			w.write([]byte("GET /static/x HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n"))
			w.readers.Wait()
			if w.seen(0) != w.seen(1) {
				t.Fatalf("the hosts wrote\n%s\nand\n%s", w.seen(0), w.seen(1))
			}
			want := uint64(2)
			if tt.demoted {
				want = 1
			}
			if st := executor.Stats(); st.Static != want || st.Delivered != 2 || st.Unlike != 1 {
				t.Errorf("%+v", st)
			}
			for _, h := range []*host{executor, standby} {
				mode, _ := h.cfg().inForce("GET", "/static/x")
				r := h.Routes()
				if (mode == config.Logged) != tt.demoted || (r[0].Demoted != nil) != tt.demoted || r[1].Demoted != nil || told.Load() != map[bool]int64{true: 2}[tt.demoted] {
					t.Errorf("%s, %+v, told %d times", mode, r, told.Load())
				}
				if h.ResetRoute(1) || h.ResetRoute(7) || h.ResetRoute(0) != tt.demoted {
					t.Error("another route was reset than the one")
				}
				if mode, _ := h.cfg().inForce("GET", "/static/x"); mode != config.Static {
					t.Errorf("reset, it is %s", mode)
				}
			}
			if r := executor.Routes()[0].Replies; r[config.Static] != want || r[config.Logged] != 2-want {
				t.Errorf("%v", r)
			}
			if text := log.String(); !strings.Contains(text, tt.says) || strings.Contains(text, "hidden") || strings.Contains(text, "is logged from now on") != tt.demoted {
				t.Errorf("%s", text)
			}
		})
	}
}

// The executor is killed at any record of a series that mixes the modes: the web servers keep the
// promise, so the standby goes on with the very bytes.
func TestKillStatic(t *testing.T) {
	for round := range 40 {
		t.Run(strconv.Itoa(round), func(t *testing.T) {
			t.Parallel()
			killStatic(t, round)
		})
	}
}

func killStatic(t *testing.T, round int) {
	rnd := rand.New(rand.NewPCG(uint64(round), 6))
	executor, standby, _, b := newTwoSites(t, Config{Memory: 8000})
	b.then(func(http.ResponseWriter, *http.Request) bool {
		switch rand.IntN(8) {
		case 0:
			panic(http.ErrAbortHandler)
		case 1, 2:
			time.Sleep(3 * time.Millisecond)
		}
		return false
	})
	const exchanges = 14
	var paths []string
	for i := range exchanges {
		path := fmt.Sprintf("/static/%d", i)
		switch rnd.IntN(6) {
		case 0:
			path = fmt.Sprintf("/same/%d", i)
		case 1, 2:
			path += "?size=30000"
		}
		paths = append(paths, path)
	}
	reached, records, at := make(chan struct{}), 0, rnd.IntN(exchanges*5/4)
	executor.link.before = func(Record) {
		if records == at {
			executor.link.cut.Store(true)
			close(reached)
		}
		records++
	}
	_, bodies := newTwin(t, executor, standby).survives(t, paths, reached, func() {
		b.then(func(http.ResponseWriter, *http.Request) bool { return false })
		kill(executor, standby)
	})
	for i := range bodies {
		path, _, sized := strings.Cut(paths[i], "?")
		want := strings.Repeat(path+"\n", 1+len(path))
		if sized {
			want = strings.Repeat("0123456789", 3000)
		}
		if bodies[i] != want {
			t.Errorf("reply %d is %.80q", i, bodies[i])
		}
	}
}

// A handover waits for what the peer does not have yet, and each host mirrors in its turn.
func TestStaticHandOver(t *testing.T) {
	executor, standby, a, b := newTwoSites(t, Config{})
	standby.link.peer = executor.Server
	slow := func(http.ResponseWriter, *http.Request) bool {
		time.Sleep(time.Duration(rand.IntN(3000)) * time.Microsecond)
		return false
	}
	a.then(slow)
	b.then(slow)
	w := newTwin(t, executor, standby)
	for i := range 20 {
		w.write(get(fmt.Sprintf("/static/%d", i)))
		if i%3 == 2 {
			eventually(t, "replies", func() bool { return executor.Stats().Delivered+standby.Stats().Delivered == uint64(i+1) })
		}
		executor.Yield(all)
		standby.Yield(all)
	}
	w.write([]byte("GET /static/20 HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n"))
	w.readers.Wait()
	if w.seen(0) != w.seen(1) {
		t.Error("the hosts differ")
	}
	x, y := executor.Stats(), standby.Stats()
	if x.Static+y.Static != 21 || x.Mirrored+y.Mirrored != 21 || x.Mirrored == 0 || y.Mirrored == 0 {
		t.Errorf("%+v\n%+v", x, y)
	}
}

// A client cannot have other pages than its own executed on both hosts, nor cost a route its mode, by a path
// that begins like the route's and names them to a web server that resolves it.
func TestStaticStray(t *testing.T) {
	s := config.Service{Routes: []config.Route{{Path: "/static/", Mode: config.Static}}}
	executor, standby, a, b := newTwoSites(t, Config{Mode: s.Mode, Routes: []string{"/static/"}, Route: s.RouteIndex})
	for _, site := range []*site{a, b} {
		site.then(func(w http.ResponseWriter, r *http.Request) bool {
			if strings.Contains(r.URL.Path, "..") {
				io.WriteString(w, site.name)
				return true
			}
			return false
		})
	}
	w := newTwin(t, executor, standby)
	w.write(get("/static/../order"))
	w.write(get("/static/%2e%2e/order"))
	w.write([]byte("GET /static/1 HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n"))
	w.readers.Wait()
	if w.seen(0) != w.seen(1) || b.asks.Load() != 1 || executor.Routes()[0].Demoted != nil {
		t.Errorf("asked %d times, %+v; the hosts wrote\n%s\nand\n%s", b.asks.Load(), executor.Routes()[0], w.seen(0), w.seen(1))
	}
}
