package drill

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ftgw/ftgw/internal/lab/client"
	"github.com/ftgw/ftgw/internal/lab/webapp"
)

// load is traffic of a round that goes on until finish.
type load struct {
	ctx  context.Context
	r    *Round
	name string // in front of the names of all requests
	over atomic.Bool
	wg   sync.WaitGroup
}

func (r *Round) load(ctx context.Context) *load { return &load{ctx: ctx, r: r} }

// repeat makes one request after the other on one connection of a client; next names them.
func (l *load) repeat(c *client.Client, name string, gap time.Duration, next func(id string, i int) client.Request) {
	l.wg.Go(func() {
		c.Repeat(l.ctx, gap, func(i int) (client.Request, bool) {
			return next(fmt.Sprintf("%s%s-%d", l.name, name, i), i), !l.over.Load()
		}, l.r.Report)
	})
}

// finish lets the requests that are under way end and waits for them; it may be called again.
func (l *load) finish() {
	l.over.Store(true)
	l.wg.Wait()
}

// Mixed begins requests of every kind on 16 connections: downloads that are slower than the
// server and so in the middle of their reply, uploads in the middle of their request, slow
// requests that wait for theirs, and series of small and middling replies. The returned
// function lets the requests that are under way end and waits for them; it may be called again.
func (r *Round) Mixed(ctx context.Context) (finish func()) {
	l := r.load(ctx)
	l.mixed()
	return l.finish
}

func (l *load) mixed() {
	c := l.r.Client
	for k := range 2 {
		l.repeat(c, fmt.Sprintf("download%d", k), 0, func(id string, _ int) client.Request {
			q := client.Bytes(id, 3<<20)
			q.Rate = 8 << 20
			return q
		})
		l.repeat(c, fmt.Sprintf("upload%d", k), 10*time.Millisecond, func(id string, _ int) client.Request {
			return client.Upload(id, 2<<20)
		})
	}
	for k := range 4 {
		l.repeat(c, fmt.Sprintf("slow%d", k), 0, func(id string, i int) client.Request {
			return client.Slow(id, time.Duration(40+60*((k+i)%4))*time.Millisecond)
		})
	}
	for k := range 8 {
		sizes := []int64{100, 3000, 20_000, 200_000}
		l.repeat(c, fmt.Sprintf("series%d", k), 10*time.Millisecond, func(id string, i int) client.Request {
			q := client.Bytes(id, sizes[(k+i)%len(sizes)])
			if (k+i)%3 == 2 {
				q = client.Chunked(id, sizes[(k+i)%len(sizes)])
			}
			if k == 7 && l.r.Setting.promise().alike == webapp.AlikeBody {
				q.Path += "&unlike=1" // no host can count on it
			}
			return q
		})
	}
}

// Sleep waits, or until ctx ends.
func Sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
