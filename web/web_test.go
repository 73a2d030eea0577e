package web

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/ftgw/ftgw/state"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve runs a server on a free port of the loopback until the test ends; each status has another
// epoch.
func serve(t *testing.T) (base string, stop func() error) {
	t.Helper()
	var epoch atomic.Uint64
	s := New(Config{Every: 10 * time.Millisecond, Log: slog.New(slog.DiscardHandler),
		Status: func() state.Status {
			return state.Status{Node: "web-a", Services: []state.Service{{Name: "shop", Epoch: epoch.Add(1)}}}
		},
		Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ftgw_up 1") })})
	l, err := Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, l) }()
	stop = func() error {
		cancel()
		err := <-done
		done <- err
		return err
	}
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
		http.DefaultClient.CloseIdleConnections()
	})
	return "http://" + l.Addr().String(), stop
}

func do(t *testing.T, method, url string, header ...string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
		if header[i] == "Host" {
			req.Host = header[i+1]
		}
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

func TestAnswers(t *testing.T) {
	base, _ := serve(t)
	_, port, _ := net.SplitHostPort(strings.TrimPrefix(base, "http://"))
	for _, tt := range []struct {
		method, path string
		header       []string
		code         int
		want         string
	}{
		{"GET", "/", nil, 200, "<title>ftgw</title>"},
		{"HEAD", "/", nil, 200, ""},
		{"HEAD", "/events", nil, 200, ""},
		{"GET", "/status.json", nil, 200, `"node":"web-a"`},
		{"GET", "/metrics", nil, 200, "ftgw_up 1"},
		{"GET", "/metrics", []string{"Host", "localhost:" + port}, 200, "ftgw_up 1"},
		{"GET", "/metrics", []string{"Host", "[::1]:" + port}, 200, "ftgw_up 1"},
		{"GET", "/other", nil, 404, ""},
		{"GET", "/status.json/", nil, 404, ""},
		{"POST", "/", nil, 405, ""},
		{"DELETE", "/status.json", nil, 405, ""},
		{"PUT", "/metrics", nil, 405, ""},
		{"OPTIONS", "/events", nil, 405, ""},
		// A name that a stranger points at 127.0.0.1.
		{"GET", "/status.json", []string{"Host", "evil.example:" + port}, 421, "localhost"},
		{"GET", "/", []string{"Host", "localhost.evil.example"}, 421, "localhost"},
		{"GET", "/", []string{"Host", "192.0.2.1:" + port}, 421, "localhost"},
		{"GET", "/metrics", []string{"Host", "127.0.0.1.evil.example"}, 421, "localhost"},
		// Another site's page that only wants to hold a place.
		{"GET", "/events", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "cors"}, 403, "sites"},
		{"GET", "/", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate"}, 200, "ftgw"},
	} {
		resp, body := do(t, tt.method, base+tt.path, tt.header...)
		if resp.StatusCode != tt.code || !strings.Contains(body, tt.want) {
			t.Errorf("%s %s %q: %d %.80q", tt.method, tt.path, tt.header, resp.StatusCode, body)
		}
		if tt.code == 405 && resp.Header.Get("Allow") != "GET, HEAD" {
			t.Errorf("%s %s allows %q", tt.method, tt.path, resp.Header.Get("Allow"))
		}
		for name, want := range map[string]string{"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store",
			"Referrer-Policy": "no-referrer", "Cross-Origin-Resource-Policy": "same-origin"} {
			if got := resp.Header.Get(name); got != want {
				t.Errorf("%s %s: %s is %q", tt.method, tt.path, name, got)
			}
		}
		if p := resp.Header.Get("Content-Security-Policy"); !strings.HasPrefix(p, "default-src 'none';") || strings.Contains(p, "unsafe") {
			t.Errorf("%s %s: policy %q", tt.method, tt.path, p)
		}
	}
}

// The page brings everything with it, and nothing in it that its own policy forbids.
func TestPageIsSelfContained(t *testing.T) {
	html := string(newPage().html)
	for _, left := range []string{"/*style*/", "/*script*/"} {
		if strings.Contains(html, left) {
			t.Errorf("%s is left", left)
		}
	}
	for _, forbidden := range []string{`\b(src|href)="(https?:)?//`, `@import`, `url\(`, `\sstyle="`, `\son[a-z]+="`, `innerHTML`, `insertAdjacentHTML`, `eval\(`} {
		if m := regexp.MustCompile(forbidden).FindString(html); m != "" {
			t.Errorf("the page has %q", m)
		}
	}
}

// read returns the next event of a stream.
func read(t *testing.T, r *bufio.Reader) state.Status {
	t.Helper()
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if text, ok := strings.CutPrefix(line, "data: "); ok {
			var s state.Status
			if err := json.Unmarshal([]byte(text), &s); err != nil {
				t.Fatal(err)
			}
			return s
		}
	}
}

func open(t *testing.T, base string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base+"/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return resp
}

// Viewers see the news; one too many is turned away until one of them goes; the end of the node
// ends them all at once.
func TestEvents(t *testing.T) {
	base, stop := serve(t)
	var all []*http.Response
	for range maxViewers {
		resp := open(t, base)
		if resp.Header.Get("Content-Type") != "text/event-stream" {
			t.Fatalf("%s, %v", resp.Status, resp.Header)
		}
		all = append(all, resp)
	}
	r := bufio.NewReader(all[0].Body)
	if a, b := read(t, r), read(t, r); b.Services[0].Epoch <= a.Services[0].Epoch {
		t.Errorf("no news: epoch %d, then %d", a.Services[0].Epoch, b.Services[0].Epoch)
	}
	if resp := open(t, base); resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
		t.Errorf("viewer %d: %s", maxViewers+1, resp.Status)
	}
	all[1].Body.Close()
	for deadline := time.Now().Add(10 * time.Second); open(t, base).StatusCode != http.StatusOK; {
		if time.Now().After(deadline) {
			t.Fatal("the place of a viewer who went is not free")
		}
		time.Sleep(5 * time.Millisecond)
	}
	began := time.Now()
	if err := stop(); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > 900*time.Millisecond { // Shutdown's own patience is 1 s
		t.Errorf("the viewers held the end up for %v", took)
	}
}

// A request that announces a body and sends none holds no place.
func TestNoBodies(t *testing.T) {
	base, _ := serve(t)
	for _, request := range []string{"GET /events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n",
		"GET /events HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"} {
		c, err := net.Dial("tcp", strings.TrimPrefix(base, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(10 * time.Second))
		io.WriteString(c, request)
		answer, err := io.ReadAll(c)
		if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 413 ") {
			t.Errorf("%q: %.80q, %v", request, answer, err)
		}
	}
}

// A viewer who takes nothing is dropped.
func TestSlowViewer(t *testing.T) {
	large := state.Status{Warnings: []string{strings.Repeat("w", 4<<20)}}
	s := New(Config{Every: time.Millisecond, Patience: 200 * time.Millisecond, Log: slog.New(slog.DiscardHandler), Status: func() state.Status { return large }, Metrics: http.NotFoundHandler()})
	l, err := Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, l) }()
	defer func() {
		cancel()
		<-done
	}()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
	wait := func(viewers int) {
		for deadline := time.Now().Add(10 * time.Second); len(s.viewers) != viewers; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%d viewers, want %d", len(s.viewers), viewers)
			}
		}
	}
	wait(1)
	wait(0)
}

// Connections beyond the bound are closed, and those that go make room.
func TestConnectionsAreBounded(t *testing.T) {
	base, _ := serve(t)
	at := strings.TrimPrefix(base, "http://")
	var all []net.Conn
	for range maxConnections {
		c, err := net.Dial("tcp", at)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		all = append(all, c)
	}
	one, err := net.Dial("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	defer one.Close()
	one.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := one.Read(make([]byte, 1)); err == nil {
		t.Error("a connection too many was taken")
	}
	for _, c := range all {
		c.Close()
	}
	for deadline := time.Now().Add(10 * time.Second); ; {
		if resp, err := http.Get(base + "/metrics"); err == nil {
			resp.Body.Close()
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("no room was made")
		}
	}
}

// short is a listener of a kernel that is short of memory for a moment.
type short struct {
	net.Listener
	left atomic.Int32
}

func (s *short) Accept() (net.Conn, error) {
	if s.left.Add(-1) >= 0 {
		return nil, &net.OpError{Op: "accept", Net: "tcp", Err: os.NewSyscallError("accept4", unix.ENOBUFS)}
	}
	return s.Listener.Accept()
}

// The port is no reason for a node to end.
func TestPortOutlastsAnErrorOfAccept(t *testing.T) {
	l, err := Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := New(Config{Log: slog.New(slog.DiscardHandler), Status: func() state.Status { return state.Status{} }, Metrics: http.NotFoundHandler()})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	failing := &short{Listener: l}
	failing.left.Store(3)
	go func() { done <- s.Run(ctx, failing) }()
	resp, err := http.Get("http://" + l.Addr().String() + "/status.json")
	if err != nil {
		t.Error(err)
	} else {
		resp.Body.Close()
	}
	http.DefaultClient.CloseIdleConnections()
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// Whatever a Host looks like, it is taken only if it is localhost or an address of the loopback.
func FuzzLoopback(f *testing.F) {
	for _, host := range []string{"localhost", "LOCALHOST:9901", "127.0.0.1:9901", "[::1]:9901", "::1", "127.9.9.9", "[::ffff:127.0.0.1]:1",
		"evil.example:9901", "127.0.0.1.evil.example", "localhost.", "[localhost]", "", ":9901", "[::1", "0.0.0.0", "127.1", "::1%lo"} {
		f.Add(host)
	}
	f.Fuzz(func(t *testing.T, host string) {
		if !loopback(host) {
			return
		}
		name := strings.ToLower(host)
		if i := strings.LastIndexByte(name, ':'); i >= 0 && (strings.Count(name, ":") == 1 || strings.Contains(name, "]:")) {
			name = name[:i]
		}
		name, _, _ = strings.Cut(strings.Trim(name, "[]"), "%")
		if ip := net.ParseIP(name); name != "localhost" && (ip == nil || !ip.IsLoopback()) {
			t.Errorf("%q is taken for the loopback", host)
		}
	})
}

func TestListenNamesTheRemedy(t *testing.T) {
	l, err := Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, err := Listen(l.Addr().String()); err == nil || !strings.Contains(err.Error(), "set metrics") {
		t.Errorf("a port that is taken: %v", err)
	}
}

func TestRecent(t *testing.T) {
	n := 0
	recent := Recent(func() state.Status { n++; return state.Status{Version: fmt.Sprint(n)} }, time.Hour)
	if a, b := recent(), recent(); a.Version != "1" || b.Version != "1" {
		t.Errorf("asked anew: %s, %s", a.Version, b.Version)
	}
	recent = Recent(func() state.Status { n++; return state.Status{} }, 0)
	before := n
	if recent(); n != before+1 {
		t.Error("not asked")
	}
}
