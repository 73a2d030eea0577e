package upstream

import (
	"io"
	"net"
	"os"
	"testing"
)

// TestServerClosesOnRequest: the race that no look can win; the rule for a retry holds.
func TestServerClosesOnRequest(t *testing.T) {
	l := listen(t, "tcp")
	serve(t, l, func(n int, c net.Conn) {
		if n == 0 {
			answerOnce(c)
			io.ReadFull(c, make([]byte, 1)) // the second request is not answered
			return
		}
		answer(n, c)
	})
	p := newPool(t, PoolConfig{Address: address(t, l)})
	mustExchange(t, p, "/a", false)
	c, err := p.Get(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, err = exchange(c, "/b")
	if err == nil || !c.MayRetry("GET", err) || c.MayRetry("POST", err) {
		t.Fatalf("%v: GET %v, POST %v", err, c.MayRetry("GET", err), c.MayRetry("POST", err))
	}
	c.Discard()
	if c, err = p.Fresh(t.Context(), nil); err != nil || c.Reused() {
		t.Fatal(c, err)
	}
	if got, err := exchange(c, "/b"); err != nil || got != "/b" {
		t.Fatal(got, err)
	}
	if c.MayRetry("GET", io.ErrUnexpectedEOF) {
		t.Error("a fresh connection's failure is final")
	}
	c.Put()
}

// TestUntaken: a POST is sent again only if the server's kernel took no byte of it.
func TestUntaken(t *testing.T) {
	for _, tt := range []struct {
		name    string
		network string
		early   func(net.Conn) // before the request is sent
		late    func(net.Conn) // afterwards
		want    bool
	}{
		{"closed for being idle", "tcp", closeIt, nil, true},
		{"a unix socket tells less: nothing is sent", "unix", closeIt, nil, true},
		{"crashed after a part", "tcp", nil, func(c net.Conn) { io.ReadFull(c, make([]byte, 3)); c.Close() }, false},
		{"closed after all of it", "tcp", nil, func(c net.Conn) { c.Read(make([]byte, 4096)); c.Close() }, false},
		{"closed after all of it", "unix", nil, func(c net.Conn) { c.Read(make([]byte, 4096)); c.Close() }, false},
		{"half-closed, and read", "tcp", halfClose, func(c net.Conn) { c.Read(make([]byte, 4096)) }, false},
		{"half-closed", "tcp", halfClose, nil, false},
	} {
		t.Run(tt.name+"/"+tt.network, func(t *testing.T) {
			l := listen(t, tt.network)
			conns := make(chan net.Conn, 1)
			serve(t, l, func(_ int, c net.Conn) {
				if answerOnce(c) {
					conns <- c
					<-t.Context().Done()
				}
			})
			p := newPool(t, PoolConfig{Address: address(t, l)})
			mustExchange(t, p, "/a", false)
			c, err := p.Get(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Discard()
			server := <-conns
			if tt.early != nil {
				tt.early(server)
				eventually(t, "the kernel has it", func() bool { return !c.alive() })
			}
			_, err = io.WriteString(c, "POST /b HTTP/1.1\r\nHost: test\r\nContent-Length: 1\r\n\r\nx")
			if tt.late != nil {
				tt.late(server)
			}
			if err == nil {
				_, err = c.Reader().ReadByte()
			}
			if got := c.MayRetry("POST", err); got != tt.want || !c.MayRetry("GET", err) {
				t.Errorf("POST %v, GET %v after %v", got, c.MayRetry("GET", err), err)
			}
		})
	}
}

func closeIt(c net.Conn)   { c.Close() }
func halfClose(c net.Conn) { c.(interface{ CloseWrite() error }).CloseWrite() }

func TestMayRetry(t *testing.T) {
	timeout := &net.OpError{Op: "read", Err: os.ErrDeadlineExceeded}
	for _, tt := range []struct {
		name, method  string
		reused, began bool
		written       int64
		err           error
		want          bool
	}{
		{"safe", "GET", true, false, 9, io.EOF, true},
		{"idempotent", "PUT", true, false, 9, io.EOF, true},
		{"not idempotent", "POST", true, false, 9, io.EOF, false},
		{"unknown method", "get", true, false, 9, io.EOF, false},
		{"nothing was sent", "POST", true, false, 0, io.ErrClosedPipe, true},
		{"first use", "GET", false, false, 9, io.EOF, false},
		{"the reply began", "GET", true, true, 9, io.EOF, false},
		{"silence", "GET", true, false, 9, timeout, false},
		{"aborted here", "GET", true, false, 9, net.ErrClosed, false},
		{"no failure", "GET", true, false, 9, nil, false},
	} {
		c := &Conn{reused: tt.reused, began: tt.began, written: tt.written}
		if got := c.MayRetry(tt.method, tt.err); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}
