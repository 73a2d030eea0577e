package drill

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ftgw/ftgw/internal/lab"
	"github.com/ftgw/ftgw/internal/lab/capture"
	"github.com/ftgw/ftgw/internal/lab/client"
	"github.com/ftgw/ftgw/internal/lab/oracle"
)

const aborters = 3

// aborting begins downloads each of which ends by a reset in the middle, and others that do not.
func aborting(l *load) {
	l.ordinary(l.r.Client)
	for k := range aborters {
		l.wg.Go(func() {
			for i := 0; !l.over.Load() && l.ctx.Err() == nil; i++ {
				c, err := l.r.Client.Dial(l.ctx)
				if err != nil {
					l.r.Report.Add(noConnection("aborted", err))
					return
				}
				q := client.Bytes(fmt.Sprintf("aborted%d-%d", k, i), 2<<20)
				q.Rate = 8 << 20
				ctx, cancel := context.WithTimeout(l.ctx, time.Duration(2+9*((k+i)%5))*time.Millisecond)
				l.r.Report.Add(c.Do(ctx, q)) // does not count when it was given up
				cancel()
				if err := c.Abort(); err != nil {
					l.r.Report.Add(noConnection("aborted", err))
					return
				}
			}
		})
	}
}

// nothingLeft waits until the hosts that live know of no connection any more, but for those
// whose reset was lost with the host that died: they end as idle ones.
func nothingLeft(ctx context.Context, r *Round) error {
	lost := 0
	if r.third() != nil {
		lost = aborters
	}
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	for _, h := range []*lab.Host{r.A, r.B} {
		if h.Crashed() {
			continue
		}
		err := r.await(ctx, h, "has no flow", func(_ *Service, s lab.ServiceStatus) bool { return s.Flows.Duplex+s.Flows.Simplex <= lost })
		if err != nil {
			return err
		}
	}
	return nil
}

// reusing begins connections each from the port of the one before. Where the backup's kernel
// is not yet done with that one, it does not answer the SYN, and after confirm_timeout the
// connection is the primary's alone: nothing is confirmed for those.
func reusing(l *load) {
	l.r.Rules.Input = false
	l.r.Check(func(s *Seen) error {
		const confirmTimeout = time.Second
		var held []capture.Segment
		late := 0
		for _, c := range l.r.connections(s.Wire) {
			answered := slices.IndexFunc(c.Segments, func(g capture.Segment) bool { return g.Flags.Has(capture.SYN | capture.ACK) })
			if answered > 0 && c.Segments[answered].Time.Sub(c.Segments[0].Time) > confirmTimeout-confirmTimeout/10 {
				late++
			} else {
				held = append(held, c.Segments...)
			}
		}
		if late > 4 {
			return fmt.Errorf("%d connections were answered late", late)
		}
		var errs []error
		for _, v := range l.r.Services {
			errs = append(errs, oracle.InputCommit(s.Handed, held, v.At, l.r.struck).Err)
		}
		return errors.Join(errs...)
	})
	for k := range 4 {
		c := l.r.only(l.r.with(option{unix.SOL_SOCKET, unix.SO_REUSEADDR, 1}), k)
		c.Source, c.Port = netip.MustParseAddr(lab.ClientIP), uint16(20_000+k)
		l.wg.Go(func() {
			for i := 0; !l.over.Load() && l.ctx.Err() == nil; i++ {
				id := fmt.Sprintf("port%d-%d", k, i)
				if err := reuse(l, c, id, i%3 == 2); err != nil {
					l.r.Report.Add(noConnection(id, err))
					return
				}
			}
		})
	}
}

// reuse makes one request on a connection of its own, which the client then resets, or the
// server closes first.
func reuse(l *load, c *client.Client, id string, abort bool) error {
	conn, err := dialPort(l.ctx, c)
	if err != nil {
		return err
	}
	defer conn.Close()
	q := client.Bytes(id, 30_000)
	q.Path, q.Delay = q.Path+"&delay=30", 30*time.Millisecond
	if abort {
		l.r.Report.Add(conn.Do(l.ctx, q))
		return conn.Abort()
	}
	q.Close = true
	x := conn.Do(l.ctx, q)
	l.r.Report.Add(x)
	if !x.OK() {
		return nil
	}
	if _, err := conn.TCP().Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		return fmt.Errorf("after the last reply came %w instead of the end", err)
	}
	return nil
}

// dialPort waits until the client's own kernel has given the port up: while the last
// acknowledgment of the connection before is on its way, it has not.
func dialPort(ctx context.Context, c *client.Client) (*client.Conn, error) {
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		conn, err := c.Dial(ctx)
		if !errors.Is(err, unix.EADDRNOTAVAIL) || time.Now().After(end) {
			return conn, err
		}
	}
}

// noConnection is the result of a request that could not be made, or a connection that did not
// end as it must.
func noConnection(id string, err error) client.Result {
	now := time.Now()
	return client.Result{ID: id, Start: now, End: now, Failure: client.Connect, Err: err.Error()}
}
