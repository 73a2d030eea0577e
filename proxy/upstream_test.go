package proxy

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ftgw/ftgw/upstream"
)

// connector is a Config.Connect on real sockets, as cmd/ftgw makes it. patient is the longest
// silence of the upstream.
func connector(t testing.TB, at string, patient time.Duration) func(context.Context, bool, []byte) (UpstreamConn, error) {
	address, err := upstream.ParseAddress(at)
	if err != nil {
		t.Fatal(err)
	}
	pool := upstream.NewPool(upstream.PoolConfig{Address: address, Patience: patient})
	t.Cleanup(pool.Close)
	return func(ctx context.Context, fresh bool, preface []byte) (UpstreamConn, error) {
		if fresh {
			return pool.Fresh(ctx, preface)
		}
		return pool.Get(ctx)
	}
}

// TestUnixSocket: a web server on a unix socket is asked as one on a port, over connections that
// are kept.
func TestUnixSocket(t *testing.T) {
	at := filepath.Join(t.TempDir(), "app.sock")
	l, err := net.Listen("unix", at)
	if err != nil {
		t.Fatal(err)
	}
	var conns atomic.Int32
	web := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			n, _ := io.Copy(io.Discard, r.Body)
			fmt.Fprintf(w, "%s %s from %s: %d bytes", r.Method, r.Host, r.Header.Get("X-Forwarded-For"), n)
		}),
		ConnState: func(_ net.Conn, s http.ConnState) {
			if s == http.StateNew {
				conns.Add(1)
			}
		},
	}
	served := make(chan error)
	go func() { served <- web.Serve(l) }()
	defer func() { web.Close(); <-served }()
	h := newHost(t, Config{Upstream: "unix:" + at}, Executor, &link{})
	c, _ := h.dial(t, asClient())
	br := bufio.NewReader(c)
	for _, size := range []int{0, 10, 2 * syncBody} {
		raw := fmt.Sprintf("PUT / HTTP/1.1\r\nHost: shop\r\nContent-Length: %d\r\n\r\n", size)
		io.WriteString(c, raw)
		io.Copy(c, io.LimitReader(zeros{}, int64(size)))
		if got, want := ask(t, c, br, ""), fmt.Sprintf("200 OK: PUT shop from 192.0.2.77: %d bytes", size); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	if n := conns.Load(); n != 1 {
		t.Errorf("%d connections", n)
	}
	web.Close()
	if got := ask(t, c, br, simple); got != "502 Bad Gateway: 502 Bad Gateway: the web server did not answer\n" {
		t.Errorf("without a web server: %s", got)
	}
}
