package proxy

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ftgw/ftgw/config"
	"github.com/ftgw/ftgw/rewrite"
)

// logged is what a service without routes does.
func logged(string, string) config.Mode { return config.Logged }

// with returns the host's settings, changed.
func (h *host) with(change func(*Config)) Config {
	cfg := h.cfg().Config
	change(&cfg)
	return cfg
}

// A connection that began before there were static routes has them after the reload, shadow
// included; while the hosts differ nothing leans on the peer, whose web server is not asked.
func TestReloadRoutes(t *testing.T) {
	var agreed atomic.Bool
	executor, standby, _, b := newTwoSites(t, Config{Agreed: agreed.Load})
	for _, h := range []*host{executor, standby} {
		h.Reload(h.with(func(c *Config) { c.Mode, c.Shadow = logged, false }))
	}
	w := newTwin(t, executor, standby)
	ask := func(path string, delivered uint64) {
		t.Helper()
		w.write(get(path))
		eventually(t, "the reply to "+path, func() bool { return executor.Stats().Delivered == delivered })
	}
	ask("/static/0", 1)
	executor.Reload(executor.with(func(c *Config) { c.Mode, c.Shadow = both, true }))
	ask("/static/1", 2)
	ask("/same/2", 3)
	standby.Reload(standby.with(func(c *Config) { c.Mode, c.Shadow = both, true }))
	ask("/static/3", 4)
	if st := executor.Stats(); st.Static+st.SyncStatic != 0 || b.asks.Load() != 0 {
		t.Errorf("%+v, b asked %d times", st, b.asks.Load())
	}
	agreed.Store(true)
	ask("/static/4", 5)
	ask("/same/5", 6)
	w.write([]byte("GET /static/6 HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n"))
	w.readers.Wait()
	if w.seen(0) != w.seen(1) {
		t.Fatalf("the hosts wrote\n%s\nand\n%s", w.seen(0), w.seen(1))
	}
	if x, y := executor.Stats(), standby.Stats(); x.Static != 2 || x.SyncStatic != 1 || y.Mirrored != 3 || executor.Behind() != 0 {
		t.Errorf("%+v\n%+v", x, y)
	}
}

// What the lost host let out under the settings of that time is made again by them, though they are
// changed before the survivor comes to it; the next exchange has the new ones.
func TestReloadAfterATakeover(t *testing.T) {
	executor, standby, _, b := newTwoSites(t, Config{})
	gate := make(chan struct{})
	b.then(func(_ http.ResponseWriter, r *http.Request) bool {
		<-gate
		return false
	})
	w := newTwin(t, executor, standby)
	w.write(get("/static/0"))
	eventually(t, "the reply", func() bool { return w.seen(0) != "" })
	if executor.Behind() != 1 {
		t.Errorf("%d behind", executor.Behind())
	}
	executor.link.cut.Store(true)
	rouse := standby.Promote(func(rewrite.FlowID) bool { return true })
	standby.Reload(standby.with(func(c *Config) { c.Mode, c.Via = logged, "other" }))
	close(gate)
	rouse()
	eventually(t, "the survivor's reply", func() bool { return strings.Contains(w.seen(1), "/static/0\n") })
	executor.Abort()
	w.write([]byte("GET /static/1 HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n"))
	w.readers.Wait()
	before, after := w.seen(0), w.seen(1)
	if !strings.HasPrefix(after, before) {
		t.Fatalf("the lost host wrote\n%s\nand the survivor\n%s", before, after)
	}
	if next := after[len(before):]; !strings.Contains(next, "Date: ") || !strings.Contains(next, "1.1 other\r\n") {
		t.Errorf("the next reply is\n%s", next)
	}
}

// An idle connection has a shorter idle_timeout at once, and a smaller limit holds for the next
// request.
func TestReloadLimits(t *testing.T) {
	up := newWeb(t)
	h := newHost(t, Config{Upstream: up.addr()}, Executor, &link{})
	c, _ := h.dial(t)
	send := func(request string) string {
		t.Helper()
		if _, err := c.Write([]byte(request)); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 64<<10)
		n, _ := c.Read(buf)
		return string(buf[:n])
	}
	post := "POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 5\r\n\r\nhello"
	if got := send(post); !strings.HasPrefix(got, "HTTP/1.1 200 ") {
		t.Fatalf("%.200s", got)
	}
	idle, _ := h.dial(t)
	h.Reload(h.with(func(c *Config) { c.MaxBody, c.IdleTimeout = 4, 50*time.Millisecond }))
	if got := send(post); !strings.HasPrefix(got, "HTTP/1.1 413 ") {
		t.Fatalf("%.200s", got)
	}
	begin := time.Now()
	if n, err := idle.Read(make([]byte, 1)); n != 0 || err == nil || time.Since(begin) > patience/2 {
		t.Errorf("%d, %v after %v", n, err, time.Since(begin))
	}
}
