package proxy

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestWhatIsCountedAsReexecuted: a request that was here whole and unanswered, and no other.
func TestWhatIsCountedAsReexecuted(t *testing.T) {
	up := newWeb(t)
	get := func(path string) []byte { return fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: shop\r\n\r\n", path) }
	for _, tt := range []struct {
		name, running string
		reexecuted    uint64
	}{
		{"idle", "", 0},
		{"in the upstream", "/slow?sleep=300ms", 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			executor, standby := newPair(t, Config{Upstream: up.addr()})
			w := newTwin(t, executor, standby)
			w.write(get("/first"))
			answered := func() bool {
				return strings.Contains(w.seen(0), "GET /first") && w.seen(0) == w.seen(1) &&
					standby.Stats().Held == 0
			}
			eventually(t, "first reply", answered)
			replies := 2
			if tt.running != "" {
				w.write(get(tt.running))
				eventually(t, "running", func() bool { return executor.Stats().Inflight == 1 && standby.Stats().Held == 1 })
				replies++
			}
			kill(executor, standby)
			w.write(get("/last"))
			eventually(t, "last reply", func() bool { return strings.Contains(w.seen(1), "GET /last") })
			if n := strings.Count(w.seen(1), "HTTP/1.1 200"); n != replies {
				t.Errorf("%d replies:\n%s", n, w.seen(1))
			}
			eventually(t, "its end", func() bool { return standby.Stats().Inflight == 0 })
			st := standby.Stats()
			if st.Reexecuted != tt.reexecuted || st.Replayed != 0 || st.Delivered != uint64(replies-1) || st.Failed != 0 {
				t.Errorf("%+v", st)
			}
			w.b.Close()
			w.readers.Wait()
		})
	}
}

func TestContinueIsNotRepeated(t *testing.T) {
	up := newWeb(t)
	executor, standby := newPair(t, Config{Upstream: up.addr()})
	w := newTwin(t, executor, standby)
	w.write([]byte("PUT /x?hint HTTP/1.1\r\nHost: shop\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"))
	eventually(t, "100", func() bool { return strings.HasPrefix(w.seen(0), "HTTP/1.1 100 ") && w.seen(1) == w.seen(0) })
	kill(executor, standby)
	w.write([]byte("hello"))
	w.check(t, up, []string{"PUT"}, nil)
	if s := w.seen(1); strings.Count(s, "HTTP/1.1 100") != 1 || strings.Count(s, "HTTP/1.1 103") != 1 {
		t.Errorf("%s", s)
	}
}

// TestUnreadBytesDoNotResetTheReply: the client goes on sending after the request that closes,
// and reads slowly.
func TestUnreadBytesDoNotResetTheReply(t *testing.T) {
	up := newWeb(t)
	h := newHost(t, Config{Upstream: up.addr()}, Executor, &link{})
	c, _ := h.dial(t)
	const size = 8 << 20
	fmt.Fprintf(c, "GET /?size=%d HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n", size)
	done := make(chan error, 1)
	go func() {
		_, err := c.Write(bytes.Repeat([]byte("more of it"), 800<<10))
		c.CloseWrite()
		done <- err
	}()
	time.Sleep(50 * time.Millisecond) // slow, so that the reply is still under way meanwhile
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := io.Copy(io.Discard, resp.Body); n != size || err != nil {
		t.Errorf("%d bytes, %v", n, err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestLostClient: a reset is no failure, and frees everything.
func TestLostClient(t *testing.T) {
	up := newWeb(t)
	executor, standby := newPair(t, Config{Upstream: up.addr()})
	w := newTwin(t, executor, standby)
	w.write([]byte("GET /?sleep=30ms HTTP/1.1\r\nHost: shop\r\n\r\nPOST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 9\r\n\r\nabc"))
	abort(w.a)
	abort(w.b)
	w.readers.Wait()
	for _, h := range []*host{executor, standby} {
		eventually(t, "closed", func() bool { return h.Stats().Open == 0 })
		if st := h.Stats(); st.Failed != 0 || st.Inflight != 0 {
			t.Errorf("%+v", st)
		}
	}
}
