package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ftgw/ftgw/rewrite"
)

// diesAhead has the executor die when three replies have gone out that the standby has not made, and what
// is said has happened to the standby. Then the standby's web server does as said.
func diesAhead(t *testing.T, last func(*host), then func(http.ResponseWriter, *http.Request) bool) (w *twin, standby *host) {
	var dead atomic.Bool
	executor, standby, _, b := newTwoSites(t, Config{TurnOver: func(rewrite.FlowID) bool { return dead.Load() }})
	gate := make(chan struct{})
	b.then(func(_ http.ResponseWriter, r *http.Request) bool {
		select {
		case <-gate:
		case <-r.Context().Done():
		}
		return false
	})
	w = newTwin(t, executor, standby)
	for i := range 3 {
		w.write(get(fmt.Sprintf("/static/%d?size=300", i)))
		eventually(t, "the reply", func() bool { return executor.Stats().Static == uint64(i+1) && len(w.seen(0)) > 300*(i+1) })
	}
	b.then(then)
	last(standby)
	dead.Store(true) // and there is a pair again at once
	kill(executor, standby)
	close(gate)
	return w, standby
}

// A survivor makes again what went out from the lost host, by the same bytes: it says nothing else of the
// connection even where there is a pair again meanwhile, and it tells its web server that another one may
// have executed that.
func TestStaticAhead(t *testing.T) {
	var mu sync.Mutex
	var attempts []string
	w, standby := diesAhead(t, func(*host) {}, func(_ http.ResponseWriter, r *http.Request) bool {
		mu.Lock()
		defer mu.Unlock()
		attempts = append(attempts, r.Header.Get("Ftgw-Attempt"))
		return false
	})
	eventually(t, "the same again", func() bool { return standby.Stats().Delivered == 3 })
	w.write(get("/static/new?size=300"))
	w.readers.Wait()
	if !strings.HasPrefix(w.seen(1), w.seen(0)) {
		t.Fatalf("the survivor's\n%s\ndoes not continue\n%s", w.seen(1), w.seen(0))
	}
	all, _ := replies(t, w.seen(1), strings.Fields("GET GET GET GET")...)
	for i, r := range all {
		if r.Close != (i == 3) {
			t.Errorf("reply %d: close is %v", i, r.Close)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if got := strings.Join(attempts, " "); got != "2 2 2 1" {
		t.Errorf("attempts %s", got)
	}
}

// What the survivor cannot make again it does not replace by an error reply.
func TestStaticAstray(t *testing.T) {
	w, standby := diesAhead(t, func(*host) {}, func(http.ResponseWriter, *http.Request) bool { panic(http.ErrAbortHandler) })
	w.readers.Wait()
	standby.packets.mu.Lock()
	defer standby.packets.mu.Unlock()
	if got := w.seen(1); got != "" || standby.packets.resets[w.id] != 1 {
		t.Errorf("%d resets, and %q", standby.packets.resets[w.id], got)
	}
	if e := standby.Ledger(false, 1).Exchanges[0]; e.Outcome != Truncated || e.Attempt < 2 {
		t.Errorf("%+v", e)
	}
}

// A survivor whose route has just become logged does not put a logged reply in the place of a static one:
// it has a Date. What was logged for long is answered as ever.
func TestStaticAheadOfDemotion(t *testing.T) {
	for _, age := range []time.Duration{0, time.Hour} {
		w, standby := diesAhead(t, func(standby *host) {
			standby.Demote(0, "another reply differs")
			standby.cfg().routes[0].demoted.Load().At = time.Now().Add(-age)
		}, func(http.ResponseWriter, *http.Request) bool { return false })
		if age > 0 {
			eventually(t, "a logged reply", func() bool { return standby.Stats().Delivered == 1 })
			continue
		}
		w.readers.Wait()
		standby.packets.mu.Lock()
		if got := w.seen(1); got != "" || standby.packets.resets[w.id] != 1 {
			t.Errorf("%d resets, and %q", standby.packets.resets[w.id], got)
		}
		standby.packets.mu.Unlock()
	}
}

// Likewise of a connection that was accepted after the takeover only, and of which nothing was stored;
// but one that has begun after it gets an answer.
func TestStaticAheadOfHeir(t *testing.T) {
	for _, young := range []bool{false, true} {
		_, survivor, _, b := newTwoSites(t, Config{})
		b.then(func(http.ResponseWriter, *http.Request) bool { panic(http.ErrAbortHandler) })
		survivor.packets.duty, survivor.packets.young = Executor, young
		survivor.Promote(all)()
		survivor.mu.Lock()
		survivor.since = time.Now().Add(time.Minute) // however slow this test is
		survivor.mu.Unlock()
		c, err := net.Dial("tcp4", survivor.at)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(patience))
		c.Write(get("/static/0"))
		client := addrPort(c.LocalAddr())
		id := rewrite.FlowID{Key: rewrite.Key{Client: client, Advertised: addrPort(c.RemoteAddr())}}
		survivor.packets.introduce(client, id)
		if young {
			if got, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil || got.StatusCode != http.StatusBadGateway {
				t.Errorf("%v, %v", got, err)
			}
			continue
		}
		if got, _ := io.ReadAll(c); len(got) > 0 {
			t.Errorf("%q", got)
		}
		survivor.packets.mu.Lock()
		if n := survivor.packets.resets[id]; n != 1 {
			t.Errorf("%d resets", n)
		}
		survivor.packets.mu.Unlock()
	}
}

// Likewise of a request that the lost host alone had, as when its clone was lost: the client sends it again.
func TestStaticAheadOfRequest(t *testing.T) {
	executor, standby, _, b := newTwoSites(t, Config{})
	b.then(func(http.ResponseWriter, *http.Request) bool { panic(http.ErrAbortHandler) })
	w := newTwin(t, executor, standby)
	eventually(t, "it is held", func() bool { return len(standby.Holdings()) == 1 })
	w.a.Write(get("/static/0"))
	eventually(t, "the reply", func() bool { return executor.Stats().Static == 1 })
	kill(executor, standby)
	standby.mu.Lock()
	f := standby.table[w.id]
	standby.mu.Unlock()
	eventually(t, "it is taken over", func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.promoted && f.then == nil // which its executor has got
	})
	w.b.Write([]byte("GET /static/0 HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n"))
	w.readers.Wait()
	standby.packets.mu.Lock()
	defer standby.packets.mu.Unlock()
	if got := w.seen(1); got != "" || standby.packets.resets[w.id] != 1 {
		t.Errorf("%d resets, and %q", standby.packets.resets[w.id], got)
	}
}
