package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
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
			a.cfg().UpstreamFailed = func(error) { failed++ }
			// A reply of a lone host need not be stored.
			a.Server.log = logFunc(func(r Record, store func() error) error {
				if r.Kind == replication.KindMove {
					return store()
				}
				return nil
			}).over(a.link)
			if name == "may not" {
				a.cfg().MayMove = func(rewrite.FlowID) bool { return false }
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
