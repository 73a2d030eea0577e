package proxy

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/ftgw/ftgw/config"
	"github.com/ftgw/ftgw/rewrite"
)

// open makes all routes below /open unprotected.
func open(_, path string) config.Mode {
	if strings.HasPrefix(path, "/open") {
		return config.Unprotected
	}
	return config.Logged
}

func newUpstream(t testing.TB, f http.HandlerFunc) string {
	s := httptest.NewServer(f)
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

func send(t testing.TB, c net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
}

func readHeadOf(t testing.TB, br *bufio.Reader) *http.Response {
	t.Helper()
	resp, err := http.ReadResponse(br, nil)
	if err != nil {
		t.Fatal(err)
	}
	return resp
}

// Events go out one by one, none is stored, and the connection carries the next request.
func TestStream(t *testing.T) {
	next := make(chan string)
	up := newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		for event := range next {
			io.WriteString(w, event)
			w.(http.Flusher).Flush()
			if event == "end" {
				return
			}
		}
	})
	executor, _ := newPair(t, Config{Upstream: up, Mode: open})
	c, id := executor.dial(t)
	br := bufio.NewReader(c)
	for round := range 2 {
		send(t, c, "GET /open/events HTTP/1.1\r\nHost: shop\r\n\r\n")
		next <- "first"
		resp := readHeadOf(t, br)
		for _, event := range []string{"first", "second", "end"} {
			if event != "first" {
				next <- event
			}
			got := make([]byte, len(event))
			if _, err := io.ReadFull(resp.Body, got); err != nil || string(got) != event {
				t.Fatalf("%q, %v", got, err)
			}
		}
		if rest, err := io.ReadAll(resp.Body); err != nil || len(rest) > 0 {
			t.Fatalf("%q, %v", rest, err)
		}
		eventually(t, "the exchange is counted", func() bool {
			b := executor.Ledger(false, 0)
			return len(b.Exchanges) == round+1 && b.Exchanges[round].Outcome == Unprotected && b.Exchanges[round].Status == 200
		})
	}
	if st := executor.Stats(); st.Unprotected != 2 || st.Alone != 1 || st.Delivered != 0 {
		t.Errorf("%+v of %v", st, id)
	}
	if n := executor.link.stored.Load(); n != 0 {
		t.Errorf("%d records were stored", n)
	}
}

func TestStreamFraming(t *testing.T) {
	body := strings.Repeat("0123456789", 20_000)
	up := newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Query().Get("as") {
		case "length":
			w.Header().Set("Content-Length", fmt.Sprint(len(body)))
		case "trailer":
			w.Header().Set("Trailer", "X-Sum")
			defer w.Header().Set("X-Sum", "yes")
		case "none":
			w.WriteHeader(204)
			return
		case "head":
			w.Header().Set("Content-Length", "77")
			return
		}
		io.WriteString(w, body)
	})
	for _, tt := range []struct {
		method, as, version string
		length              int64
		chunked             bool
		size                int
	}{
		{"GET", "length", "1.1", int64(len(body)), false, len(body)},
		{"GET", "length", "1.0", int64(len(body)), false, len(body)},
		{"GET", "chunks", "1.1", -1, true, len(body)},
		{"GET", "chunks", "1.0", -1, false, len(body)},
		{"GET", "trailer", "1.1", -1, true, len(body)},
		{"GET", "none", "1.1", 0, false, 0},
		{"HEAD", "head", "1.1", 77, false, 0},
	} {
		t.Run(tt.method+" "+tt.as+" "+tt.version, func(t *testing.T) {
			executor, _ := newPair(t, Config{Upstream: up, Mode: open})
			c, _ := executor.dial(t)
			send(t, c, fmt.Sprintf("%s /open?as=%s HTTP/%s\r\nHost: shop\r\nConnection: keep-alive\r\n\r\n", tt.method, tt.as, tt.version))
			br := bufio.NewReader(c)
			resp, err := http.ReadResponse(br, &http.Request{Method: tt.method})
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(resp.Body)
			if err != nil || len(got) != tt.size || resp.ContentLength != tt.length || (len(resp.TransferEncoding) > 0) != tt.chunked {
				t.Errorf("%d bytes, %v, %+v", len(got), err, resp)
			}
			if tt.as == "trailer" && resp.Trailer.Get("X-Sum") != "yes" {
				t.Errorf("trailer %v", resp.Trailer)
			}
		})
	}
}

// The upstream learns that the client has gone, although nothing is sent, and whatever the client
// has sent ahead.
func TestStreamClientGone(t *testing.T) {
	for name, ahead := range map[string][2]string{
		"nothing ahead": {"", ""}, "with the request": {simple, ""}, "later": {"", simple},
		"a lot": {strings.Repeat(simple, 1000), strings.Repeat(simple, 1000)},
	} {
		t.Run(name, func(t *testing.T) { streamClientGone(t, ahead[0], ahead[1]) })
	}
}

func streamClientGone(t *testing.T, with, later string) {
	gone := make(chan struct{})
	up := newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		w.(http.Flusher).Flush()
		<-r.Context().Done()
		close(gone)
	})
	executor, _ := newPair(t, Config{Upstream: up, Mode: open})
	c, _ := executor.dial(t)
	send(t, c, "GET /open HTTP/1.1\r\nHost: shop\r\n\r\n"+with)
	readHeadOf(t, bufio.NewReader(c))
	send(t, c, later)
	c.Close()
	select {
	case <-gone:
	case <-time.After(patience):
		t.Fatal("the upstream is not told")
	}
	eventually(t, "it is dropped", func() bool {
		return executor.Ledger(false, 0).Exchanges[0].Outcome == Dropped && executor.Stats().Open == 0
	})
}

// A stream that the upstream cuts short is not made to look whole.
func TestStreamCut(t *testing.T) {
	up := newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "half")
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	})
	for _, version := range []string{"1.0", "1.1"} {
		executor, _ := newPair(t, Config{Upstream: up, Mode: open})
		c, _ := executor.dial(t)
		send(t, c, "GET /open HTTP/"+version+"\r\nHost: shop\r\n\r\n")
		resp := readHeadOf(t, bufio.NewReader(c))
		if got, err := io.ReadAll(resp.Body); err == nil {
			t.Errorf("HTTP/%s: looks whole: %q", version, got)
		}
		eventually(t, "it is truncated", func() bool {
			return executor.Ledger(false, 0).Exchanges[0].Outcome == Truncated && executor.Stats().Failed == 1
		})
	}
}

// Where the peer does not let go of the connection, nothing is executed.
func TestStreamNotAgreed(t *testing.T) {
	up := newWeb(t)
	executor, standby := newPair(t, Config{Upstream: up.addr(), Mode: open})
	executor.packets.unshare = func(rewrite.FlowID) error { return errors.New("no") }
	w := newTwin(t, executor, standby)
	w.write([]byte("GET /open HTTP/1.1\r\nHost: shop\r\n\r\n"))
	w.readers.Wait()
	for i := range 2 {
		if got := w.seen(i); !strings.HasPrefix(got, "HTTP/1.1 503 ") || !strings.Contains(got, "Retry-After: 1\r\n") || !strings.Contains(got, "Connection: close\r\n") {
			t.Errorf("%d: %s", i, got)
		}
	}
	if len(up.executed) > 0 {
		t.Error("it was executed")
	}
}

// echoing switches protocols and then sends back what it gets, to the end.
func echoing(t testing.TB) string {
	return newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "echo" || r.Header.Get("Connection") != "Upgrade" {
			http.Error(w, "no upgrade asked for", 400)
			return
		}
		conn, rw, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\nX-Sum: 7\r\n\r\nhello ")
		io.Copy(conn, rw)
		io.WriteString(conn, " bye")
	})
}

// After a 101 bytes go both ways, from the first one behind the request's head on, and each side ends
// by itself.
func TestTunnel(t *testing.T) {
	executor, _ := newPair(t, Config{Upstream: echoing(t), Mode: open})
	c, _ := executor.dial(t)
	send(t, c, "GET /open HTTP/1.1\r\nHost: shop\r\nConnection: keep-alive, Upgrade\r\nUpgrade: echo\r\n\r\nearly")
	br := bufio.NewReader(c)
	resp := readHeadOf(t, br)
	if resp.StatusCode != 101 || resp.Header.Get("Upgrade") != "echo" || resp.Header.Get("Connection") != "Upgrade" || resp.Header.Get("X-Sum") != "7" {
		t.Fatalf("%+v", resp)
	}
	sum, back := sha256.New(), sha256.New()
	sum.Write([]byte("hello early"))
	go func() {
		block := bytes.Repeat([]byte("0123456789abcdef"), 4096)
		for range 200 {
			sum.Write(block)
			if _, err := c.Write(block); err != nil {
				t.Error(err)
			}
		}
		sum.Write([]byte(" bye"))
		c.CloseWrite()
	}()
	if _, err := io.Copy(back, br); err != nil || !bytes.Equal(sum.Sum(nil), back.Sum(nil)) {
		t.Errorf("%v, or other bytes", err)
	}
	eventually(t, "the connection ends", func() bool { return executor.Stats().Open == 0 })
	if e := executor.Ledger(false, 0).Exchanges[0]; e.Outcome != Unprotected || e.Status != 101 || e.Bytes < 200*64<<10 {
		t.Errorf("%+v", e)
	}
}

// The web server's end reaches a client that does not end by itself, and then the connection does.
func TestTunnelUpstreamEnds(t *testing.T) {
	up := newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		conn, _, _ := w.(http.Hijacker).Hijack()
		io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		conn.Close()
	})
	executor, _ := newPair(t, Config{Upstream: up, Mode: open, IdleTimeout: 50 * time.Millisecond, DrainTimeout: 50 * time.Millisecond})
	c, _ := executor.dial(t)
	send(t, c, "GET /open HTTP/1.1\r\nHost: shop\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	br := bufio.NewReader(c)
	readHeadOf(t, br)
	if rest, err := io.ReadAll(br); err != nil || len(rest) > 0 {
		t.Errorf("%q, %v", rest, err)
	}
	eventually(t, "the connection ends", func() bool { return executor.Stats().Open == 0 })
}

func TestUpgradeRefused(t *testing.T) {
	up := echoing(t)
	for name, request := range map[string]string{
		"logged route": "GET /other HTTP/1.1\r\nHost: shop\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n",
		"not named":    "GET /open HTTP/1.1\r\nHost: shop\r\nUpgrade: echo\r\n\r\n",
		"HTTP/1.0":     "GET /open HTTP/1.0\r\nHost: shop\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n",
		"large body":   "POST /open HTTP/1.1\r\nHost: shop\r\nConnection: Upgrade\r\nUpgrade: echo\r\nContent-Length: 100000\r\n\r\n" + strings.Repeat("x", 100_000),
		"h2c":          "GET /open HTTP/1.1\r\nHost: shop\r\nConnection: Upgrade\r\nUpgrade: echo, h2c\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			executor, _ := newPair(t, Config{Upstream: up, Mode: open})
			c, _ := executor.dial(t)
			send(t, c, request)
			if resp := readHeadOf(t, bufio.NewReader(c)); resp.StatusCode != 400 {
				t.Errorf("%+v", resp)
			}
		})
	}
}

// The peer loses the flow; the executor's stream goes on.
func TestStreamOutlivesPeer(t *testing.T) {
	next := make(chan struct{})
	up := newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		for range next {
			io.WriteString(w, "event\n")
			w.(http.Flusher).Flush()
		}
	})
	executor, standby := newPair(t, Config{Upstream: up, Mode: open})
	w := newTwin(t, executor, standby)
	executor.packets.unshare = func(rewrite.FlowID) error { // as the packet layer of the peer does
		w.b.SetLinger(0)
		return w.b.Close()
	}
	w.write([]byte("GET /open HTTP/1.1\r\nHost: shop\r\n\r\n"))
	next <- struct{}{}
	eventually(t, "the first event", func() bool { return strings.Count(w.seen(0), "event") == 1 })
	eventually(t, "the peer has let go", func() bool { return standby.Stats().Open == 0 })
	standby.Abort()
	next <- struct{}{}
	eventually(t, "the second event", func() bool { return strings.Count(w.seen(0), "event") == 2 })
	close(next)
	eventually(t, "its end", func() bool { return strings.HasSuffix(w.seen(0), "0\r\n\r\n") })
}

// Where a side of a tunnel takes nothing, the one that writes to it does not see the end of the other. It ends
// all the same: a client that reads nothing of its echo makes everybody wait for everybody.
func TestTunnelStuck(t *testing.T) {
	deaf := newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		conn, _, _ := w.(http.Hijacker).Hijack()
		io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		t.Cleanup(func() { conn.Close() })
	})
	for name, up := range map[string]string{"the client reads nothing": echoing(t), "the web server reads nothing": deaf} {
		t.Run(name, func(t *testing.T) {
			executor, _ := newPair(t, Config{Upstream: up, Mode: open, WriteTimeout: 300 * time.Millisecond})
			c, _ := executor.dial(t)
			send(t, c, "GET /open HTTP/1.1\r\nHost: shop\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
			readHeadOf(t, bufio.NewReader(c))
			for err := error(nil); err == nil; {
				c.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
				_, err = c.Write(make([]byte, 1<<20))
			}
			abort(c)
			eventually(t, "the connection ends", func() bool { return executor.Stats().Open == 0 })
		})
	}
}
