package proxy

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/ftgw/ftgw/accesslog"
	"github.com/ftgw/ftgw/config"
	"github.com/ftgw/ftgw/rewrite"
)

// accesses is an access log that is kept.
type accesses struct {
	mu  sync.Mutex
	all []accesslog.Entry
}

func (a *accesses) write(e *accesslog.Entry) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.all = append(a.all, *e)
}

// lines returns what is sure of each entry, once there are n of them.
func (a *accesses) lines(t *testing.T, n int) (all []string) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d lines", n), func() bool {
		a.mu.Lock()
		defer a.mu.Unlock()
		return len(a.all) >= n
	})
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, e := range a.all {
		all = append(all, fmt.Sprintf("%s %s %s | %s %s %s | %d %d | %s %s", e.Method, e.Target, e.Proto, e.Host, e.Referer, e.UserAgent,
			e.Status, e.Bytes, e.Outcome, e.Mode))
	}
	return all
}

func sameLines(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("told\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestAccess(t *testing.T) {
	up := newWeb(t)
	var log accesses
	cfg := Config{Upstream: up.addr(), Access: log.write, MaxBody: 100, Mode: func(_, path string) config.Mode {
		return map[bool]config.Mode{true: config.Unprotected, false: config.Logged}[strings.HasPrefix(path, "/live")]
	}}
	h := newHost(t, cfg, Executor, &link{})
	c, id := h.dial(t)
	br := bufio.NewReader(c)
	for i, tt := range []struct{ raw, want string }{
		{"GET /a?size=1000&q HTTP/1.1\r\nHost: shop\r\nReferer: http://r/\r\nuser-agent: u a\r\n\r\n", "GET /a?size=1000&q HTTP/1.1 | shop http://r/ u a | 200 1000 | delivered logged"},
		{"HEAD http://else/a?size=1000 HTTP/1.1\r\nHost: shop\r\n\r\n", "HEAD /a?size=1000 HTTP/1.1 | else   | 200 0 | delivered logged"},
		{"GET /b?status=204 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "GET /b?status=204 HTTP/1.0 |    | 204 0 | delivered logged"},
		{"GET /c?size=100000&chunked&trailer HTTP/1.1\r\nHost: shop\r\n\r\n", "GET /c?size=100000&chunked&trailer HTTP/1.1 | shop   | 200 100000 | delivered logged"},
		{"OPTIONS / HTTP/1.1\r\nHost: shop\r\nMax-Forwards: 0\r\n\r\n", "OPTIONS / HTTP/1.1 | shop   | 200 44 | refused logged"},
		{"GET /live?size=70000&chunked HTTP/1.1\r\nHost: shop\r\n\r\n", "GET /live?size=70000&chunked HTTP/1.1 | shop   | 200 70000 | unprotected unprotected"},
		{"POST /d HTTP/1.1\r\nHost: shop\r\nContent-Length: 101\r\n\r\n", "POST /d HTTP/1.1 | shop   | 413 52 | refused logged"},
	} {
		method, _, _ := strings.Cut(tt.raw, " ")
		io.WriteString(c, tt.raw)
		if _, err := readPlain(br, method == "HEAD"); err != nil {
			t.Fatal(tt.raw, err)
		}
		if got := log.lines(t, i+1)[i]; got != tt.want {
			t.Errorf("told %q, want %q", got, tt.want)
		}
	}
	c, _ = h.dial(t)
	io.WriteString(c, "\x16\x03\r\n\r\n")
	if got := log.lines(t, 8)[7]; got != "   |    | 400 31 | refused logged" {
		t.Errorf("told %q", got)
	}
	for i, e := range log.all {
		asked := e.Outcome != "refused"
		if e.Client != id.Client && i < 7 || e.Time.IsZero() || e.Duration < e.Upstream || (e.Upstream > 0) != asked || (e.Transaction != "") != asked {
			t.Errorf("%+v", e)
		}
	}
	if e := log.all[2]; e.Transaction != transactionID(id, 2) {
		t.Errorf("%+v", e)
	}
	sameLines(t, log.lines(t, 8)[8:])
}

// TestAccessOwnTransaction: the upstream got the client's.
func TestAccessOwnTransaction(t *testing.T) {
	up := newWeb(t)
	var log accesses
	talk(t, Config{Upstream: up.addr(), Access: log.write}, "GET / HTTP/1.1\r\nHost: shop\r\nIdempotency-Key: mine\r\n\r\n")
	log.lines(t, 1)
	if e := log.all[0]; e.Transaction != "mine" {
		t.Errorf("%+v", e)
	}
}

// TestAccessAcrossATakeover: what the survivor finishes or executes is in its log, once; what had
// been delivered before is in the lost host's alone.
func TestAccessAcrossATakeover(t *testing.T) {
	up := newWeb(t)
	var a, b accesses
	standby := newHost(t, Config{Upstream: up.addr(), Access: b.write}, Standby, &link{})
	executor := newHost(t, Config{Upstream: up.addr(), Access: a.write}, Executor, &link{peer: standby.Server})
	w := newTwin(t, executor, standby)
	w.write([]byte("GET /done HTTP/1.1\r\nHost: shop\r\n\r\n"))
	eventually(t, "acknowledged", func() bool { return strings.Contains(w.seen(1), "GET /done") })

	const size = 40 << 20 // more than all buffers hold; nobody reads it yet
	one, id := executor.dial(t)
	replayed, _ := standby.dial(t, id)
	for _, c := range []io.Writer{replayed, one} { // the request first, so that the line has it
		fmt.Fprintf(c, "GET /replayed?size=%d HTTP/1.1\r\nHost: shop\r\n\r\n", size)
		eventually(t, "held", func() bool { return standby.packets.got(id) > 0 })
	}
	eventually(t, "stored", func() bool { return executor.link.stored.Load() == 2 })
	w.write([]byte("GET /again?sleep=500ms HTTP/1.1\r\nHost: shop\r\n\r\n"))
	eventually(t, "begun", func() bool { return executor.Stats().Inflight == 2 && standby.Stats().Held == 1 })
	kill(executor, standby)
	if _, err := io.CopyN(io.Discard, replayed, size); err != nil {
		t.Fatal(err)
	}
	got := b.lines(t, 2)
	slices.Sort(got)
	sameLines(t, got, "GET /again?sleep=500ms HTTP/1.1 | shop   | 200 67 | re-executed logged",
		fmt.Sprintf("GET /replayed  |    | 200 %d | replayed logged", size))
	got = a.lines(t, 1)
	sameLines(t, got[:1], "GET /done HTTP/1.1 | shop   | 200 54 | delivered logged")
	for _, line := range got[1:] {
		if !strings.Contains(line, "dropped") {
			t.Errorf("the lost host told %s", line)
		}
	}
}

// TestAccessOfAMove: an exchange that has moved is told by the peer, where it was executed.
func TestAccessOfAMove(t *testing.T) {
	up := newWeb(t)
	var a, b accesses
	all := func(rewrite.FlowID) bool { return true }
	peer := newHost(t, Config{Upstream: up.addr(), Access: b.write, MayMove: all}, Standby, &link{})
	here := newHost(t, Config{Upstream: refused, Access: a.write, MayMove: all}, Executor, &link{peer: peer.Server})
	peer.link.peer = here.Server
	w := newTwin(t, here, peer)
	w.write([]byte("GET /moved HTTP/1.1\r\nHost: shop\r\n\r\n"))
	b.lines(t, 1)
	w.write([]byte("GET /next HTTP/1.1\r\nHost: shop\r\n\r\n")) // a line too many would be written by its end
	sameLines(t, b.lines(t, 2), "GET /moved HTTP/1.1 | shop   | 200 55 | delivered logged", "GET /next HTTP/1.1 | shop   | 200 54 | delivered logged")
	sameLines(t, a.lines(t, 0))
}
