package client

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// Once makes one request on a connection of its own.
func (c *Client) Once(ctx context.Context, r Request) Result {
	conn, err := c.Dial(ctx)
	if err != nil {
		return c.noConnection(ctx, r, err)
	}
	defer conn.Close()
	return conn.Do(ctx, r)
}

// Series makes n requests one after the other on one connection, and on a new one only where
// the server said so in a reply. It ends early with ctx, and with the connection if a request
// fails. next(i) is the i-th request; gap is the time between a reply and the next request.
func (c *Client) Series(ctx context.Context, n int, gap time.Duration, next func(i int) Request, report *Report) {
	c.Repeat(ctx, gap, func(i int) (Request, bool) {
		if i == n {
			return Request{}, false
		}
		return next(i), true
	}, report)
}

// Repeat is Series that goes on until next says false.
func (c *Client) Repeat(ctx context.Context, gap time.Duration, next func(i int) (Request, bool), report *Report) {
	var conn *Conn
	defer func() {
		if conn != nil {
			conn.Close()
		}
	}()
	for i := 0; ctx.Err() == nil; i++ {
		r, more := next(i)
		if !more {
			return
		}
		if conn == nil {
			var err error
			if conn, err = c.Dial(ctx); err != nil {
				report.Add(c.noConnection(ctx, r, err))
				return
			}
		}
		result := conn.Do(ctx, r)
		report.Add(result)
		if !result.OK() {
			return
		}
		if !conn.Usable() {
			conn.Close()
			conn = nil
		}
		sleep(ctx, gap)
	}
}

func sleep(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// Mixed runs one Series on each of conns connections at once; the sizes of the replies take
// turns over requests and connections. Every third request is chunked.
func (c *Client) Mixed(ctx context.Context, conns, each int, sizes []int64, report *Report) {
	var wg sync.WaitGroup
	for k := range conns {
		wg.Go(func() {
			c.Series(ctx, each, 0, func(i int) Request {
				id, size := fmt.Sprintf("mixed-%d-%d", k, i), sizes[(k+i)%len(sizes)]
				if (k+i)%3 == 2 {
					return Chunked(id, size)
				}
				return Bytes(id, size)
			}, report)
		})
	}
	wg.Wait()
}

func (c *Client) noConnection(ctx context.Context, r Request, err error) Result {
	now := time.Now()
	x := Result{ID: r.ID, Method: r.method(), Start: now, End: now, Failure: Connect, Err: err.Error()}
	if ctx.Err() != nil {
		x.Failure = Canceled
	}
	return x
}
