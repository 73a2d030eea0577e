package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// BenchmarkSmall is one keep-alive connection with 1 KB replies, without replication; client
// and upstream take their share of the processor too.
func BenchmarkSmall(b *testing.B) {
	w := newWeb(b)
	body := make([]byte, 1<<10)
	w.Config.Handler = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { rw.Write(body) })
	h := newHost(b, Config{Upstream: w.addr()}, Executor, &link{})
	benchmarkReplies(b, h, 1<<10)
}

// BenchmarkSmallDuplex stores each reply on a second server in the same process.
func BenchmarkSmallDuplex(b *testing.B) {
	w := newWeb(b)
	executor, standby := newPair(b, Config{Upstream: w.addr()})
	c, id := executor.dial(b)
	s, _ := standby.dial(b, id)
	go io.Copy(io.Discard, s)
	send := []byte("GET /?size=1024 HTTP/1.1\r\nHost: shop\r\n\r\n")
	br := bufio.NewReader(c)
	b.ReportAllocs()
	for b.Loop() {
		c.Write(send)
		s.Write(send)
		readDiscard(b, br)
	}
}

// BenchmarkDownload is replies of 100 MB, spilled.
func BenchmarkDownload(b *testing.B) {
	w := newWeb(b)
	h := newHost(b, Config{Upstream: w.addr()}, Executor, &link{})
	benchmarkReplies(b, h, 100<<20)
}

// BenchmarkUpload is requests of 100 MB, spilled.
func BenchmarkUpload(b *testing.B) {
	up := rawDiscard(b)
	h := newHost(b, Config{Upstream: up}, Executor, &link{})
	c, _ := h.dial(b)
	br := bufio.NewReader(c)
	const size = 100 << 20
	b.SetBytes(size)
	for b.Loop() {
		fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: %d\r\n\r\n", size)
		io.Copy(c, io.LimitReader(zeros{}, size))
		readDiscard(b, br)
	}
}

// BenchmarkTinyChunks is requests of 4 MB, spilled, in chunks of one octet: the dearest that a client
// can send.
func BenchmarkTinyChunks(b *testing.B) {
	h := newHost(b, Config{Upstream: rawDiscard(b)}, Executor, &link{})
	c, _ := h.dial(b)
	br := bufio.NewReader(c)
	body := strings.Repeat("1\r\nx\r\n", 4<<20)
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		io.WriteString(c, "POST / HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n")
		io.WriteString(c, body)
		io.WriteString(c, "0\r\n\r\n")
		readDiscard(b, br)
	}
}

func benchmarkReplies(b *testing.B, h *host, size int64) {
	c, _ := h.dial(b)
	send := fmt.Appendf(nil, "GET /?size=%d HTTP/1.1\r\nHost: shop\r\n\r\n", size)
	br := bufio.NewReaderSize(c, 64<<10)
	b.SetBytes(size)
	b.ReportAllocs()
	for b.Loop() {
		c.Write(send)
		readDiscard(b, br)
	}
}

func readDiscard(b *testing.B, br *bufio.Reader) {
	resp, err := http.ReadResponse(br, nil)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != 200 {
		b.Fatal(resp.Status, err)
	}
}

func rawDiscard(b *testing.B) string {
	w := newWeb(b)
	w.Config.Handler = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
	})
	return w.addr()
}
