package client_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ftgw/ftgw/internal/lab/client"
	"github.com/ftgw/ftgw/internal/lab/webapp"
)

// here is the test's own namespace.
type here struct{}

func (here) Do(f func() error) error { return f() }

// app serves the web application on loopback and returns a client of it and its journal.
func app(t *testing.T) (*client.Client, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "journal")
	j, err := webapp.OpenJournal(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { j.Close() })
	return serve(t, webapp.Handler("a", j, "")), path
}

func serve(t *testing.T, h http.Handler) *client.Client {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: h}
	done := make(chan struct{})
	go func() { s.Serve(l); close(done) }()
	t.Cleanup(func() { s.Close(); <-done })
	return &client.Client{Namespace: here{}, Target: l.Addr().String(), Timeout: 5 * time.Second}
}

func TestEveryKindOfRequest(t *testing.T) {
	c, journal := app(t)
	early := client.Bytes("early", 10)
	early.Path += "&early=1"
	chunkedUp := client.Upload("upload-chunked", 300_000)
	chunkedUp.Chunked = true
	expect := client.Upload("upload-100", 70_000)
	expect.Expect100 = true
	put := client.Upload("put", 5)
	put.Method = "PUT"
	rows := []struct {
		request client.Request
		bytes   int64
	}{
		{client.Bytes("small", 1000), 1000},
		{client.Bytes("empty", 0), 0},
		{client.Chunked("chunked", 500_000), 500_000},
		{client.Head("head", 500_000), 0},
		{client.Status("s204", 204), 0},
		{client.Status("s304", 304), 0},
		{client.Status("s503", 503), 0},
		{client.Slow("slow", 20*time.Millisecond), 256},
		{early, 10},
		{client.Upload("upload", 1_000_000), 1_000_000},
		{chunkedUp, 300_000},
		{expect, 70_000},
		{put, 5},
	}
	conn, err := c.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var all []client.Request
	for _, row := range rows {
		all = append(all, row.request)
		r := conn.Do(t.Context(), row.request)
		if !r.OK() || r.Bytes < row.bytes || r.Bytes > row.bytes+300 {
			t.Errorf("want %d bytes: %v", row.bytes, r)
		}
	}
	for _, r := range conn.Pipeline(t.Context(), all[:9]...) {
		if !r.OK() {
			t.Errorf("pipelined: %v", r)
		}
	}
	entries, err := webapp.ReadJournal(journal)
	if err != nil || len(entries) != len(rows)+9 {
		t.Fatalf("journal has %d entries, want %d (%v)", len(entries), len(rows)+9, err)
	}
	seen := map[string]bool{}
	for i, e := range entries {
		if seen[e.Execution] || e.ID != all[i%len(rows)].ID || e.Host != "a" {
			t.Errorf("entry %d: %+v", i, e)
		}
		seen[e.Execution] = true
	}
	if entries[0].Digest == entries[len(rows)].Digest {
		t.Error("two executions gave the same reply")
	}
}

func TestFailures(t *testing.T) {
	hijack := func(f func(net.Conn)) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			c, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			f(c)
		})
	}
	hang := make(chan struct{})
	t.Cleanup(func() { close(hang) })
	for _, row := range []struct {
		name    string
		handler http.Handler
		want    client.Failure
	}{
		{"digest", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set(webapp.HeaderDigest, "00")
			io.WriteString(w, "text")
		}), client.Digest},
		{"status", http.NotFoundHandler(), client.BadState},
		{"reset", hijack(func(c net.Conn) { c.(*net.TCPConn).SetLinger(0) }), client.Reset},
		{"eof before", hijack(func(net.Conn) {}), client.EOF},
		{"eof inside", hijack(func(c net.Conn) { io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx") }), client.EOF},
		{"garbage", hijack(func(c net.Conn) { io.WriteString(c, "garbage\r\n\r\n") }), client.Protocol},
		{"hang", hijack(func(net.Conn) { <-hang }), client.Timeout},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := serve(t, row.handler)
			if row.want == client.Timeout {
				c.Timeout = 300 * time.Millisecond
			}
			if r := c.Once(t.Context(), client.Bytes("x", 4)); r.Failure != row.want {
				t.Errorf("want %s: %v", row.want, r)
			}
		})
	}
	c := &client.Client{Namespace: here{}, Target: "127.0.0.1:1"}
	if r := c.Once(t.Context(), client.Bytes("x", 1)); r.Failure != client.Connect {
		t.Errorf("want connect: %v", r)
	}
}

func TestPauses(t *testing.T) {
	const stall = 150 * time.Millisecond
	c := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "ab")
		http.NewResponseController(w).Flush()
		time.Sleep(stall)
		io.WriteString(w, "cd")
	}))
	r := c.Once(t.Context(), client.Bytes("stalls", 4))
	if r.Pause < stall/2 || r.Pause > 20*stall {
		t.Errorf("pause %v, want about %v", r.Pause, stall)
	}
	c, _ = app(t)
	if r := c.Once(t.Context(), client.Slow("asked for", 2*time.Second)); !r.OK() || r.Pause > 1900*time.Millisecond {
		t.Errorf("a delay that was asked for counts as a pause: %v", r)
	}
	limited := client.Bytes("limited", 100_000)
	limited.Rate = 400_000
	if r := c.Once(t.Context(), limited); !r.OK() || r.End.Sub(r.Start) < 150*time.Millisecond {
		t.Errorf("reading was not limited: %v", r)
	}
}

func TestLoadAndReport(t *testing.T) {
	c, _ := app(t)
	var report client.Report
	c.Mixed(t.Context(), 4, 6, []int64{1, 1000, 200_000}, &report)
	s := report.Summary()
	if s.Requests != 24 || s.Bytes != 8*(1+1000+200_000) || report.Err() != nil {
		t.Errorf("%+v, %v", s, report.Err())
	}
	ends := func(i int) client.Request {
		r := client.Bytes(fmt.Sprint(i), 5)
		r.Path += "&close=1"
		return r
	}
	c.Series(t.Context(), 3, 0, ends, &report)
	if err := report.Err(); err != nil {
		t.Errorf("a series goes on after Connection: close: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	report.Add(c.Once(ctx, client.Bytes("given up", 1)))
	if got := report.Summary().Requests; got != 27 {
		t.Errorf("%d requests, want 27: a canceled one does not count", got)
	}
	report.Add(client.Result{ID: "bad", Failure: client.Reset, Err: "reset by peer"})
	if err := report.Err(); err == nil || !strings.Contains(err.Error(), "bad") || report.Summary().Resets != 1 {
		t.Errorf("a reset was not reported: %v", err)
	}
}
