package upstream

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"time"
)

func TestReuse(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			l := listen(t, network)
			serve(t, l, answer)
			p := newPool(t, PoolConfig{Address: address(t, l), Patience: patient})
			mustExchange(t, p, "/a", false)
			mustExchange(t, p, "/b", true)
			a, err := p.Get(t.Context())
			if err != nil || !a.Reused() || a.Began() {
				t.Fatal(a, err)
			}
			b, err := p.Get(t.Context())
			if err != nil || b.Reused() {
				t.Fatal(b, err)
			}
			if s := p.Stats(); s.Lent != 2 || s.Idle != 0 || s.Dialled != 2 || s.Reused != 2 {
				t.Errorf("%+v", s)
			}
			a.Put()
			b.Discard()
			b.Discard() // twice is once
			if s := p.Stats(); s.Lent != 0 || s.Idle != 1 {
				t.Errorf("%+v", s)
			}
		})
	}
}

// TestStale: what the server did to an idle connection is seen before it is lent.
func TestStale(t *testing.T) {
	for _, tt := range []struct {
		name  string
		while func(net.Conn) // idle
	}{
		{"closed", closeIt},
		{"half-closed", halfClose},
		{"garbage", func(c net.Conn) { io.WriteString(c, "HTTP/1.1 408 Request Timeout\r\n\r\n") }},
		{"reset", func(c net.Conn) {
			if tcp, ok := c.(*net.TCPConn); ok {
				tcp.SetLinger(0)
			}
			c.Close()
		}},
	} {
		for _, network := range []string{"tcp", "unix"} {
			t.Run(tt.name+"/"+network, func(t *testing.T) {
				l := listen(t, network)
				conns := make(chan net.Conn, 2)
				serve(t, l, func(n int, c net.Conn) { conns <- c; answer(n, c) })
				p := newPool(t, PoolConfig{Address: address(t, l), IdleTime: time.Hour})
				mustExchange(t, p, "/a", false)
				tt.while(<-conns)
				eventually(t, "the kernel has it", func() bool { return !p.idle[0].alive() })
				mustExchange(t, p, "/b", false)
				if s := p.Stats(); s.Stale != 1 || s.Dialled != 2 || s.Idle != 1 {
					t.Errorf("%+v", s)
				}
			})
		}
	}
}

func TestUnreadIsNotPooled(t *testing.T) {
	l := listen(t, "tcp")
	serve(t, l, func(_ int, c net.Conn) {
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\n")
		io.Copy(io.Discard, c)
	})
	p := newPool(t, PoolConfig{Address: address(t, l)})
	c, err := p.Get(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Reader().Peek(60 - 5); err != nil {
		t.Fatal(err)
	}
	c.Put()
	if s := p.Stats(); s.Idle+s.Lent != 0 {
		t.Errorf("%+v", s)
	}
}

// TestTotalPatience: who waits for one of a few connections does so no longer than for a reply.
func TestTotalPatience(t *testing.T) {
	l := listen(t, "tcp")
	serve(t, l, answer)
	p := newPool(t, PoolConfig{Address: address(t, l), Total: 1, Patience: 10 * time.Millisecond})
	c, err := p.Get(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Discard()
	if _, err := p.Get(t.Context()); !errors.Is(err, ErrFull) || !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	if n := p.Stats().Waiting; n != 0 {
		t.Errorf("%d wait", n)
	}
}

func TestTotal(t *testing.T) {
	l := listen(t, "tcp")
	serve(t, l, answer)
	p := newPool(t, PoolConfig{Address: address(t, l), Total: 2})
	a, _ := p.Get(t.Context())
	b, err := p.Get(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	_, err = p.Get(ctx)
	if !errors.Is(err, ErrFull) || !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	contains(t, err, "all connections to the upstream are in use, 2 at most")

	got := make(chan *Conn)
	await := func(fresh bool) {
		t.Helper()
		go func() {
			get := p.Get
			if fresh {
				get = func(ctx context.Context) (*Conn, error) { return p.Fresh(ctx, nil) }
			}
			c, err := get(within(t))
			if err != nil {
				t.Error(err)
			}
			got <- c
		}()
		eventually(t, "it waits", func() bool { return p.Stats().Waiting == 1 })
	}
	await(false) // a connection that is put is handed on
	a.Put()
	if c := <-got; c != a || !c.Reused() {
		t.Error("another connection came")
	}
	await(false) // the slot of one that is discarded is
	b.Discard()
	c := <-got
	if c == b || c.Reused() {
		t.Error("a used connection came")
	}
	await(true) // one who wants a fresh one gets no used one
	a.Put()
	d := <-got
	if d == a || d.Reused() {
		t.Error("a used connection came")
	}
	c.Put() // and an idle one makes room for it
	e, err := p.Fresh(within(t), nil)
	if err != nil || e == c {
		t.Fatal(e, err)
	}
	defer e.Discard()
	defer d.Discard()
	if s := p.Stats(); s.Lent != 2 || s.Idle != 0 || s.Expired != 1 {
		t.Errorf("%+v", s)
	}
}

func TestDialFailureFreesTheSlot(t *testing.T) {
	l := listen(t, "tcp")
	a := address(t, l)
	l.Close()
	p := newPool(t, PoolConfig{Address: a, Total: 1})
	for range 3 {
		_, err := p.Get(within(t))
		contains(t, err, "is it running?")
	}
	if s := p.Stats(); s.Failed != 3 || s.Lent != 0 {
		t.Errorf("%+v", s)
	}
}

// TestUnixSocketMadeAgain: a server that restarts removes its socket and makes it again.
func TestUnixSocketMadeAgain(t *testing.T) {
	l := listen(t, "unix")
	path := l.Addr().String()
	serve(t, l, answer)
	p := newPool(t, PoolConfig{Address: address(t, l)})
	mustExchange(t, p, "/a", false)
	l.Close() // removes the file; the connection lives
	mustExchange(t, p, "/b", true)
	c, err := p.Get(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c.Discard()
	_, err = p.Get(t.Context())
	contains(t, err, path)
	if !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	again, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	serve(t, again, answer)
	mustExchange(t, p, "/c", false)
}

func TestPreface(t *testing.T) {
	l := listen(t, "tcp")
	serve(t, l, func(n int, c net.Conn) {
		head := make([]byte, 5)
		if _, err := io.ReadFull(c, head); err != nil || string(head) != "hello" {
			t.Errorf("preface %q, %v", head, err)
		}
		answer(n, c)
	})
	p := newPool(t, PoolConfig{Address: address(t, l), Patience: patient})
	c, err := p.Fresh(t.Context(), []byte("hello"))
	if err != nil {
		t.Fatal(err)
	}
	for i, path := range []string{"/a", "/b"} {
		if got, err := exchange(c, path); err != nil || got != path || c.Reused() != (i > 0) {
			t.Fatal(got, err, c.Reused())
		}
		if !c.Again() {
			t.Fatal("it is not alive")
		}
	}
	c.Put()
	if s := p.Stats(); s.Lent+s.Idle != 0 || s.Dialled != 1 {
		t.Errorf("it was pooled: %+v", s)
	}
}

func TestPatience(t *testing.T) {
	l := listen(t, "tcp")
	serve(t, l, func(_ int, c net.Conn) { io.Copy(io.Discard, c) })
	p := newPool(t, PoolConfig{Address: address(t, l), Patience: 20 * time.Millisecond})
	c, err := p.Get(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, err = exchange(c, "/")
	var late net.Error
	if !errors.As(err, &late) || !late.Timeout() || c.MayRetry("GET", err) {
		t.Error(err)
	}
	c.Discard()
}

func TestIdleLimits(t *testing.T) {
	l := listen(t, "tcp")
	serve(t, l, answer)
	p := newPool(t, PoolConfig{Address: address(t, l), Idle: 2, IdleTime: time.Hour})
	var conns []*Conn
	for range 4 {
		c, err := p.Get(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, c)
	}
	for _, c := range conns {
		c.Put()
	}
	if s := p.Stats(); s.Idle != 2 || s.Lent != 0 {
		t.Errorf("%+v", s)
	}
	conns[0].since = time.Now().Add(-time.Hour)
	p.expire(time.Now().Add(-time.Minute))
	if s := p.Stats(); s.Idle != 1 || s.Expired != 1 {
		t.Errorf("%+v", s)
	}
	conns[1].since = time.Now().Add(-time.Hour) // too old, though nobody closed it yet
	mustExchange(t, p, "/", false)
}

// TestRun closes what idles, and everything when it ends.
func TestRun(t *testing.T) {
	l := listen(t, "tcp")
	serve(t, l, answer)
	p := newPool(t, PoolConfig{Address: address(t, l), IdleTime: 20 * time.Millisecond})
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan error)
	go func() { ran <- p.Run(ctx) }()
	mustExchange(t, p, "/a", false)
	eventually(t, "it expires", func() bool { return p.Stats().Expired == 1 })
	c, err := p.Get(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-ran; err != nil {
		t.Error(err)
	}
	if _, err := exchange(c, "/"); err == nil {
		t.Error("a lent connection survived")
	}
	c.Put()
	if _, err := p.Get(t.Context()); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
}

func TestCloseWakes(t *testing.T) {
	l := listen(t, "tcp")
	p := newPool(t, PoolConfig{Address: address(t, l), Total: 1})
	c, err := p.Get(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	waited := make(chan error)
	go func() { _, err := p.Get(context.Background()); waited <- err }()
	eventually(t, "it waits", func() bool { return p.Stats().Waiting == 1 })
	p.Close()
	p.Close()
	if err := <-waited; !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	c.Discard()
}

// TestCrowd has many users, some of whom give up, and a server that closes now and then. No slot
// is lost and the limit holds.
func TestCrowd(t *testing.T) {
	l := listen(t, "tcp")
	serve(t, l, func(n int, c net.Conn) {
		for i := 0; i <= n%5; i++ {
			if !answerOnce(c) {
				return
			}
		}
	})
	const total = 4
	p := newPool(t, PoolConfig{Address: address(t, l), Total: total, Idle: 3, IdleTime: time.Millisecond})
	ctx, cancel := context.WithCancel(t.Context())
	var run, users sync.WaitGroup
	for n := range 16 {
		users.Go(func() {
			for i := range 100 {
				limit := patient
				if (n+i)%3 == 0 {
					limit = 200 * time.Microsecond
				}
				ctx, cancel := context.WithTimeout(t.Context(), limit)
				var c *Conn
				var err error
				if i%7 == 0 {
					c, err = p.Fresh(ctx, nil)
				} else {
					c, err = p.Get(ctx)
				}
				cancel()
				if err != nil {
					if limit == patient {
						t.Error(err)
					}
					continue
				}
				if s := p.Stats(); s.Lent+s.Idle > total {
					t.Errorf("%+v", s)
				}
				if _, err := exchange(c, "/"); err != nil {
					c.Discard()
				} else {
					c.Put()
				}
			}
		})
	}
	run.Go(func() { p.Run(ctx) })
	users.Wait()
	if s := p.Stats(); s.Lent != 0 || s.Waiting != 0 || s.Idle > 3 {
		t.Errorf("%+v", s)
	}
	t.Logf("%+v", p.Stats())
	cancel()
	run.Wait()
}
