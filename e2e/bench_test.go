package e2e

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ftgw/ftgw/internal/lab"
	"github.com/ftgw/ftgw/internal/lab/client"
	"github.com/ftgw/ftgw/internal/lab/labtest"
)

// direct is where the web application of host a answers without ftgw, the measure of what the
// lab itself costs: the same client, cables, router and application.
const direct = "192.0.2.11:8081"

const bulk = 500_000_000 // bytes of a download and of an upload

// bench is a pair in duplex in an idle lab, and the same web application beside it.
type bench struct {
	*lab.Lab
	nodes       map[string]*lab.Process
	via, direct *client.Client
}

// BenchmarkDuplex measures what a client sees of a pair in duplex, and after each load the
// same load without ftgw: direct-ratio is how many times as long (or as few a second) it takes
// with ftgw. The cpu metrics are processor time of the two daemons. Client, router and both
// hosts share the processors of this machine, so that all figures are of the whole lab.
func BenchmarkDuplex(b *testing.B) {
	x := startBench(b)
	b.Run("Idle", x.idle)
	b.Run("Request1K", x.request1K)
	b.Run("Requests32", x.requests32)
	b.Run("Download500MB", func(b *testing.B) {
		x.bulk(b, client.Request{ID: "down", Path: client.Bytes("down", bulk).Path, Upload: -1, Unverified: true})
	})
	b.Run("Upload500MB", func(b *testing.B) {
		r := client.Upload("up", bulk)
		r.Unverified = true
		x.bulk(b, r)
	})
}

func startBench(b *testing.B) *bench {
	l := labtest.Lab(b, lab.Options{CongestionControl: "cubic"})
	ctx, cancel := context.WithTimeout(b.Context(), 20*time.Second)
	defer cancel()
	if err := l.StartPair(ctx, program, lab.Config{}); err != nil {
		b.Fatal(err)
	}
	x := &bench{Lab: l, nodes: map[string]*lab.Process{},
		via:    &client.Client{Namespace: l.Client, Target: lab.Advertised, Timeout: 2 * time.Minute},
		direct: &client.Client{Namespace: l.Client, Target: direct, Timeout: 2 * time.Minute},
	}
	for _, h := range []*lab.Host{l.A, l.B} {
		for _, p := range h.Processes() {
			if p.Name == "ftgw" {
				x.nodes[h.Name] = p
			}
		}
	}
	if _, err := l.A.Start("app-direct", program, "lab-app", "--listen", direct, "--host", "direct"); err != nil {
		b.Fatal(err)
	}
	for { // bounded by ctx: what is not there yet refuses the connection
		err := x.one(ctx, x.direct, client.Bytes("warm", 1000))
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			b.Fatal(err)
		}
	}
	if err := x.one(ctx, x.via, client.Bytes("warm", 1000)); err != nil {
		b.Fatal(err)
	}
	return x
}

// one makes a request on a connection of its own.
func (x *bench) one(ctx context.Context, c *client.Client, r client.Request) error {
	if result := c.Once(ctx, r); !result.OK() {
		return fmt.Errorf("%v", result)
	}
	return nil
}

// idle is what a pair costs that has nothing to do.
func (x *bench) idle(b *testing.B) {
	const long = 2 * time.Second
	before := x.cpu(b)
	for b.Loop() {
		time.Sleep(long)
	}
	for name, used := range x.cpu(b) {
		b.ReportMetric(100*float64(used-before[name])/float64(b.Elapsed()), name+"-cpu-%")
	}
	b.ReportMetric(0, "ns/op")
}

// request1K is one connection with one request at a time.
func (x *bench) request1K(b *testing.B) {
	run := func(c *client.Client, more func(i int) bool) []time.Duration {
		var took []time.Duration
		var report client.Report
		c.Repeat(b.Context(), 0, func(i int) (client.Request, bool) {
			return client.Bytes("r"+strconv.Itoa(i), 1<<10), more(i)
		}, &report)
		x.check(b, &report)
		for _, r := range report.Results() {
			took = append(took, r.End.Sub(r.Start))
		}
		slices.Sort(took)
		return took
	}
	before := x.cpu(b)
	via := run(x.via, func(int) bool { return b.Loop() })
	x.perRequest(b, before, len(via), time.Microsecond, "µs")
	plain := run(x.direct, func(i int) bool { return i < len(via) })
	b.ReportMetric(micros(via[len(via)/2]), "median-µs")
	b.ReportMetric(micros(via[len(via)*99/100]), "p99-µs")
	b.ReportMetric(float64(via[len(via)/2])/float64(plain[len(plain)/2]), "direct-ratio")
}

// requests32 is 32 keep-alive connections with one request at a time each.
func (x *bench) requests32(b *testing.B) {
	const conns, each = 32, 100
	run := func(c *client.Client) time.Duration {
		var report client.Report
		begin := time.Now()
		c.Mixed(b.Context(), conns, each, []int64{1 << 10}, &report)
		took := time.Since(begin)
		x.check(b, &report)
		return took
	}
	var via, plain time.Duration
	rounds := 0
	before := x.cpu(b)
	for b.Loop() {
		via += run(x.via)
		rounds++
	}
	x.perRequest(b, before, rounds*conns*each, time.Microsecond, "µs")
	for range rounds {
		plain += run(x.direct)
	}
	b.ReportMetric(float64(rounds*conns*each)/via.Seconds(), "req/s")
	b.ReportMetric(via.Seconds()/plain.Seconds(), "direct-ratio")
}

// bulk is one large request after the other. Its bytes are counted and not verified, so that
// the client's digests take nothing from the daemons; the tests verify.
func (x *bench) bulk(b *testing.B, r client.Request) {
	b.SetBytes(bulk)
	run := func(c *client.Client) time.Duration {
		begin := time.Now()
		if err := x.one(b.Context(), c, r); err != nil {
			b.Fatal(err)
		}
		return time.Since(begin)
	}
	var via, plain time.Duration
	before := x.cpu(b)
	rounds := 0
	for b.Loop() {
		via += run(x.via)
		rounds++
	}
	x.perRequest(b, before, rounds, time.Millisecond, "ms")
	for range rounds {
		plain += run(x.direct)
	}
	b.ReportMetric(via.Seconds()/plain.Seconds(), "direct-ratio")
}

func (x *bench) check(b *testing.B, report *client.Report) {
	b.Helper()
	if err := report.Err(); err != nil {
		b.Fatal(err)
	}
}

// cpu returns the processor time that each daemon has used, in steps of 10 ms.
func (x *bench) cpu(b *testing.B) map[string]time.Duration {
	b.Helper()
	used := map[string]time.Duration{}
	for name, p := range x.nodes {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.PID()))
		if err != nil {
			b.Fatal(err)
		}
		// utime and stime are the 12th and 13th fields after the command's name (proc_pid_stat(5)).
		fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
		for _, f := range fields[11:13] {
			ticks, err := strconv.Atoi(f)
			if err != nil {
				b.Fatal(err)
			}
			used[name] += time.Duration(ticks) * 10 * time.Millisecond
		}
	}
	return used
}

// perRequest reports the processor time since before for each of n requests.
func (x *bench) perRequest(b *testing.B, before map[string]time.Duration, n int, unit time.Duration, name string) {
	b.Helper()
	for host, used := range x.cpu(b) {
		b.ReportMetric(float64(used-before[host])/float64(unit)/float64(n), host+"-"+name+"-cpu/req")
	}
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
