package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/ftgw/ftgw/rewrite"
)

func TestRequestLine(t *testing.T) {
	for begin, want := range map[string]string{
		"GET / HTTP/1.1\r\nHost: shop\r\n":      "GET /",
		"\r\n\nPOST /a/b?secret=1 HTTP/1.1\r\n": "POST /a/b",
		"GET /cut":                              "GET /cut",
		"GET " + strings.Repeat("/", 500):       "GET " + strings.Repeat("/", maxPath),
		"OPTIONS * HTTP/1.1":                    "OPTIONS *",
		"":                                      "",
		"GET":                                   "",
		" /x":                                   "",
		"GET ":                                  "",
		"\x00\x01\x02 \x03":                     "",
		"GET /\x1b[31m HTTP/1.1":                "GET /",
		strings.Repeat("X", maxMethod+1) + " / HTTP/": "",
	} {
		if got := string(requestLine([]byte(begin))); got != want {
			t.Errorf("%q: %q, want %q", begin, got, want)
		}
	}
}

func numbered(i int) *row { return &row{index: uint64(i), began: time.Unix(int64(i), 0)} }

func indexes(b Book) (all string) {
	for _, e := range b.Exchanges {
		all += fmt.Sprintf(" %d%s", e.Index, e.Outcome.String()[:1])
	}
	return strings.TrimSpace(all)
}

func TestLedgerRing(t *testing.T) {
	s := &Server{ledger: ledger{size: 3}}
	l := &s.ledger
	first := numbered(0)
	l.put(first)
	for i := 1; i < 4; i++ {
		r := numbered(i)
		l.put(r)
		r.outcome = Delivered
		l.put(r) // into the same place
	}
	if got := indexes(s.Ledger(false, 0)); got != "1d 2d 3d" {
		t.Error(got)
	}
	first.outcome = Dropped // its place is taken, so it gets a new one
	l.put(first)
	if got := indexes(s.Ledger(false, 0)); got != "2d 3d 0d" {
		t.Error(got)
	}
	if got := indexes(s.Ledger(false, 2)); got != "3d 0d" {
		t.Error(got)
	}
	if b := s.Ledger(true, 0); len(b.Exchanges) != 0 || !b.At.IsZero() {
		t.Errorf("%+v", b)
	}
}

func TestLedgerOfATakeover(t *testing.T) {
	s := &Server{ledger: ledger{size: 4}}
	l := &s.ledger
	kept, open, over := numbered(1), numbered(2), numbered(3)
	kept.outcome, over.outcome = Stored, Delivered
	for _, r := range []*row{kept, open, over} {
		l.put(r)
	}
	l.takeover(7, time.Unix(100, 0))
	l.replayed(kept.ticket, time.Unix(101, 0))
	l.replayed(kept.ticket, time.Unix(102, 0)) // once is enough
	again := numbered(104)
	again.outcome, again.touched = Reexecuted, true
	l.put(again)
	late := numbered(105)
	late.outcome = Delivered
	l.put(late)
	if got := indexes(s.Ledger(true, 0)); got != "1r 104r 2u" {
		t.Error(got)
	}
	open.outcome = Delivered
	l.put(open)
	b := s.Ledger(true, 0)
	if got := indexes(b); got != "1r 104r 2d" || b.Epoch != 7 || b.Forgotten != 0 {
		t.Error(got, b.Epoch, b.Forgotten)
	}
	for _, e := range b.Exchanges {
		if e.Epoch != 7 {
			t.Errorf("%+v", e)
		}
	}
	for i := range 3 {
		r := numbered(10 + i)
		r.outcome = Dropped
		l.put(r)
	}
	l.replayed(kept.ticket, time.Unix(103, 0)) // its row is gone
	if b := s.Ledger(true, 0); len(b.Exchanges) != 4 || b.Forgotten != 3 {
		t.Errorf("%d exchanges, %d forgotten", len(b.Exchanges), b.Forgotten)
	}
	l.takeover(9, time.Unix(200, 0))
	if b := s.Ledger(true, 0); len(b.Exchanges) != 0 || b.Forgotten != 0 {
		t.Errorf("%+v", b)
	}
}

// told returns the ledger in short, when it has n exchanges none of which is open.
func told(t *testing.T, h *host, sinceTakeover bool, n int) []string {
	t.Helper()
	var got []string
	eventually(t, fmt.Sprintf("%d closed exchanges", n), func() bool {
		got = nil
		for _, e := range h.Ledger(sinceTakeover, 0).Exchanges {
			if e.Outcome == Unfinished {
				return false
			}
			got = append(got, fmt.Sprintf("%s %s %d %d %v", e.Method, e.Path, e.Status, e.Attempt, e.Outcome))
		}
		return len(got) == n
	})
	return got
}

func same(t *testing.T, got []string, want ...string) {
	t.Helper()
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestLedgerTellsEveryEnd(t *testing.T) {
	up := newWeb(t)
	executor, standby := newPair(t, Config{Upstream: up.addr()})
	w := newTwin(t, executor, standby)
	w.write([]byte("GET /fine?size=1024 HTTP/1.1\r\nHost: shop\r\n\r\nGET /missing?status=404 HTTP/1.1\r\nHost: shop\r\n" +
		"Idempotency-Key: mine\r\n\r\nPOST /bad HTTP/1.1\r\nHost: shop\r\nExpect: what\r\n\r\n"))
	same(t, told(t, executor, false, 3), "GET /fine 200 1 delivered", "GET /missing 404 1 delivered", "POST /bad 417 0 refused")
	eventually(t, "all read", func() bool { return standby.packets.got(w.id) > 150 })
	if got := told(t, standby, false, 3); !strings.HasSuffix(got[0], " 200 0 stored") || !strings.HasSuffix(got[2], " 417 0 stored") {
		t.Errorf("%q", got)
	}
	b := executor.Ledger(false, 0)
	if e := b.Exchanges[1]; e.ClientKey != "mine" || e.Transaction != transactionID(w.id, 1) || e.Index != 1 ||
		e.Flow != w.id || e.Executed != Here || e.Bytes < 60 || e.Took <= 0 || e.Epoch != 0 {
		t.Errorf("%+v", e)
	}
	if e := standby.Ledger(false, 0).Exchanges[0]; e.Executed != Peer || e.Bytes != b.Exchanges[0].Bytes || e.Flow != w.id {
		t.Errorf("%+v", e)
	}
}

func TestLedgerWithoutUpstreamOrClient(t *testing.T) {
	up := newWeb(t)
	h := newHost(t, Config{Upstream: "127.0.0.1:1"}, Executor, &link{})
	c, _ := h.dial(t)
	io.WriteString(c, "GET /x HTTP/1.1\r\nHost: shop\r\n\r\n")
	same(t, told(t, h, false, 1), "GET /x 502 1 refused")

	h = newHost(t, Config{Upstream: up.addr()}, Executor, &link{})
	c, _ = h.dial(t)
	io.WriteString(c, "GET /x?size=40000000 HTTP/1.1\r\nHost: shop\r\n\r\n")
	if _, err := c.Read(make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	abort(c)
	same(t, told(t, h, false, 1), "GET /x 200 1 dropped")

	c, _ = h.dial(t)
	io.WriteString(c, "GET /y?sleep=10s HTTP/1.1\r\nHost: shop\r\n\r\n")
	eventually(t, "asked", func() bool { return h.Stats().Inflight == 1 })
	if e := h.Ledger(false, 1).Exchanges[0]; e.Outcome != Unfinished || e.Took <= 0 || e.Path != "/y" {
		t.Errorf("%+v", e)
	}
	h.Abort()
	same(t, told(t, h, false, 2)[1:], "GET /y 0 1 silenced")
}

// TestLedgerAcrossATakeover has one connection for each thing that can become of an exchange.
func TestLedgerAcrossATakeover(t *testing.T) {
	up := newWeb(t)
	executor, standby := newPair(t, Config{Upstream: up.addr(), Epoch: func() uint64 { return 6 }})
	again, first, quiet := newTwin(t, executor, standby), newTwin(t, executor, standby), newTwin(t, executor, standby)
	done := []byte("GET /done HTTP/1.1\r\nHost: shop\r\n\r\n")
	quiet.b.Write(done) // first: a reply that is stored before its request was read has no path
	eventually(t, "held", func() bool { return standby.packets.got(quiet.id) == uint64(len(done)) })
	quiet.a.Write(done)
	eventually(t, "acknowledged", func() bool { return strings.Contains(quiet.seen(1), "GET /done") })

	const size = 40 << 20 // more than all buffers hold; nobody reads it yet
	a, id := executor.dial(t)
	replayed, _ := standby.dial(t, id)
	for _, c := range []io.Writer{a, replayed} {
		fmt.Fprintf(c, "GET /replayed?size=%d HTTP/1.1\r\nHost: shop\r\n\r\n", size)
	}
	eventually(t, "stored", func() bool { return executor.link.stored.Load() == 2 })
	again.write([]byte("GET /again?sleep=1s HTTP/1.1\r\nHost: shop\r\n\r\n"))
	first.write([]byte("GET /first HTTP/1.1\r\nHost:"))
	eventually(t, "begun", func() bool {
		return executor.Stats().Inflight == 2 && standby.packets.got(again.id) > 40 && standby.packets.got(first.id) > 20
	})
	kill(executor, standby)
	first.write([]byte(" shop\r\n\r\n"))
	if _, err := io.CopyN(io.Discard, replayed, size); err != nil {
		t.Fatal(err)
	}

	got := map[string]bool{}
	for _, line := range told(t, standby, true, 3) {
		got[line] = true
	}
	for _, want := range []string{"GET /replayed 200 0 replayed", "GET /again 200 2 re-executed", "GET /first 200 2 executed"} {
		if !got[want] {
			t.Errorf("no %q in %v", want, got)
		}
	}
	for _, e := range standby.Ledger(true, 0).Exchanges {
		if e.Epoch != 6 || (e.Executed == Peer) != (e.Outcome == Replayed) {
			t.Errorf("%+v", e)
		}
	}
	if all := told(t, standby, false, 4); all[0] != "GET /done 200 0 stored" {
		t.Errorf("%q", all)
	}
}

// TestSameTransactionOnReexecution: an exchange that is executed on both hosts has one
// transaction ID, and a client's own is kept on both.
func TestSameTransactionOnReexecution(t *testing.T) {
	var asked []string
	up := newWeb(t)
	told := make(chan string, 8)
	up.Config.Handler = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		told <- r.Header.Get("Idempotency-Key") + " " + r.Header.Get("Ftgw-Attempt")
		if r.Header.Get("Ftgw-Attempt") == "1" {
			<-r.Context().Done()
		}
	})
	for _, own := range []string{"", "order-4711"} {
		executor, standby := newPair(t, Config{Upstream: up.addr()})
		w := newTwin(t, executor, standby)
		field := ""
		if own != "" {
			field = "Idempotency-Key: " + own + "\r\n"
		}
		w.write([]byte("GET / HTTP/1.1\r\nHost: shop\r\n" + field + "\r\n"))
		asked = append(asked, <-told)
		eventually(t, "held", func() bool { return standby.Stats().Held == 1 })
		kill(executor, standby)
		asked = append(asked, <-told)
		want := own
		if own == "" {
			want = transactionID(w.id, 0)
		}
		same(t, asked, want+" 1", want+" 2")
		asked = nil
		if resp, err := http.ReadResponse(bufio.NewReader(strings.NewReader(eventualText(t, w))), nil); err != nil || resp.StatusCode != 200 {
			t.Error(resp, err)
		}
	}
}

func eventualText(t *testing.T, w *twin) string {
	eventually(t, "a reply", func() bool { return strings.Contains(w.seen(1), "\r\n\r\n") })
	return w.seen(1)
}

func BenchmarkLedger(b *testing.B) {
	s := &Server{ledger: ledger{size: 4096}}
	x := &executor{ctx: b.Context(), flow: &flow{s: s, id: rewrite.FlowID{}}}
	r := &request{method: "GET", target: "/articles/2026/11/some-name?page=3"}
	b.ReportAllocs()
	for b.Loop() {
		x.enter(r, 1, Here, Delivered)
		x.row.status, x.row.bytes = 200, 1100
		x.conclude(nil, nil)
	}
}
