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
