package proxy

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ftgw/ftgw/replication"
	"github.com/ftgw/ftgw/rewrite"
)

// failing is how an upstream fails a request.
type failing func(http.ResponseWriter, *http.Request)

// raw sends text and closes.
func raw(text string) failing {
	return func(w http.ResponseWriter, _ *http.Request) {
		c, _, err := w.(http.Hijacker).Hijack()
		if err == nil {
			io.WriteString(c, text)
			c.Close()
		}
	}
}

func hang(_ http.ResponseWriter, r *http.Request) {
	io.Copy(io.Discard, r.Body)
	<-r.Context().Done()
}

var failures = map[string]failing{
	"no reply":      raw(""),
	"malformed":     raw("HTTP/1.1 2OO OK\r\n\r\n"),
	"cut":           raw("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345"),
	"cut in chunks": raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n"),
	"hint then cut": raw("HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Le"),
	"hung":          hang,
}

// fails makes an upstream fail the requests that which names, after they were noted.
func (w *web) fails(how failing, which func(tx string, n int) bool) *web {
	good := w.Config.Handler
	asked := map[string]int{}
	var mu sync.Mutex
	w.Config.Handler = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		id := r.Header.Get("Idempotency-Key")
		mu.Lock()
		asked[id]++
		n := asked[id]
		mu.Unlock()
		if !which(id, n) {
			good.ServeHTTP(rw, r)
			return
		}
		w.mu.Lock()
		w.executed[id]++
		w.attempts[id] = max(w.attempts[id], r.Header.Get("Ftgw-Attempt"))
		w.mu.Unlock()
		how(rw, r)
	})
	return w
}

// asked returns how often a request was executed, and the highest attempt.
func (w *web) asked(tx string) (int, string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.executed[tx], w.attempts[tx]
}

func always(string, int) bool { return true }

func once(_ string, n int) bool { return n == 1 }

// newMovers returns a pair whose hosts have upstreams of their own and store on each other.
func newMovers(t testing.TB, upA, upB string) (a, b *host) {
	b = newHost(t, Config{Upstream: upB, Memory: 64 << 10, MayMove: all}, Standby, &link{})
	a = newHost(t, Config{Upstream: upA, Memory: 64 << 10, MayMove: all, Connect: connector(t, upA, 300*time.Millisecond)},
		Executor, &link{peer: b.Server})
	b.link.peer = a.Server
	return a, b
}

const refused = "127.0.0.1:1"

const postHello = "POST /0? HTTP/1.1\r\nHost: shop\r\nContent-Length: 5\r\n\r\nhello"

// Whatever way the upstream fails, the peer's makes the reply; the client's requests that come
// after it are the peer's, too.
func TestExchangeMoves(t *testing.T) {
	const series = "GET /0?x HTTP/1.1\r\nHost: shop\r\n\r\n" +
		"POST /1?x HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n" +
		"PUT /2?hint HTTP/1.1\r\nHost: shop\r\nExpect: 100-continue\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello"
	for name, how := range failures {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			up := newWeb(t)
			a, b := newMovers(t, newWeb(t).fails(how, always).addr(), up.addr())
			w := newTwin(t, a, b)
			w.write([]byte(series))
			w.check(t, up, []string{"GET", "POST", "PUT"}, nil)
			if sa := w.seen(0); sa != w.seen(1) {
				t.Errorf("the hosts wrote %q and %q", sa, w.seen(1))
			}
			for i, want := range []string{"2", "1", "1"} {
				if _, attempt := up.asked(transactionID(w.id, uint64(i))); attempt != want {
					t.Errorf("request %d: attempt %s", i, attempt)
				}
			}
			if sa, sb := a.Stats(), b.Stats(); sa.Moved != 1 || sa.Failed != 0 || sb.Delivered != 3 || sb.Moved != 0 {
				t.Errorf("a %+v, b %+v", sa, sb)
			}
			first := a.Ledger(false, 0).Exchanges[0]
			if first.Outcome != Moved || first.Executed != Peer || first.Path != "/0" || first.Attempt != 1 {
				t.Errorf("ledger: %+v", first)
			}
			if e := b.Ledger(false, 0).Exchanges[0]; e.Outcome != Delivered || e.Attempt != 2 {
				t.Errorf("the peer's ledger: %+v", e)
			}
		})
	}
}

// What the client was told already, 100 and 103, it is not told again.
func TestMoveRepeatsNoInterim(t *testing.T) {
	up := newWeb(t)
	a, b := newMovers(t, newWeb(t).fails(failures["hint then cut"], always).addr(), up.addr())
	w := newTwin(t, a, b)
	w.write([]byte("PUT /0?hint HTTP/1.1\r\nHost: shop\r\nExpect: 100-continue\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello"))
	w.check(t, up, []string{"PUT"}, nil)
	out := w.seen(0)
	if strings.Count(out, "100 Continue") != 1 || strings.Count(out, "103 Early Hints") != 1 || out != w.seen(1) {
		t.Errorf("%q, %q", out, w.seen(1))
	}
}

// A body on disk that the upstream has not read when it fails.
func TestUploadMoves(t *testing.T) {
	up := newWeb(t)
	a, b := newMovers(t, newWeb(t).fails(raw(""), always).addr(), up.addr())
	w := newTwin(t, a, b)
	body := strings.Repeat("0123456789abcdef", 1<<16)
	w.write(fmt.Appendf(nil, "POST /0? HTTP/1.1\r\nHost: shop\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", len(body), body))
	w.check(t, up, []string{"POST"}, nil)
	if !strings.Contains(w.seen(1), fmt.Sprintf("size=%d", len(body))) {
		t.Errorf("%q", w.seen(1))
	}
}

// status reads one reply's status and drops its body.
func status(t *testing.T, br *bufio.Reader) int {
	t.Helper()
	resp, err := http.ReadResponse(br, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode
}

// statuses waits for the end of a twin's connections and returns what one of the hosts answered.
func (w *twin) statuses(t *testing.T, of, n int) (all []int) {
	t.Helper()
	done := make(chan struct{})
	go func() { w.readers.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(patience):
		t.Fatal("the connections do not end")
	}
	br := bufio.NewReader(strings.NewReader(w.seen(of)))
	for range n {
		all = append(all, status(t, br))
	}
	return all
}

// Where both upstreams fail, each is asked once for each request: nothing goes in circles.
func TestMovesOnce(t *testing.T) {
	upA, upB := newWeb(t).fails(failures["malformed"], always), newWeb(t).fails(failures["malformed"], always)
	a, b := newMovers(t, upA.addr(), upB.addr())
	w := newTwin(t, a, b)
	for i := range 4 {
		w.write(fmt.Appendf(nil, "GET /%d HTTP/1.1\r\nHost: shop\r\n\r\n", i))
	}
	w.write([]byte(getClose))
	if got := w.statuses(t, 1, 5); fmt.Sprint(got) != "[502 502 502 502 502]" {
		t.Error(got)
	}
	for i := range uint64(5) {
		tx := transactionID(w.id, i)
		na, _ := upA.asked(tx)
		nb, _ := upB.asked(tx)
		if na != 1 || nb != 1 {
			t.Errorf("request %d: asked %d and %d times", i, na, nb)
		}
	}
	if sa, sb := a.Stats(), b.Stats(); sa.Moved != 3 || sb.Moved != 2 || sa.Failed+sb.Failed != 5 {
		t.Errorf("a %+v, b %+v", sa, sb)
	}
	for _, e := range a.Ledger(false, 0).Exchanges {
		if want := [...]Outcome{Moved, Refused}[e.Index%2]; e.Outcome != want {
			t.Errorf("%d: %v, want %v", e.Index, e.Outcome, want)
		}
	}
}

// An exchange that may not move, or that the peer does not take, is answered here at once, and
// its connection stays here.
func TestDoesNotMove(t *testing.T) {
	for _, name := range []string{"may not", "refused"} {
		t.Run(name, func(t *testing.T) {
			a, b := newMovers(t, refused, refused)
			failed := 0
			a.cfg.UpstreamFailed = func(error) { failed++ }
			// A reply of a lone host need not be stored.
			a.Server.log = logFunc(func(r Record, store func() error) error {
				if r.Kind == replication.KindMove {
					return store()
				}
				return nil
			}).over(a.link)
			if name == "may not" {
				a.cfg.MayMove = func(rewrite.FlowID) bool { return false }
			}
			c, id := a.dial(t)
			other, _ := b.dial(t, id)
			br := bufio.NewReader(c)
			eventually(t, "accepted", func() bool { return b.Stats().Open == 1 })
			if name == "refused" {
				b.Promote(all)()
			}
			for i := range 3 {
				io.WriteString(c, postHello)
				if got := status(t, br); got != 502 {
					t.Fatalf("request %d: %d", i, got)
				}
			}
			if st := a.Stats(); st.Moved != 0 || st.Failed != 3 || failed != 3 {
				t.Errorf("%+v, %d told", st, failed)
			}
			book := a.Ledger(false, 0).Exchanges
			if len(book) != 3 || book[1].Outcome != Refused || book[1].Attempt != 1 {
				t.Errorf("%+v", book)
			}
			other.Close()
		})
	}
}

// The peer dies with an exchange that has moved there: before it has it, right after, while it
// executes it, or when the reply is not stored yet. It is executed here again.
func TestPeerDiesAfterMove(t *testing.T) {
	for _, when := range []string{"offered", "taken", "under way", "replying"} {
		t.Run(when, func(t *testing.T) {
			upA := newWeb(t).fails(raw(""), once)
			upB := newWeb(t).fails(hang, func(string, int) bool { return when == "under way" })
			a, b := newMovers(t, upA.addr(), upB.addr())
			die := make(chan struct{})
			var dying sync.Once
			dies := func() { dying.Do(func() { close(die) }) }
			a.Server.log = logFunc(func(r Record, store func() error) error {
				if r.Kind != replication.KindMove || when != "offered" && when != "taken" {
					return store()
				}
				if when == "taken" {
					store()
				}
				dies()
				eventually(t, "promoted", func() bool { return a.anyPromoted() })
				return ErrNotHeld
			}).over(a.link)
			b.link.before = func(r Record) {
				if r.Kind == replication.KindReply && when != "under way" {
					b.link.cut.Store(true)
					dies()
				}
			}
			w := newTwin(t, a, b)
			w.write([]byte(postHello + getClose))
			if when == "under way" {
				eventually(t, "asked there", func() bool { return b.Stats().Inflight == 1 && a.Stats().Moved == 1 })
				if st := a.Stats(); st.Held != 1 {
					t.Errorf("%+v", st)
				}
				dies()
			}
			<-die
			a.link.alone.Store(true)
			kill(b, a)
			if got := fmt.Sprint(w.statuses(t, 0, 2)); got != "[200 200]" {
				t.Error(got)
			}
			if n, attempt := upA.asked(transactionID(w.id, 0)); n != 2 || attempt != "3" {
				t.Errorf("executed %d times, attempt %s", n, attempt)
			}
			if e := a.Ledger(true, 0).Exchanges[0]; e.Outcome != Reexecuted || e.Attempt != 3 {
				t.Errorf("%+v", e)
			}
		})
	}
}

func (s *Server) anyPromoted() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.table {
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.promoted
	}
	return false
}

// After the peer's death the exchange that came back moves no more, though it could.
func TestMovesOnceAcrossTakeover(t *testing.T) {
	upA, upB := newWeb(t).fails(raw(""), always), newWeb(t).fails(hang, always)
	a, b := newMovers(t, upA.addr(), upB.addr())
	w := newTwin(t, a, b)
	w.write([]byte(postHello))
	eventually(t, "asked there", func() bool { return b.Stats().Inflight == 1 && a.Stats().Moved == 1 })
	a.link.alone.Store(true)
	kill(b, a)
	eventually(t, "answered", func() bool { return strings.Contains(w.seen(0), "502 Bad Gateway") })
	if n, _ := upA.asked(transactionID(w.id, 0)); n != 2 || a.Stats().Moved != 1 {
		t.Errorf("moved %d times, asked %d times", a.Stats().Moved, n)
	}
}

// While the peer executes what has moved to it, the voice and then the executor's part of the flow go
// back and forth: when the peer's upstream fails as well, that is the end of it.
func TestMovesOnceAcrossSwitchover(t *testing.T) {
	only := func() func(string, int) bool {
		var asked atomic.Int32
		return func(string, int) bool { return asked.Add(1) == 1 }
	}
	upA := newWeb(t).fails(raw(""), only())
	release := make(chan struct{})
	upB := newWeb(t).fails(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		<-release
		raw("")(w, r)
	}, only())
	a, b := newMovers(t, upA.addr(), upB.addr())
	w := newTwin(t, a, b)
	w.write([]byte(postHello))
	eventually(t, "asked there", func() bool { return b.Stats().Inflight == 1 && a.Stats().Moved == 1 })
	for range 2 {
		if n := len(a.Yield(all)); n != 0 {
			t.Errorf("the old host executes %d flows", n)
		}
		b.Take(func(rewrite.FlowID) bool { return true })
		if n := len(b.Yield(all)); n != 1 {
			t.Errorf("the new host executes %d flows", n)
		}
		a.Take(func(rewrite.FlowID) bool { return false })
	}
	close(release)
	eventually(t, "answered", func() bool { return strings.HasPrefix(w.seen(0), "HTTP/1.1 502") })
	eventually(t, "handed over at the boundary", func() bool { return a.Executing() == 1 && b.Executing() == 0 })
	w.write([]byte(getClose))
	if got := fmt.Sprint(w.statuses(t, 1, 2)); got != "[502 200]" {
		t.Error(got)
	}
	na, _ := upA.asked(transactionID(w.id, 0))
	nb, _ := upB.asked(transactionID(w.id, 0))
	if na != 1 || nb != 1 || a.Stats().Moved+b.Stats().Moved != 1 {
		t.Errorf("asked %d and %d times", na, nb)
	}
}

// A switchover in the very moment of a move: the peer that takes the voice waits for the record.
func TestVoiceMovesDuringMove(t *testing.T) {
	for _, taken := range []bool{true, false} {
		up := newWeb(t)
		a, b := newMovers(t, newWeb(t).fails(raw(""), once).addr(), up.addr())
		a.Server.log = logFunc(func(r Record, store func() error) error {
			if r.Kind != replication.KindMove {
				return store()
			}
			begun := a.Yield(all)
			if len(begun) != 1 {
				t.Errorf("%d flows are said to be executed here", len(begun))
			}
			b.Take(func(rewrite.FlowID) bool { return false })
			if !taken {
				return ErrNotHeld
			}
			return store()
		}).over(a.link)
		w := newTwin(t, a, b)
		w.write([]byte(postHello))
		eventually(t, "answered", func() bool { return strings.HasPrefix(w.seen(1), "HTTP/1.1") })
		w.write([]byte(getClose))
		want := "[200 200]"
		if !taken {
			want = "[502 200]"
		}
		if got := fmt.Sprint(w.statuses(t, 1, 2)); got != want {
			t.Errorf("%s, want %s", got, want)
		}
		if n, _ := up.asked(transactionID(w.id, 1)); n != 1 {
			t.Error("the second request is not the peer's")
		}
	}
}

// Upstreams that fail some requests the first time that either is asked for them, while the
// executor's part goes back and forth and, in half of the rounds, one host dies: every request has
// one whole reply.
func TestMovesAtAnyInstant(t *testing.T) {
	ways := []failing{raw(""), failures["malformed"], failures["hint then cut"]}
	for round := range 30 {
		t.Run(fmt.Sprint(round), func(t *testing.T) {
			t.Parallel()
			rnd := rand.New(rand.NewPCG(uint64(round), 5))
			var mu sync.Mutex
			asked := map[string]int{} // of both
			var dead atomic.Bool
			first := func(tx string, _ int) bool {
				mu.Lock()
				defer mu.Unlock()
				asked[tx]++
				return !dead.Load() && asked[tx] == 1 && tx[0] < '8'
			}
			how := ways[round%len(ways)]
			a, b := newMovers(t, newWeb(t).fails(how, first).addr(), newWeb(t).fails(how, first).addr())
			w := newTwin(t, a, b)
			raw, methods := series(rnd, 12)
			delay := time.Duration(rnd.IntN(40)) * time.Millisecond
			var sent sync.WaitGroup
			sent.Go(func() {
				for chunk := range chunks(rnd, raw) {
					w.write(chunk)
				}
			})
			ended := make(chan struct{})
			go func() { w.readers.Wait(); close(ended) }()
			dies := time.NewTimer(time.Hour)
			if round%2 == 1 {
				dies.Reset(delay)
			}
			for over := false; !over; {
				select {
				case <-ended:
					over = true
				case <-dies.C:
					dead.Store(true)
					b.link.alone.Store(true)
					kill(a, b)
				case <-time.After(time.Millisecond):
					if !dead.Load() {
						a.Yield(all)
						b.Yield(all)
					}
				}
			}
			sent.Wait()
			br := bufio.NewReader(strings.NewReader(w.seen(1)))
			for i, method := range methods {
				resp, err := http.ReadResponse(br, &http.Request{Method: method})
				for err == nil && resp.StatusCode < 200 {
					resp, err = http.ReadResponse(br, &http.Request{Method: method})
				}
				if err == nil {
					_, err = io.ReadAll(resp.Body)
				}
				if err != nil || resp.StatusCode != 200 {
					t.Fatalf("reply %d of %d: %+v, %v", i, len(methods), resp, err)
				}
				if tx := transactionID(w.id, uint64(i)); resp.Header.Get("X-Tx") != tx || asked[tx] > 3 {
					t.Fatalf("reply %d of %d: %+v, asked %d times", i, len(methods), resp, asked[tx])
				}
			}
			t.Logf("moved %d and %d times", a.Stats().Moved, b.Stats().Moved)
		})
	}
}
