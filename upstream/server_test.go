package upstream

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patient bounds what is waited for; nothing here takes so long unless it is broken.
const patient = 20 * time.Second

// listen listens on loopback or on a unix socket until the test ends.
func listen(t testing.TB, network string) net.Listener {
	t.Helper()
	at := "127.0.0.1:0"
	if network == "unix" {
		at = filepath.Join(t.TempDir(), "s")
	}
	l, err := net.Listen(network, at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func address(t testing.TB, l net.Listener) Address {
	t.Helper()
	a, err := ParseAddress(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// serve gives each connection of l to handle, one goroutine each, and waits for them at the end.
func serve(t testing.TB, l net.Listener, handle func(n int, c net.Conn)) {
	var wg sync.WaitGroup
	var mu sync.Mutex
	var conns []net.Conn
	wg.Go(func() {
		for n := 0; ; n++ {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, c)
			mu.Unlock()
			wg.Go(func() { defer c.Close(); handle(n, c) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		for _, c := range conns {
			c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
}

// answer answers each request with its path, until the connection ends.
func answer(_ int, c net.Conn) {
	for br := bufio.NewReader(c); reply(br, c); {
	}
}

// answerOnce answers one request, and reports whether it came.
func answerOnce(c net.Conn) bool { return reply(bufio.NewReader(c), c) }

func reply(br *bufio.Reader, c net.Conn) bool {
	r, err := http.ReadRequest(br)
	if err != nil {
		return false
	}
	io.Copy(io.Discard, r.Body)
	fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(r.URL.Path), r.URL.Path)
	return true
}

// exchange sends a GET on c and returns the reply's body.
func exchange(c *Conn, path string) (string, error) {
	if _, err := io.WriteString(c, "GET "+path+" HTTP/1.1\r\nHost: test\r\n\r\n"); err != nil {
		return "", err
	}
	r, err := http.ReadResponse(c.Reader(), nil)
	if err != nil {
		return "", err
	}
	body, err := io.ReadAll(r.Body)
	return string(body), err
}

// mustExchange does one exchange and puts the connection back.
func mustExchange(t testing.TB, p *Pool, path string, reused bool) {
	t.Helper()
	c, err := p.Get(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got, err := exchange(c, path); err != nil || got != path {
		t.Fatalf("%q, %v", got, err)
	}
	if c.Reused() != reused {
		t.Fatalf("reused is %v", c.Reused())
	}
	c.Put()
}

func newPool(t testing.TB, cfg PoolConfig) *Pool {
	p := NewPool(cfg)
	t.Cleanup(func() {
		p.Close()
		if s := p.Stats(); s.Lent+s.Idle+s.Waiting != 0 {
			t.Errorf("left after Close: %+v", s)
		}
	})
	return p
}

// eventually waits for a condition.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patient); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("never came true: " + what)
		}
	}
}

// within is a context that ends long after it should be needed.
func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patient)
	t.Cleanup(cancel)
	return ctx
}

func contains(t testing.TB, err error, text string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), text) {
		t.Errorf("error %v, want one with %q", err, text)
	}
}
