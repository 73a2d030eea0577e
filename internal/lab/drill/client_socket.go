package drill

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ftgw/ftgw/internal/lab/capture"
	"github.com/ftgw/ftgw/internal/lab/client"
)

// option is a socket option, set before the socket connects.
type option struct{ level, name, value int }

// with returns a client like the round's whose sockets have the options.
func (r *Round) with(options ...option) *client.Client {
	c := *r.Client
	c.Control = func(_, _ string, raw syscall.RawConn) error {
		var err error
		outer := raw.Control(func(fd uintptr) {
			for _, o := range options {
				if err == nil {
					err = unix.SetsockoptInt(int(fd), o.level, o.name, o.value)
				}
			}
		})
		if outer != nil {
			return outer
		}
		return err
	}
	return &c
}

// sockets begins the plain traffic through sockets with those options.
func sockets(options ...option) func(*load) {
	return func(l *load) { l.ordinary(l.r.with(options...)) }
}

func plain(l *load) { l.ordinary(l.r.Client) }

// ordinary begins downloads, uploads and slow requests on 8 connections.
func (l *load) ordinary(c *client.Client) {
	for k := range 2 {
		l.repeat(c, fmt.Sprintf("download%d", k), 0, func(id string, _ int) client.Request {
			q := client.Bytes(id, 1<<20)
			q.Rate = 4 << 20
			return q
		})
		l.repeat(c, fmt.Sprintf("upload%d", k), 5*time.Millisecond, func(id string, _ int) client.Request {
			return client.Upload(id, 1<<20)
		})
		l.repeat(c, fmt.Sprintf("slow%d", k), 0, func(id string, i int) client.Request {
			return client.Slow(id, time.Duration(40+60*((k+i)%3))*time.Millisecond)
		})
		l.repeat(c, fmt.Sprintf("series%d", k), 5*time.Millisecond, func(id string, i int) client.Request {
			return client.Chunked(id, []int64{100, 20_000, 100_000}[(k+i)%3])
		})
	}
}

// cramped begins small downloads into buffers of one segment. Where such a client is slow to
// read, its window becomes less than half of what it was, and any kernel then sends only when
// its probe timer runs out: hence small.
func cramped(l *load) {
	const segment = 1460
	c := l.r.with(option{unix.SOL_SOCKET, unix.SO_RCVBUF, segment}) // the kernel doubles it, and offers half
	for k := range 6 {
		l.repeat(c, fmt.Sprintf("cramped%d", k), 0, func(id string, i int) client.Request {
			if (k+i)%3 == 2 {
				return client.Upload(id, 300_000)
			}
			return client.Bytes(id, 60_000)
		})
	}
	l.r.Check(func(s *Seen) error {
		for _, x := range s.Results {
			for _, g := range s.Wire {
				if strings.HasPrefix(x.ID, "cramped") && g.Src.String() == x.Local && g.Window > segment {
					return fmt.Errorf("%w: a window of %d", ErrMissed, g.Window)
				}
			}
		}
		return nil
	})
}

// stalled begins downloads that are not read for a while, into a buffer that is soon full.
func stalled(l *load) {
	c := l.r.with(option{unix.SOL_SOCKET, unix.SO_RCVBUF, 16 << 10})
	l.r.Check(func(s *Seen) error {
		closed := func(g capture.Segment) bool {
			return l.r.service(g.Dst.String()) != nil && g.Window == 0 && !g.Flags.Has(capture.RST)
		}
		if !slices.ContainsFunc(s.Wire, closed) {
			return fmt.Errorf("%w: no window closed", ErrMissed)
		}
		return nil
	})
	for k := range 4 {
		l.repeat(c, fmt.Sprintf("stalled%d", k), 0, func(id string, _ int) client.Request {
			q := client.Bytes(id, 500_000)
			q.Stall = 1500 * time.Millisecond
			return q
		})
	}
}

func dribble(l *load) {
	for k := range 4 {
		l.repeat(l.r.Client, fmt.Sprintf("dribble%d", k), 0, func(id string, _ int) client.Request {
			q := client.Upload(id, 500)
			q.Step = 1
			return q
		})
	}
}

func halfClosing(l *load) {
	for k := range 6 {
		l.repeat(l.r.Client, fmt.Sprintf("half%d", k), 0, func(id string, i int) client.Request {
			q := client.Slow(id, 60*time.Millisecond)
			switch (k + i) % 3 {
			case 1:
				q = client.Upload(id, 200_000)
			case 2:
				q = client.Bytes(id, 300_000)
				q.Rate = 4 << 20
			}
			q.HalfClose = true
			return q
		})
	}
}
