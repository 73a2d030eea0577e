package proxy

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ftgw/ftgw/replication"
	"github.com/ftgw/ftgw/rewrite"
)

// twin is one client connection as the packet layer makes it: both kernels get the same bytes;
// both kernels' output is kept, to be compared.
type twin struct {
	id   rewrite.FlowID
	a, b *net.TCPConn // of the executor, of the standby
	from [2]struct {
		sync.Mutex
		bytes.Buffer
		err error
	}
	readers sync.WaitGroup
}

func newTwin(t testing.TB, executor, standby *host) *twin {
	w := &twin{}
	w.a, w.id = executor.dial(t)
	w.b, _ = standby.dial(t, w.id)
	for i, c := range []*net.TCPConn{w.a, w.b} {
		w.readers.Go(func() {
			buf := make([]byte, 32<<10)
			for {
				n, err := c.Read(buf)
				w.from[i].Lock()
				w.from[i].Write(buf[:n])
				w.from[i].err = err
				w.from[i].Unlock()
				if err != nil {
					return
				}
			}
		})
	}
	return w
}

func (w *twin) write(p []byte) {
	w.a.Write(p) // fails once the executor is dead
	w.b.Write(p)
}

func (w *twin) closeWrite() { w.a.CloseWrite(); w.b.CloseWrite() }

func (w *twin) seen(i int) string {
	w.from[i].Lock()
	defer w.from[i].Unlock()
	return w.from[i].String()
}

// kill ends the executor as a crash does, then has the standby take over.
func kill(executor, standby *host) {
	executor.link.cut.Store(true)
	executor.Abort()
	standby.packets.mu.Lock()
	standby.packets.duty = Executor // for what is accepted from now on
	standby.packets.mu.Unlock()
	standby.Promote(all)()
}

// series returns requests of all shapes; the last one closes.
func series(rnd *rand.Rand, n int) (raw []byte, methods []string) {
	var b bytes.Buffer
	for i := range n {
		method, path, extra, body := "GET", fmt.Sprintf("/%d?", i), "", ""
		switch rnd.IntN(9) {
		case 0:
			method, body = "POST", strings.Repeat("x", rnd.IntN(5000)+1)
			extra = fmt.Sprintf("Content-Length: %d\r\n", len(body))
		case 1:
			method, extra = "POST", "Transfer-Encoding: chunked\r\n"
			body = fmt.Sprintf("5\r\nhello\r\n%x\r\n%s\r\n0\r\n\r\n", 3000, strings.Repeat("y", 3000))
		case 2:
			path += fmt.Sprintf("size=%d", rnd.IntN(300000)+1)
		case 3:
			method = "HEAD"
		case 4:
			method, body, extra = "PUT", "hello", "Expect: 100-continue\r\nContent-Length: 5\r\n"
		case 5:
			path += "hint&sleep=1ms"
		case 6:
			path += "trailer"
		case 7:
			path += "sleep=3ms"
		}
		if i == n-1 {
			extra += "Connection: close\r\n"
		}
		fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: shop\r\n%s\r\n%s", method, path, extra, body)
		methods = append(methods, method)
	}
	return b.Bytes(), methods
}

// check verifies that the standby's whole output is one complete reply to each request, in
// order, begins with what the executor sent, and that nothing stored was executed again.
func (w *twin) check(t *testing.T, up *web, methods []string, stored map[uint64]bool) {
	t.Helper()
	done := make(chan struct{})
	go func() { w.readers.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(patience):
		t.Fatal("the connections do not end")
	}
	a, b := w.seen(0), w.seen(1)
	if !strings.HasPrefix(b, a) {
		t.Fatalf("the standby's output does not continue the executor's %d bytes", len(a))
	}
	br := bufio.NewReader(strings.NewReader(b))
	for i, method := range methods {
		resp, err := http.ReadResponse(br, &http.Request{Method: method})
		for err == nil && resp.StatusCode < 200 {
			resp, err = http.ReadResponse(br, &http.Request{Method: method})
		}
		if err != nil {
			t.Fatalf("reply %d of %d: %v", i, len(methods), err)
		}
		if _, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != 200 {
			t.Fatalf("reply %d: %s, %v", i, resp.Status, err)
		}
		tx := transactionID(w.id, uint64(i))
		if got := resp.Header.Get("X-Tx"); got != tx {
			t.Fatalf("reply %d is of another request: %s, not %s", i, got, tx)
		}
		up.mu.Lock()
		executed, attempt := up.executed[tx], up.attempts[tx]
		up.mu.Unlock()
		if executed < 1 || executed > 2 || executed > 1 && (stored[uint64(i)] || attempt != "2") {
			t.Errorf("request %d was executed %d times, stored %v, highest attempt %q", i, executed, stored[uint64(i)], attempt)
		}
	}
	if n := br.Buffered(); n > 0 {
		t.Errorf("%d bytes after the last reply", n)
	}
}

// recorder notes which replies a link has stored.
func (l *link) recorder() func() map[uint64]bool {
	var mu sync.Mutex
	var tried []uint64
	before := l.before
	l.before = func(r Record) {
		if before != nil {
			before(r)
		}
		mu.Lock()
		defer mu.Unlock()
		if r.Kind == replication.KindReply && !l.cut.Load() {
			tried = append(tried, r.Index)
		}
	}
	return func() map[uint64]bool {
		mu.Lock()
		defer mu.Unlock()
		m := map[uint64]bool{}
		for _, i := range tried[:max(0, len(tried)-1)] { // the last one may not have been committed
			m[i] = true
		}
		return m
	}
}

func TestKillAtAnyInstant(t *testing.T) {
	up := newWeb(t)
	rounds := 60
	if testing.Short() {
		rounds = 10
	}
	for round := range rounds {
		t.Run(fmt.Sprint(round), func(t *testing.T) {
			t.Parallel()
			rnd := rand.New(rand.NewPCG(uint64(round), 1))
			executor, standby := newPair(t, Config{Upstream: up.addr(), Memory: 64 << 10})
			stored := executor.link.recorder()
			w := newTwin(t, executor, standby)
			raw, methods := series(rnd, 12)
			delay := time.Duration(rnd.IntN(60)) * time.Millisecond
			var sent sync.WaitGroup
			sent.Go(func() {
				for chunk := range chunks(rnd, raw) {
					w.write(chunk)
				}
			})
			time.Sleep(delay)
			kill(executor, standby)
			sent.Wait()
			w.check(t, up, methods, stored())
			if n := standby.Stats().Reexecuted; n > 1 {
				t.Errorf("%d exchanges re-executed on one connection", n)
			}
		})
	}
}

func chunks(rnd *rand.Rand, raw []byte) func(func([]byte) bool) {
	return func(yield func([]byte) bool) {
		for len(raw) > 0 {
			n := min(len(raw), rnd.IntN(4000)+1)
			if !yield(raw[:n]) {
				return
			}
			raw = raw[n:]
			time.Sleep(time.Duration(rnd.IntN(2)) * time.Millisecond)
		}
	}
}

// TestKillAroundCommit kills the executor right before or right after a chosen record is
// stored, where it has not been written yet.
func TestKillAroundCommit(t *testing.T) {
	up := newWeb(t)
	for _, after := range []bool{false, true} {
		for victim := range int64(12) {
			t.Run(fmt.Sprintf("record %d, after %v", victim, after), func(t *testing.T) {
				t.Parallel()
				executor, standby := newPair(t, Config{Upstream: up.addr(), Memory: 32 << 10})
				var n atomic.Int64
				dead := make(chan struct{})
				executor.Server.log = logFunc(func(r Record, store func() error) error {
					mine := n.Add(1)-1 == victim
					if mine && !after {
						executor.link.cut.Store(true)
						close(dead)
						return errFenced
					}
					err := store()
					if mine {
						executor.link.cut.Store(true)
						close(dead)
						return errFenced // the crash comes before the write
					}
					return err
				}).over(executor.link)
				w := newTwin(t, executor, standby)
				raw, methods := series(rand.New(rand.NewPCG(uint64(victim), 2)), 12)
				w.write(raw)
				select {
				case <-dead:
				case <-time.After(patience):
					t.Fatal("the record never came")
				}
				kill(executor, standby)
				w.check(t, up, methods, nil)
			})
		}
	}
}

func TestHalfCloseAndCloseRecord(t *testing.T) {
	up := newWeb(t)
	executor, standby := newPair(t, Config{Upstream: up.addr()})
	w := newTwin(t, executor, standby)
	w.write([]byte("GET /?sleep=20ms HTTP/1.1\r\nHost: shop\r\n\r\n"))
	w.closeWrite()
	w.check(t, up, []string{"GET"}, nil)
	if a, b := w.seen(0), w.seen(1); a != b {
		t.Errorf("the hosts differ: %q, %q", a, b)
	}
	for _, h := range []*host{executor, standby} {
		eventually(t, "closed", func() bool { return h.Stats().Open == 0 })
	}
}

func TestRepliesBeforeAccept(t *testing.T) {
	up := newWeb(t)
	for _, promote := range []bool{false, true} {
		executor, standby := newPair(t, Config{Upstream: up.addr()})
		c, id := executor.dial(t)
		req := "GET /1 HTTP/1.1\r\nHost: shop\r\n\r\nPOST /2 HTTP/1.1\r\nHost: shop\r\nContent-Length: 3\r\n\r\nabc"
		io.WriteString(c, req)
		eventually(t, "two stored", func() bool { return executor.link.stored.Load() == 2 })
		if promote {
			kill(executor, standby)
		}
		if st := standby.Stats(); st.Early != 1 || st.Open != 0 {
			t.Errorf("%+v", st)
		}
		b, _ := standby.dial(t, id)
		io.WriteString(b, req) // all of it answered already
		br := bufio.NewReader(b)
		for _, want := range []string{"GET /1", "POST /2"} {
			readReply(t, br, want)
		}
		if !promote {
			eventually(t, "nothing held", func() bool { return standby.packets.got(id) == uint64(len(req)) })
			if st := standby.Stats(); st.Held != 0 || st.Standby != 1 {
				t.Errorf("%+v", st)
			}
			kill(executor, standby)
		}
		io.WriteString(b, "GET /3 HTTP/1.1\r\nHost: shop\r\n\r\n")
		readReply(t, br, "GET /3")
	}
}

func TestUploadAcrossTakeover(t *testing.T) {
	up := newWeb(t)
	executor, standby := newPair(t, Config{Upstream: up.addr(), Memory: 64 << 10})
	w := newTwin(t, executor, standby)
	body := bytes.Repeat([]byte("0123456789abcdef"), 1<<18)
	w.write(fmt.Appendf(nil, "POST /up?size=3000000 HTTP/1.1\r\nHost: shop\r\nConnection: close\r\nContent-Length: %d\r\n\r\n", len(body)))
	w.write(body[:len(body)/2])
	eventually(t, "half held", func() bool { return standby.packets.got(w.id) > uint64(len(body)/2) })
	kill(executor, standby)
	w.write(body[len(body)/2:])
	w.check(t, up, []string{"POST"}, nil)
	if n := standby.Stats().Reexecuted; n != 0 {
		t.Errorf("%d re-executed, but the request was not whole", n)
	}
}

func TestStoredReplyIsFinished(t *testing.T) {
	up := newWeb(t)
	executor, standby := newPair(t, Config{Upstream: up.addr(), Memory: 64 << 10})
	const size = 40 << 20 // more than all buffers hold
	a, id := executor.dial(t)
	b, _ := standby.dial(t, id)
	for _, c := range []*net.TCPConn{a, b} {
		fmt.Fprintf(c, "GET /?size=%d HTTP/1.1\r\nHost: shop\r\n\r\n", size)
	}
	eventually(t, "stored", func() bool { return executor.link.stored.Load() == 1 })
	kill(executor, standby)
	resp, err := http.ReadResponse(bufio.NewReader(b), nil)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := io.Copy(io.Discard, resp.Body); n != size || err != nil || resp.Header.Get("X-Execution") != "1" {
		t.Errorf("%d bytes, %v, execution %s", n, err, resp.Header.Get("X-Execution"))
	}
	eventually(t, "counted", func() bool { return standby.Stats().Replayed == 1 })
	if st := standby.Stats(); st.Reexecuted != 0 || st.Delivered != 0 {
		t.Errorf("%+v", st)
	}
}

func TestAbortIsSilentAndLasting(t *testing.T) {
	up := newWeb(t)
	executor, standby := newPair(t, Config{Upstream: up.addr()})
	w := newTwin(t, executor, standby)
	w.write([]byte("GET /?sleep=10s HTTP/1.1\r\nHost: shop\r\n\r\n"))
	eventually(t, "in flight", func() bool { return executor.Stats().Inflight == 1 })
	eventually(t, "held", func() bool { return standby.Stats().Held == 1 })
	start := time.Now()
	executor.Abort()
	standby.Abort()
	if d := time.Since(start); d > 5*time.Second {
		t.Errorf("took %v", d)
	}
	w.readers.Wait()
	for i := range w.from {
		if out := w.seen(i); out != "" {
			t.Errorf("sent %q", out)
		}
	}
	k, err := standby.OpenRecord(Record{RecordKey: replication.RecordKey{Flow: w.id, Index: 1, Kind: replication.KindClose}})
	if err == nil {
		t.Errorf("a record was taken for a dead flow: %v", k)
	}
	c, _ := executor.dial(t) // new connections are served
	executor.link.peer = nil
	io.WriteString(c, "GET /1 HTTP/1.1\r\nHost: shop\r\n\r\n")
	readReply(t, bufio.NewReader(c), "GET /1")
	c.Close()
}

func readReply(t *testing.T, br *bufio.Reader, want string) {
	t.Helper()
	resp, err := http.ReadResponse(br, nil)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil || !strings.Contains(string(body), want) {
		t.Fatalf("%s, %v; want %s", body, err, want)
	}
}
