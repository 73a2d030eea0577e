package proxy

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ftgw/ftgw/replication"
)

const longBody = 65_000 // bytes, for a MaxReply of 10,000

// long is an upstream with replies of longBody; from differs says from which byte on each execution
// is another.
func long(t testing.TB, differs int) string {
	var executions atomic.Int64
	return newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		body := longText(int(executions.Add(1)), differs)
		if r.URL.Query().Has("length") {
			w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		} else {
			w.Header().Set("Trailer", "X-Sum")
			defer w.Header().Set("X-Sum", "yes")
		}
		io.WriteString(w, body)
	})
}

func longText(execution, differs int) string {
	body := strings.Repeat("0123456789", longBody/10)
	return body[:differs] + strings.Repeat(strconv.Itoa(execution), longBody-differs)
}

// A reply in parts, with the executor killed before each of its records in turn.
func TestKillBetweenParts(t *testing.T) {
	for _, query := range []string{"length", "chunks"} {
		for kills := range 8 {
			for _, differs := range []int{longBody, 25_000, 0} {
				t.Run(fmt.Sprint(query, " ", kills, " ", differs), func(t *testing.T) {
					t.Parallel()
					killBetweenParts(t, query, kills, differs)
				})
			}
		}
	}
}

func killBetweenParts(t *testing.T, query string, kills, differs int) {
	executor, standby := newPair(t, Config{Upstream: long(t, differs), MaxReply: 10_000, Memory: 7000})
	reached, records := make(chan struct{}), 0
	executor.link.before = func(r Record) {
		if records == kills {
			executor.link.cut.Store(true)
			close(reached)
		}
		records++
	}
	w := newTwin(t, executor, standby)
	w.write([]byte("GET /?" + query + " HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n"))
	if kills <= 6 { // six parts, then the rest
		<-reached
		kill(executor, standby)
	}
	w.readers.Wait()
	a, b := w.seen(0), w.seen(1)
	if !strings.HasPrefix(b, a) {
		t.Fatalf("the standby's output does not continue the executor's %d bytes", len(a))
	}
	resp, err := http.ReadResponse(bufio.NewReader(strings.NewReader(b)), nil)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(resp.Body)
	released := 10_000 * kills // of the first execution's body
	switch {
	case kills == 0 || kills > 6 || released <= differs:
		execution := 2
		if kills > 6 {
			execution = 1
		}
		if err != nil || string(got) != longText(execution, differs) {
			t.Errorf("%d bytes, %v", len(got), err)
		}
		if query == "chunks" && resp.Trailer.Get("X-Sum") != "yes" {
			t.Errorf("trailer %v", resp.Trailer)
		}
	default:
		if err == nil || string(got) != longText(1, differs)[:released] {
			t.Errorf("%d bytes, %v: spliced, or not all that was released", len(got), err)
		}
		e := standby.Ledger(true, 0).Exchanges
		if st := standby.Stats(); len(e) != 1 || e[0].Outcome != Truncated || st.Failed != 1 {
			t.Errorf("%+v, %+v", e, st)
		}
	}
}

// The last piece alone answers the request, and the next one follows on the same connection.
func TestPartsThenNext(t *testing.T) {
	executor, standby := newPair(t, Config{Upstream: long(t, 0), MaxReply: 10_000})
	var mu sync.Mutex
	var kinds []replication.RecordKind
	executor.link.before = func(r Record) {
		mu.Lock()
		defer mu.Unlock()
		kinds = append(kinds, r.Kind)
		if r.Kind == replication.KindClose {
			return
		}
		for end := time.Now().Add(patience); standby.Stats().Held != 1; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Errorf("at record %d of %d the request is not held", len(kinds), r.Index)
				return
			}
		}
	}
	w := newTwin(t, executor, standby)
	for i := range 2 {
		w.write([]byte("GET / HTTP/1.1\r\nHost: shop\r\n\r\n"))
		eventually(t, "the reply", func() bool { return strings.Count(w.seen(1), "X-Sum: yes") == i+1 })
	}
	eventually(t, "the same on both", func() bool { return w.seen(0) == w.seen(1) })
	br := bufio.NewReader(strings.NewReader(w.seen(1)))
	for i := range 2 {
		resp, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(resp.Body); err != nil || string(got) != longText(i+1, 0) {
			t.Errorf("reply %d: %d bytes, %v", i, len(got), err)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	want := bytes.Repeat([]byte{byte(replication.KindPart)}, 6)
	want = append(want, byte(replication.KindReply))
	for i, kind := range kinds[:14] {
		if byte(kind) != want[i%7] {
			t.Errorf("records %v", kinds)
			break
		}
	}
	for _, e := range standby.Ledger(false, 0).Exchanges {
		if e.Outcome != Stored || e.Status != 200 || e.Bytes < longBody {
			t.Errorf("%+v", e)
		}
	}
	for _, e := range executor.Ledger(false, 0).Exchanges {
		if e.Outcome != Delivered || e.Bytes < longBody {
			t.Errorf("%+v", e)
		}
	}
}

// An upstream that fails within a long reply ends the connection on both hosts; an HTTP/1.0 client,
// which could not tell, has nothing yet and gets an error.
func TestPartsCut(t *testing.T) {
	up := newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, longText(1, 0)[:35_000])
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	})
	executor, standby := newPair(t, Config{Upstream: up, MaxReply: 10_000})
	w := newTwin(t, executor, standby)
	w.write([]byte("GET / HTTP/1.1\r\nHost: shop\r\n\r\n"))
	w.readers.Wait()
	if w.seen(0) != w.seen(1) {
		t.Error("the hosts differ")
	}
	resp, err := http.ReadResponse(bufio.NewReader(strings.NewReader(w.seen(1))), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(resp.Body); err == nil || len(got) != 30_000 {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if e := executor.Ledger(false, 0).Exchanges[0]; e.Outcome != Truncated {
		t.Errorf("%+v", e)
	}
	w = newTwin(t, executor, standby)
	w.write([]byte("GET / HTTP/1.0\r\n\r\n"))
	w.readers.Wait()
	if got := w.seen(1); !strings.HasPrefix(got, "HTTP/1.1 502 ") || got != w.seen(0) {
		t.Errorf("%.200s", got)
	}
}
