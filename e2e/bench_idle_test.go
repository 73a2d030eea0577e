package e2e

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ftgw/ftgw/internal/lab"
	"github.com/ftgw/ftgw/internal/lab/client"
	"github.com/ftgw/ftgw/internal/lab/labtest"
)

const (
	idleConns = 10_000
	busyConns = 256
)

// BenchmarkIdleConnections measures a pair in duplex with 10,000 keep-alive connections that have
// had one reply each and are silent, then with 256 busy ones beside them, then the primary's crash.
//
//	a-B/idle, b-B/idle   resident memory that each daemon has grown by, for each idle connection
//	kernel-B/idle        kernel objects of one socket: slab caches of TCP sockets, their inodes,
//	                     files, directory entries and epoll's; of the client's socket and the two
//	                     hosts' a third each. Not given where the kernel does not tell.
//	                     Socket buffers are empty when idle and not counted
//	a-cpu-%, b-cpu-%     processor time of the daemons while all connections are idle
//	req/s                of the busy connections, 1 KiB each
//	claimed-ms           from the decision until the survivor had done all steps of its claim
//	survivors            idle connections on which the survivor answered after the crash
//
// It fails if any connection is or becomes simplex while both hosts live.
func BenchmarkIdleConnections(b *testing.B) {
	l := labtest.Lab(b, lab.Options{CongestionControl: "cubic"})
	enoughFiles(b, idleConns+2*busyConns+100)
	ctx, cancel := context.WithTimeout(b.Context(), 20*time.Second)
	defer cancel()
	if err := l.StartPair(ctx, program, lab.Config{Service: `idle_timeout = "10m"`}); err != nil {
		b.Fatal(err)
	}
	x := &idleBench{bench: bench{Lab: l, nodes: map[string]*lab.Process{"a": l.A.Node(), "b": l.B.Node()},
		via: &client.Client{Namespace: l.Client, Target: lab.Advertised, Timeout: time.Minute}},
		result: map[string]float64{"ns/op": 0}}
	if err := x.one(b.Context(), x.via, client.Bytes("warm", 1<<10)); err != nil {
		b.Fatal(err)
	}
	before := x.memory(b)
	x.open(b)
	defer x.close()
	time.Sleep(2 * time.Second) // what was only needed to open them goes
	x.report(b, before, x.memory(b))
	x.quiet(b)
	x.protected(b, idleConns)
	x.busy(b)
	x.protected(b, idleConns)
	x.crash(b)
	for metric, value := range x.result {
		b.ReportMetric(value, metric)
	}
}

// idleBench is a pair with many connections.
type idleBench struct {
	bench
	conns  []net.Conn
	result map[string]float64 // metrics; b.Loop forgets those that are reported before it
}

func (x *idleBench) note(metric string, value float64) { x.result[metric] = value }

// enoughFiles skips the benchmark where a process may not open so many files. Go has raised the
// soft limit already, in this program and in ftgw.
func enoughFiles(b *testing.B, n uint64) {
	b.Helper()
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		b.Fatal(err)
	}
	if limit.Max < n {
		labtest.Missing(b, fmt.Sprintf("%d open files are allowed, %d are needed (ulimit -Hn %d)", limit.Max, n, n))
	}
}

// open opens the idle connections, each with one request.
func (x *idleBench) open(b *testing.B) {
	b.Helper()
	x.conns = make([]net.Conn, idleConns)
	x.each(b, func(i int) (err error) {
		err = x.Client.Do(func() error {
			x.conns[i], err = net.DialTimeout("tcp", lab.Advertised, 20*time.Second)
			return err
		})
		if err != nil {
			return err
		}
		return ask(x.conns[i], fmt.Sprint("idle", i))
	})
}

// each calls f for every idle connection, for several at once; the benchmark ends with the first
// failure.
func (x *idleBench) each(b *testing.B, f func(i int) error) {
	b.Helper()
	const workers = 64
	errs := make([]error, workers)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := w; i < idleConns && errs[w] == nil; i += workers {
				errs[w] = f(i)
			}
		})
	}
	wg.Wait()
	if i := slices.IndexFunc(errs, func(err error) bool { return err != nil }); i >= 0 {
		b.Fatal(errs[i])
	}
}

// ask makes a small request on a connection that must stay open.
func ask(c net.Conn, id string) error {
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: lab\r\n\r\n", client.Bytes(id, 100).Path); err != nil {
		return err
	}
	reply, err := http.ReadResponse(bufio.NewReaderSize(c, 512), nil)
	if err != nil {
		return fmt.Errorf("%s: %w", id, err)
	}
	n, err := io.Copy(io.Discard, reply.Body)
	if err != nil || n != 100 || reply.StatusCode != http.StatusOK || reply.Close {
		return fmt.Errorf("%s: %s, %d bytes, close %v: %v", id, reply.Status, n, reply.Close, err)
	}
	return nil
}

// close ends the connections by resets, so that the kernel does not go on with them after the lab.
func (x *idleBench) close() {
	for _, c := range x.conns {
		if c != nil {
			c.(*net.TCPConn).SetLinger(0)
			c.Close()
		}
	}
}

// quiet measures the processor time that idle connections cost.
func (x *idleBench) quiet(b *testing.B) {
	b.Helper()
	const long = 3 * time.Second
	before := x.cpu(b)
	time.Sleep(long)
	for name, used := range x.cpu(b) {
		x.note(name+"-cpu-%", 100*float64(used-before[name])/float64(long))
	}
}

// busy measures further connections with one request after the other.
func (x *idleBench) busy(b *testing.B) {
	b.Helper()
	const each = 40
	var took time.Duration
	rounds := 0
	for b.Loop() {
		var report client.Report
		begin := time.Now()
		x.via.Mixed(b.Context(), busyConns, each, []int64{1 << 10}, &report)
		took += time.Since(begin)
		rounds++
		x.check(b, &report)
	}
	x.note("req/s", float64(rounds*busyConns*each)/took.Seconds())
}

// protected fails the benchmark unless both hosts hold so many connections, none alone.
func (x *idleBench) protected(b *testing.B, n int) {
	b.Helper()
	for _, h := range []*lab.Host{x.A, x.B} {
		ctx, cancel := context.WithTimeout(b.Context(), 10*time.Second)
		defer cancel()
		s, err := h.Await(ctx, "all connections in duplex", func(s lab.ServiceStatus) bool {
			return s.InSync && (s.Flows.Duplex >= n || s.Flows.Simplex > 0)
		})
		if err != nil {
			b.Fatal(err)
		}
		if s.Flows.Simplex > 0 {
			b.Fatalf("%s holds connections alone: %+v", h.Name, s)
		}
	}
}

// crash ends the primary and asks on every connection.
func (x *idleBench) crash(b *testing.B) {
	b.Helper()
	if err := x.A.Crash(); err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(b.Context(), 20*time.Second)
	defer cancel()
	s, err := x.B.Await(ctx, "the claim", func(s lab.ServiceStatus) bool {
		t := s.LastTakeover
		return s.Role == "sole" && t != nil && len(t.Steps) > 0 && t.Steps[len(t.Steps)-1].Name == "released"
	})
	if err != nil {
		b.Fatal(err)
	}
	x.note("claimed-ms", float64(step(b, s.LastTakeover, "released"))/float64(time.Millisecond))
	x.each(b, func(i int) error { return ask(x.conns[i], fmt.Sprint("after", i)) })
	x.note("survivors", idleConns)
}
