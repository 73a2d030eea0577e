package drill

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ftgw/ftgw/internal/lab/client"
)

// Mixed begins requests of every kind on 16 connections: downloads that are slower than the
// server and so in the middle of their reply, uploads in the middle of their request, slow
// requests that wait for theirs, and series of small and middling replies. The returned
// function lets the requests that are under way end and waits for them; it may be called again.
func (r *Round) Mixed(ctx context.Context) (finish func()) {
	var over atomic.Bool
	var wg sync.WaitGroup
	each := func(name string, gap time.Duration, next func(id string, i int) client.Request) {
		wg.Go(func() {
			r.Client.Repeat(ctx, gap, func(i int) (client.Request, bool) {
				return next(fmt.Sprintf("%s-%d", name, i), i), !over.Load()
			}, r.Report)
		})
	}
	for k := range 2 {
		each(fmt.Sprintf("download%d", k), 0, func(id string, _ int) client.Request {
			q := client.Bytes(id, 3<<20)
			q.Rate = 8 << 20
			return q
		})
		each(fmt.Sprintf("upload%d", k), 10*time.Millisecond, func(id string, _ int) client.Request {
			return client.Upload(id, 2<<20)
		})
	}
	for k := range 4 {
		each(fmt.Sprintf("slow%d", k), 0, func(id string, i int) client.Request {
			return client.Slow(id, time.Duration(40+60*((k+i)%4))*time.Millisecond)
		})
	}
	for k := range 8 {
		sizes := []int64{100, 3000, 20_000, 200_000}
		each(fmt.Sprintf("series%d", k), 10*time.Millisecond, func(id string, i int) client.Request {
			if (k+i)%3 == 2 {
				return client.Chunked(id, sizes[(k+i)%len(sizes)])
			}
			return client.Bytes(id, sizes[(k+i)%len(sizes)])
		})
	}
	return func() { over.Store(true); wg.Wait() }
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
