package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// talk sends raw to an executor of its own, shuts down and returns all it answers.
func talk(t *testing.T, cfg Config, raw string) string {
	t.Helper()
	h := newHost(t, cfg, Executor, &link{})
	c, id := h.dial(t)
	go func() {
		io.WriteString(c, raw)
		c.CloseWrite()
	}()
	out, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	eventually(t, "closed once", func() bool {
		h.packets.mu.Lock()
		defer h.packets.mu.Unlock()
		return h.packets.closed[id] == 1
	})
	return string(out)
}

func TestExchanges(t *testing.T) {
	w := newWeb(t)
	const h = "Host: shop\r\n"
	for _, tt := range []struct {
		name, send string
		want       []string // substrings, in order
		not        string
	}{
		{"get", "GET /a?b=%2F HTTP/1.1\r\n" + h + "\r\n",
			[]string{"HTTP/1.1 200 OK\r\n", "Content-Length: ", "GET /a?b=%2F host=shop size=0"}, "Connection"},
		{"double slash", "GET //a HTTP/1.1\r\n" + h + "\r\n", []string{"GET //a host"}, ""},
		{"absolute form", "GET http://other/x HTTP/1.1\r\n" + h + "\r\n", []string{"GET /x host=other"}, ""},
		{"options *", "OPTIONS * HTTP/1.1\r\n" + h + "\r\n", []string{"HTTP/1.1 200 OK\r\n"}, ""},
		{"blank lines", "\r\n\r\nGET / HTTP/1.1\r\nHost: shop\r\n\r\n", []string{"GET / host=shop"}, ""},
		{"keep-alive", "GET /1 HTTP/1.1\r\n" + h + "\r\nGET /2 HTTP/1.1\r\n" + h + "\r\n", []string{"GET /1 ", "HTTP/1.1 200", "GET /2 "}, ""},
		{"close", "GET /1 HTTP/1.1\r\nConnection: close\r\n" + h + "\r\nGET /2 HTTP/1.1\r\n" + h + "\r\n", []string{"Connection: close", "GET /1 "}, "GET /2"},
		{"HTTP/1.0", "GET /1 HTTP/1.0\r\n\r\nGET /2 HTTP/1.0\r\n\r\n", []string{"Connection: close", "GET /1 "}, "GET /2"},
		{"HTTP/1.0 keep-alive", "GET /1 HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET /2 HTTP/1.0\r\n\r\n",
			[]string{"Connection: keep-alive", "GET /1 ", "Connection: close", "GET /2"}, ""},
		{"post", "POST / HTTP/1.1\r\n" + h + "Content-Length: 5\r\n\r\nhelloGET /2 HTTP/1.1\r\n" + h + "\r\n",
			[]string{"POST / host=shop size=5 sum=2cf24dba", "GET /2"}, ""},
		{"chunked", "POST / HTTP/1.1\r\n" + h + "Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\n\r\nGET /2 HTTP/1.1\r\n" + h + "\r\n",
			[]string{"size=5 sum=2cf24dba trailer=map[]", "GET /2"}, ""},
		{"chunked, empty", "POST / HTTP/1.1\r\n" + h + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /2 HTTP/1.1\r\n" + h + "\r\n",
			[]string{"size=0", "GET /2"}, ""},
		{"request trailer", "POST / HTTP/1.1\r\n" + h + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-T: v\r\nHost: no\r\n\r\n",
			[]string{"size=5 sum=2cf24dba trailer=map[X-T:[v]]"}, ""},
		{"chunked reply", "GET /?size=20&chunked HTTP/1.1\r\n" + h + "\r\n", []string{"Content-Length: 20\r\n\r\n0000001\n"}, "Transfer-Encoding"},
		{"trailer reply", "GET /?trailer HTTP/1.1\r\n" + h + "\r\n",
			[]string{"Transfer-Encoding: chunked\r\n", "Trailer: X-Sum\r\n\r\n", "\r\nGET /?trailer", "\r\n0\r\nX-Sum: yes\r\n\r\n"}, "Content-Length"},
		{"trailer reply, HTTP/1.0", "GET /?trailer HTTP/1.0\r\n\r\n", []string{"Content-Length: "}, "Transfer-Encoding"},
		{"head", "HEAD /?size=77 HTTP/1.1\r\n" + h + "\r\nGET /2 HTTP/1.1\r\n" + h + "\r\n", []string{"Content-Length: 77\r\n\r\nHTTP/1.1 200"}, "0000001"},
		{"204", "GET /?status=204 HTTP/1.1\r\n" + h + "\r\nGET /2 HTTP/1.1\r\n" + h + "\r\n", []string{"HTTP/1.1 204 No Content\r\n", "\r\n\r\nHTTP/1.1 200"}, "Content-Length: 0"},
		{"304", "GET /?status=304 HTTP/1.1\r\n" + h + "\r\nGET /2 HTTP/1.1\r\n" + h + "\r\n", []string{"HTTP/1.1 304 Not Modified\r\n", "\r\n\r\nHTTP/1.1 200"}, "Content-Length: 0"},
		{"404, empty", "GET /?status=404 HTTP/1.1\r\n" + h + "\r\n", []string{"HTTP/1.1 404 Not Found\r\n", "Content-Length: 0\r\n"}, ""},
		{"expect", "POST / HTTP/1.1\r\n" + h + "Expect: 100-continue\r\nContent-Length: 5\r\n\r\nhello",
			[]string{"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n", "size=5"}, ""},
		{"early hints", "GET /?hint HTTP/1.1\r\n" + h + "\r\n",
			[]string{"HTTP/1.1 103 Early Hints\r\n", "Link: </a.css>; rel=preload\r\n", "\r\n\r\nHTTP/1.1 200 OK\r\n"}, ""},
		{"early hints, HTTP/1.0", "GET /?hint HTTP/1.0\r\n\r\n", []string{"HTTP/1.1 200 OK\r\n"}, "103"},
		{"cut request", "POST / HTTP/1.1\r\n" + h + "Content-Length: 5\r\n\r\nhel", nil, "HTTP"},
		{"transaction ID of the client", "GET / HTTP/1.1\r\n" + h + "Idempotency-Key: \"mine\"\r\n\r\n", []string{"X-Tx: \"mine\""}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := talk(t, Config{Upstream: w.addr()}, tt.send)
			rest := got
			for _, part := range tt.want {
				_, after, ok := strings.Cut(rest, part)
				if !ok {
					t.Fatalf("no %q (in this place) in:\n%s", part, got)
				}
				rest = after
			}
			if tt.not != "" && strings.Contains(got, tt.not) {
				t.Errorf("%q in:\n%s", tt.not, got)
			}
		})
	}
}

func TestRefusedRequests(t *testing.T) {
	w := newWeb(t)
	const h = "Host: shop\r\n"
	for _, tt := range []struct {
		name, send string
		status     int
	}{
		{"garbage", "\x16\x03\x01\x02\x00\r\n\r\n", 400},
		{"no version", "GET /\r\n\r\n", 400},
		{"two spaces", "GET  / HTTP/1.1\r\n" + h + "\r\n", 400},
		{"lower-case version", "GET / http/1.1\r\n" + h + "\r\n", 400},
		{"HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505},
		{"no host", "GET / HTTP/1.1\r\n\r\n", 400},
		{"two hosts", "GET / HTTP/1.1\r\n" + h + h + "\r\n", 400},
		{"host with slash", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400},
		{"bad target", "GET foo HTTP/1.1\r\n" + h + "\r\n", 400},
		{"fragment", "GET /#a HTTP/1.1\r\n" + h + "\r\n", 400},
		{"connect", "CONNECT a:443 HTTP/1.1\r\n" + h + "\r\n", 501},
		{"space before colon", "GET / HTTP/1.1\r\n" + h + "A : b\r\n\r\n", 400},
		{"folded", "GET / HTTP/1.1\r\n" + h + "A: b\r\n c\r\n\r\n", 400},
		{"folded at first", "GET / HTTP/1.1\r\n A: b\r\n" + h + "\r\n", 400},
		{"bare CR", "GET / HTTP/1.1\r\n" + h + "A: b\rC: d\r\n\r\n", 400},
		{"NUL", "GET / HTTP/1.1\r\n" + h + "A: b\x00\r\n\r\n", 400},
		{"both lengths", "POST / HTTP/1.1\r\n" + h + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
		{"differing lengths", "POST / HTTP/1.1\r\n" + h + "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello", 400},
		{"list of differing lengths", "POST / HTTP/1.1\r\n" + h + "Content-Length: 5, 6\r\n\r\nhello", 400},
		{"signed length", "POST / HTTP/1.1\r\n" + h + "Content-Length: +5\r\n\r\nhello", 400},
		{"empty length", "POST / HTTP/1.1\r\n" + h + "Content-Length:\r\n\r\nhello", 400},
		{"huge length", "POST / HTTP/1.1\r\n" + h + "Content-Length: 99999999999999999999\r\n\r\nhello", 400},
		{"unknown coding", "POST / HTTP/1.1\r\n" + h + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400},
		{"chunked twice", "POST / HTTP/1.1\r\n" + h + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
		{"disguised coding", "POST / HTTP/1.1\r\n" + h + "Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", 400},
		{"coding in HTTP/1.0", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
		{"bad chunk size", "POST / HTTP/1.1\r\n" + h + "Transfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n", 400},
		{"bad chunk end", "POST / HTTP/1.1\r\n" + h + "Transfer-Encoding: chunked\r\n\r\n5\r\nhelloXX0\r\n\r\n", 400},
		{"huge chunk", "POST / HTTP/1.1\r\n" + h + "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nhello", 400},
		{"bad trailer", "POST / HTTP/1.1\r\n" + h + "Transfer-Encoding: chunked\r\n\r\n0\r\nno field\r\n\r\n", 400},
		{"large head", "GET / HTTP/1.1\r\n" + h + "A: " + strings.Repeat("x", 70<<10) + "\r\n\r\n", 431},
		{"unknown expectation", "GET / HTTP/1.1\r\n" + h + "Expect: a miracle\r\n\r\n", 417},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := talk(t, Config{Upstream: w.addr()}, tt.send+"GET /smuggled HTTP/1.1\r\n"+h+"\r\n")
			if !strings.HasPrefix(got, fmt.Sprintf("HTTP/1.1 %d ", tt.status)) || strings.Count(got, "HTTP/1.1") > 1+strings.Count(got, "spoken") ||
				!strings.Contains(got, "Connection: close\r\n") {
				t.Errorf("want one reply, %d and close:\n%s", tt.status, got)
			}
		})
	}
}

func TestUpstreamFailures(t *testing.T) {
	silent, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	gone, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone.Close()
	get := "GET / HTTP/1.1\r\nHost: shop\r\n\r\n"
	cut := rawUpstream(t, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort", 0)
	stall := rawUpstream(t, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort", patience)
	for _, tt := range []struct {
		name, upstream string
		status         int
	}{
		{"refused", gone.Addr().String(), 502},
		{"silent", silent.Addr().String(), 504},
		{"cut reply", cut, 502},
		{"stalled reply", stall, 504},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := talk(t, Config{Connect: connector(t, tt.upstream, 100*time.Millisecond)}, get+get)
			if strings.Count(got, fmt.Sprintf("HTTP/1.1 %d ", tt.status)) != 2 || strings.Contains(got, "close") {
				t.Errorf("want %d twice, kept alive:\n%s", tt.status, got)
			}
		})
	}
}

// rawUpstream answers every connection's first request with text, waits, and closes.
func rawUpstream(t *testing.T, text string, wait time.Duration) string {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			http.ReadRequest(bufio.NewReader(c))
			io.WriteString(c, text)
			c.SetReadDeadline(time.Now().Add(wait))
			c.Read(make([]byte, 1)) // until the proxy gives up
			c.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return l.Addr().String()
}

func TestTimeouts(t *testing.T) {
	w := newWeb(t)
	cfg := Config{Upstream: w.addr(), HeaderTimeout: 50 * time.Millisecond, BodyTimeout: 50 * time.Millisecond, IdleTimeout: 50 * time.Millisecond}
	for _, tt := range []struct{ name, send, want string }{
		{"idle", "", ""},
		{"head", "GET / HT", "HTTP/1.1 408 "},
		{"body", "POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 9\r\n\r\nabc", "HTTP/1.1 408 "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newHost(t, cfg, Executor, &link{})
			c, _ := h.dial(t)
			io.WriteString(c, tt.send)
			got, err := io.ReadAll(c) // without shutting down first
			if err != nil || !strings.HasPrefix(string(got), tt.want) || tt.want == "" && len(got) > 0 {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
}

func TestBigBodies(t *testing.T) {
	w := newWeb(t)
	h := newHost(t, Config{Upstream: w.addr(), Memory: 100 << 10}, Executor, &link{})
	const size = 100 << 20
	c, id := h.dial(t)
	go func() {
		fmt.Fprintf(c, "POST /?size=%d HTTP/1.1\r\nHost: shop\r\nContent-Length: %d\r\n\r\n", size, size)
		io.Copy(c, io.LimitReader(zeros{}, size))
	}()
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	n, err := io.Copy(io.Discard, resp.Body)
	if err != nil || n != size || resp.StatusCode != 200 {
		t.Errorf("%d bytes, %v, %s", n, err, resp.Status)
	}
	if got := h.packets.got(id); got < size {
		t.Errorf("told of %d bytes only", got)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

func TestFullDisk(t *testing.T) {
	w := newWeb(t)
	cfg := Config{Upstream: w.addr(), Memory: 100 << 10, SpillDir: "/proc/self/nowhere"}
	got := talk(t, cfg, "GET /?size=400000 HTTP/1.1\r\nHost: shop\r\n\r\nGET /2 HTTP/1.1\r\nHost: shop\r\n\r\n")
	if !strings.HasPrefix(got, "HTTP/1.1 507 ") || !strings.Contains(got, "GET /2 host=shop") {
		t.Errorf("%s", got)
	}
	got = talk(t, cfg, "POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 400000\r\n\r\n"+strings.Repeat("x", 400000))
	if !strings.HasPrefix(got, "HTTP/1.1 507 ") || !strings.Contains(got, "Connection: close") {
		t.Errorf("%s", got)
	}
}
