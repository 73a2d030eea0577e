package e2e

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ftgw/ftgw/internal/lab"
	"github.com/ftgw/ftgw/internal/lab/client"
)

// streams has two routes in mode unprotected.
var streams = lab.Config{Service: "[[service.route]]\npath = \"/events\"\nmode = \"unprotected\"\n" +
	"[[service.route]]\npath = \"/echo\"\nmode = \"unprotected\"\n"}

// ask sends a request without a body on a connection of its own and returns the reply's head.
func (x *cluster) ask(path, fields string) (*client.Conn, *bufio.Reader, *http.Response) {
	x.Helper()
	c, err := x.client.Dial(x.Context())
	x.must(err)
	x.Cleanup(func() { c.Close() })
	x.must(c.TCP().SetDeadline(time.Now().Add(time.Minute)))
	_, err = io.WriteString(c.TCP(), "GET "+path+" HTTP/1.1\r\nHost: shop\r\n"+fields+"\r\n")
	x.must(err)
	br := bufio.NewReaderSize(c.TCP(), 64<<10)
	resp, err := http.ReadResponse(br, nil)
	x.must(err)
	return c, br, resp
}

// events reads a stream of events in the background. The counter is how many came in order; end is
// how the stream ended.
func (x *cluster) events(id string) (count *atomic.Int64, end chan error) {
	x.Helper()
	_, _, resp := x.ask("/events?ms=10&id="+id, "")
	if resp.StatusCode != 200 {
		x.Fatalf("%+v", resp)
	}
	count, end = new(atomic.Int64), make(chan error, 1)
	go func() {
		for in := bufio.NewScanner(resp.Body); ; {
			if !in.Scan() {
				end <- in.Err()
				return
			}
			switch want := fmt.Sprint("data: ", count.Load()); in.Text() {
			case "":
			case want:
				count.Add(1)
			default:
				end <- fmt.Errorf("%q came instead of %q", in.Text(), want)
				return
			}
		}
	}()
	return count, end
}

// A stream goes on while the other host dies and returns, and on a connection of its own while
// logged exchanges survive. It dies with its own host, and nothing else does.
func TestStreams(t *testing.T) {
	x := start(t, lab.Options{}, streams)
	count, end := x.events("stream")
	x.until("the first events", 10*time.Second, func() bool { return count.Load() > 5 })
	if a, b := x.service(x.A), x.service(x.B); a.Flows.Unprotected != 1 || a.Exchanges.Unprotected != 1 || b.Flows.Unprotected != 0 {
		t.Errorf("a %+v, b %+v", a, b)
	}
	wait := x.busy()
	time.Sleep(200 * time.Millisecond)
	x.must(x.B.Crash())
	x.until("a serves alone", 10*time.Second, func() bool { return x.service(x.A).Role == "sole" })
	before := count.Load()
	x.until("events after the takeover", 10*time.Second, func() bool { return count.Load() > before+50 })
	x.must(x.B.Reboot())
	x.app(x.B)
	x.node(x.B)
	x.duplex()
	before = count.Load()
	x.until("events after the rejoin", 10*time.Second, func() bool { return count.Load() > before+50 })
	time.Sleep(6 * time.Second) // beyond turn_over: what idles has ended, the stream does not
	wait()
	select {
	case err := <-end:
		t.Fatalf("the stream has ended after %d events: %v", count.Load(), err)
	default:
	}
	wait = x.busy()
	time.Sleep(300 * time.Millisecond)
	x.must(x.A.Crash())
	select {
	case err := <-end:
		t.Logf("the stream ended after %d events: %v", count.Load(), err)
		if err == nil {
			t.Error("it ended as if it were whole")
		}
	case <-time.After(10 * time.Second):
		t.Error("the client of a stream is not told that its host has died")
	}
	wait()
	x.whole()
}

// Bytes go both ways after a 101, while the other host dies.
func TestUpgrade(t *testing.T) {
	x := start(t, lab.Options{}, streams)
	c, br, resp := x.ask("/echo?id=echo", "Connection: Upgrade\r\nUpgrade: echo\r\n")
	if resp.StatusCode != 101 || resp.Header.Get("Upgrade") != "echo" {
		t.Fatalf("%+v", resp)
	}
	const blocks = 400
	block := func(i int) []byte { return bytes.Repeat([]byte(fmt.Sprintf("%07d\n", i)), 8<<10) }
	var sent sync.WaitGroup
	sent.Go(func() {
		for i := range blocks {
			if _, err := c.TCP().Write(block(i)); err != nil {
				t.Error(err)
				return
			}
			time.Sleep(2 * time.Millisecond)
		}
	})
	got := make([]byte, 64<<10)
	for i := range blocks {
		if _, err := io.ReadFull(br, got); err != nil || !bytes.Equal(got, block(i)) {
			t.Fatalf("block %d: %v, or other bytes", i, err)
		}
		if i == blocks/3 {
			x.must(x.B.Crash())
		}
	}
	sent.Wait()
	x.must(c.TCP().CloseWrite())
	if rest, err := io.ReadAll(br); err != nil || len(rest) > 0 {
		t.Errorf("%d bytes at the end, %v", len(rest), err)
	}
	x.until("it is counted", 10*time.Second, func() bool { return strings.Contains(x.ledger(x.A), `"outcome":"unprotected"`) })
	// On a logged route nobody is asked to switch.
	if _, _, resp := x.ask("/bytes?size=3", "Connection: Upgrade\r\nUpgrade: echo\r\n"); resp.StatusCode != 200 {
		t.Errorf("%+v", resp)
	}
}

const (
	longReply = 300 << 20
	mostRSS   = 200 << 20 // bytes of a daemon, two thirds of the reply at most
)

// A reply far beyond max_reply, and something happens within it. After the primary's death the same
// bytes again make a whole, other bytes end the connection. Neither host holds the reply in memory.
func TestLongReply(t *testing.T) {
	size := "&id=long&size=" + strconv.Itoa(longReply)
	for _, tt := range []struct {
		name, path string
		event      func(x *cluster)
		again      uint64 // executions by the survivor
	}{
		{"primary dies", "/bytes?fixed=1" + size, func(x *cluster) { x.must(x.A.Crash()) }, 1},
		{"primary dies, chunks", "/bytes?fixed=1&chunked=1" + size, func(x *cluster) { x.must(x.A.Crash()) }, 1},
		{"backup dies", "/bytes?" + size, func(x *cluster) { x.must(x.B.Crash()) }, 0},
		{"switchover", "/bytes?" + size, func(x *cluster) { x.command(x.A, "switchover") }, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			x := longReplies(t)
			defer x.memory()()
			done := make(chan client.Result, 1)
			go func() {
				q := client.Request{ID: "long", Path: tt.path, Upload: -1, Rate: 60 << 20}
				done <- (&client.Client{Namespace: x.Client, Target: lab.Advertised, Timeout: time.Minute}).Once(context.Background(), q)
			}()
			x.until("it is executed", 10*time.Second, func() bool { return len(x.executedFor("long")) == 1 })
			time.Sleep(2 * time.Second)
			tt.event(x)
			if r := <-done; !r.OK() {
				t.Error(r)
			}
			if s := x.service(x.B); s.Exchanges.Reexecuted != tt.again || s.Exchanges.Failed != 0 {
				t.Errorf("%+v", s)
			}
			if runs := x.executedFor("long"); len(runs) != int(tt.again)+1 {
				t.Errorf("executed %v", runs)
			}
		})
	}
	t.Run("primary dies, other bytes", func(t *testing.T) {
		x := longReplies(t)
		defer x.memory()()
		x.marked("/marked?" + size)
	})
	t.Run("nobody dies", func(t *testing.T) {
		x := longReplies(t)
		defer x.memory()()
		began := time.Now()
		r := x.client.Once(t.Context(), client.Request{ID: "long", Path: "/marked?" + size, Upload: -1, Unverified: true})
		if !r.OK() {
			t.Error(r)
		}
		t.Logf("%.0f MB/s", longReply/1e6/time.Since(began).Seconds())
	})
}

func longReplies(t *testing.T) *cluster {
	t.Helper()
	return start(t, lab.Options{CongestionControl: "cubic"}, lab.Config{Tail: "[limits]\nmax_reply = \"8MiB\"\n"})
}

// marked has the primary killed within a reply that is another at each execution.
func (x *cluster) marked(path string) {
	x.Helper()
	_, _, resp := x.ask(path, "")
	line := make([]byte, 27)
	if _, err := io.ReadFull(resp.Body, line); err != nil {
		x.Fatal(err)
	}
	block, got := bytes.Repeat(line, 10_000), make([]byte, 27*10_000)
	total := len(line)
	for crashed := false; ; {
		n, err := io.ReadFull(resp.Body, got)
		total += n
		if !bytes.Equal(got[:n], block[:n]) {
			x.Fatalf("bytes of two executions, somewhere before byte %d", total)
		}
		if err != nil {
			x.Logf("ended at byte %d: %v", total, err)
			if total == longReply {
				x.Error("the reply is whole: the host died too late")
			}
			break
		}
		if total > longReply/3 && !crashed {
			crashed = true
			x.must(x.A.Crash())
		}
	}
	x.until("it is counted", 10*time.Second, func() bool {
		return x.service(x.B).Exchanges.Failed == 1 && strings.Contains(x.ledger(x.B, "--since-takeover"), "truncated")
	})
}

// memory watches the daemons; the returned function fails the test if one was ever too large.
func (x *cluster) memory() (check func()) {
	ctx, stop := context.WithCancel(context.Background())
	most := map[string]int64{}
	var watch sync.WaitGroup
	watch.Go(func() {
		for ctx.Err() == nil {
			for h, p := range x.nodes {
				most[h.Name] = max(most[h.Name], residentOf(p.PID()))
			}
			time.Sleep(20 * time.Millisecond)
		}
	})
	return func() {
		stop()
		watch.Wait()
		x.Logf("largest resident sizes: a %d MiB, b %d MiB", most["a"]>>20, most["b"]>>20)
		for name, n := range most {
			if n == 0 || n > mostRSS {
				x.Errorf("%s had %d MiB", name, n>>20)
			}
		}
	}
}

// residentOf returns the resident size of a process in bytes, 0 if it has ended.
func residentOf(pid int) int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for line := range strings.SplitSeq(string(text), "\n") {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kb, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return kb << 10
		}
	}
	return 0
}
