package e2e

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ftgw/ftgw/internal/lab"
	"github.com/ftgw/ftgw/internal/lab/client"
)

// deferred has the downloads in mode deferred.
var deferred = lab.Config{Service: "[[service.route]]\npath = \"/bytes\"\nmode = \"deferred\"\n" +
	"[[service.route]]\npath = \"/marked\"\nmode = \"deferred\"\n"}

// arrived returns how many bytes a host's interface has taken in.
func (x *cluster) arrived(h *lab.Host) (n int64) {
	x.Helper()
	x.must(h.Do(func() error {
		text, err := os.ReadFile("/proc/thread-self/net/dev")
		for line := range strings.SplitSeq(string(text), "\n") {
			if name, rest, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == h.Interface() {
				n, err = strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			}
		}
		return err
	}))
	return n
}

// downloads begins long downloads, all at once, that take some seconds each, and keep-alive connections
// with replies of all sizes.
func (x *cluster) downloads(name string, n int, size int64) (wait func()) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			r := client.Bytes(fmt.Sprintf("%s-long-%d", name, i), size)
			r.Path += "&fixed=1"
			r.Rate = size / 4
			x.report.Add(x.client.Once(x.Context(), r))
		})
	}
	mixed := x.fixed(name, "")
	return func() { mixed(); wg.Wait() }
}

// Either host dies within long downloads of which the backup has nothing but digests. No client notices,
// and until then the backup's web server is not asked.
func TestDeferred(t *testing.T) {
	const long, size = 4, 40 << 20
	for _, victim := range []string{"a", "b"} {
		t.Run(victim+" dies", func(t *testing.T) {
			x := start(t, lab.Options{CongestionControl: "cubic"}, deferred)
			before := x.arrived(x.B)
			wait := x.downloads("deferred", long, size)
			dies, survives, again := x.A, x.B, uint64(1)
			if victim == "b" {
				dies, survives, again = x.B, x.A, 0
			}
			time.Sleep(2 * time.Second) // half of them
			if runs := x.journal(x.B); len(runs) > 0 {
				t.Errorf("the backup's web server was asked %d times", len(runs))
			}
			a, came := x.service(x.A), x.arrived(x.B)-before
			t.Logf("a %+v; the backup took in %d KiB", a.Modes, came>>10)
			x.must(dies.Crash())
			x.until("the other serves alone", 10*time.Second, func() bool { return x.service(survives).Role == "sole" })
			delivered := x.service(survives).Exchanges.Delivered
			x.until("it delivers", 10*time.Second, func() bool { return x.service(survives).Exchanges.Delivered > delivered+50 })
			wait()
			x.whole()
			s := x.service(survives)
			if s.Exchanges.Reexecuted < again*long || s.Exchanges.Failed > 0 || a.Modes.Deferred == 0 || a.Modes.Logged == 0 {
				t.Errorf("before %+v, then %+v", a, s)
			}
			if out := x.ledger(survives); !strings.Contains(out, `"mode":"deferred"`) {
				t.Errorf("the ledger of %s knows no such mode", survives.Name)
			}
		})
	}
	t.Run("a dies, other bytes", func(t *testing.T) {
		x := start(t, lab.Options{CongestionControl: "cubic"}, deferred)
		x.marked("/marked?id=long&size=" + strconv.Itoa(longReply))
		if w := strings.Join(x.warnings(x.B), "\n"); !strings.Contains(w, `the deferred route path = "/marked" is logged`) {
			t.Errorf("b warns of %q", w)
		}
	})
}

// Of a download next to nothing goes to the backup, and a switchover waits for it.
func TestDeferredSwitchover(t *testing.T) {
	x := start(t, lab.Options{CongestionControl: "cubic"}, deferred)
	const size = 100 << 20
	before := x.arrived(x.B)
	q := client.Bytes("alone", size)
	if got := x.client.Once(t.Context(), q); !got.OK() {
		t.Fatal(got)
	}
	came := x.arrived(x.B) - before
	t.Logf("of %d MiB the backup took in %d KiB", size>>20, came>>10)
	if came > size/10 {
		t.Error("that is more than the client's acknowledgments and the digests")
	}
	wait := x.downloads("moving", 2, 20<<20)
	time.Sleep(500 * time.Millisecond) // of load
	x.command(x.A, "switchover")
	x.until("replies of b", 10*time.Second, func() bool { return x.service(x.B).Modes.Deferred > 20 })
	x.must(x.A.Crash())
	x.until("b serves alone", 10*time.Second, func() bool { return x.service(x.B).Role == "sole" })
	wait()
	x.whole()
	if s := x.service(x.B); s.Exchanges.Failed > 0 {
		t.Errorf("%+v", s)
	}
}
