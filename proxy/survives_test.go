package proxy

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// survives asks for all paths on one connection, has the executor die when reached is closed, if it
// ever is, and returns what the standby's kernel got to send: the executor's bytes, and on.
func (w *twin) survives(t *testing.T, paths []string, reached <-chan struct{}, die func()) ([]*http.Response, []string) {
	t.Helper()
	var raw strings.Builder
	var methods []string
	for i, path := range paths {
		end := ""
		if i == len(paths)-1 {
			end = "Connection: close\r\n"
		}
		methods = append(methods, "GET")
		fmt.Fprintf(&raw, "GET %s HTTP/1.1\r\nHost: shop\r\n%s\r\n", path, end)
	}
	w.write([]byte(raw.String()))
	over := make(chan struct{})
	go func() { w.readers.Wait(); close(over) }()
	select {
	case <-reached:
		die()
		<-over
	case <-over: // there were fewer records
	}
	sa, sb := w.seen(0), w.seen(1)
	if !strings.HasPrefix(sb, sa) {
		t.Fatalf("the standby's %d bytes do not continue the executor's %d", len(sb), len(sa))
	}
	return replies(t, sb, methods...)
}

// handOver gives the executor's part of a pair's one connection to the standby, or back at every other turn.
func handOver(t *testing.T, turn int, executor, standby *host) {
	t.Helper()
	from, to := executor, standby
	if turn%2 == 1 {
		from, to = standby, executor
	}
	eventually(t, "it is handed over", func() bool {
		from.Yield(all) // again and again, as a switchover does: one that is about to idle may miss it
		return from.Executing() == 0 && to.Executing() == 1
	})
}
