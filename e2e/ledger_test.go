package e2e

import (
	"encoding/json"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ftgw/ftgw/internal/lab"
	"github.com/ftgw/ftgw/internal/lab/client"
	"github.com/ftgw/ftgw/internal/lab/webapp"
)

// After a takeover the ledger tells what became of each exchange that it touched, and agrees
// with the web applications on its transaction.
func TestLedger(t *testing.T) {
	x := start(t, lab.Options{}, lab.Config{})
	wait := make(chan client.Result, 2)
	for _, q := range []client.Request{client.Slow("again", 600*time.Millisecond), withRate(client.Bytes("replayed", 16<<20), 8<<20)} {
		go func() { wait <- x.client.Once(t.Context(), q) }()
	}
	x.until("both are executed", 10*time.Second, func() bool { return len(x.executedFor("again")) == 1 && len(x.executedFor("replayed")) == 1 })
	x.until("one is stored", 10*time.Second, func() bool {
		return strings.Contains(x.ledger(x.B), `"outcome":"stored"`)
	})
	x.must(x.A.Crash())
	for range 2 {
		if r := <-wait; !r.OK() {
			t.Error(r)
		}
	}
	var touched []lab.LedgerEntry
	x.until("two exchanges have ended", 10*time.Second, func() bool {
		var err error
		touched, err = x.B.Ledger(t.Context())
		x.must(err)
		return len(touched) == 2 && touched[0].Outcome != "unfinished" && touched[1].Outcome != "unfinished"
	})
	for id, outcome := range map[string]string{"again": "re-executed", "replayed": "replayed"} {
		runs := x.executedFor(id)
		key := runs[len(runs)-1].Key
		at := slices.IndexFunc(touched, func(e lab.LedgerEntry) bool { return e.Transaction == key })
		if at < 0 || touched[at].Outcome != outcome || touched[at].Epoch == 0 {
			t.Errorf("%s: %+v of %+v, want %s", id, runs, touched, outcome)
		}
		for _, run := range runs {
			if run.Key != key {
				t.Errorf("%s was executed as %s and as %s", id, run.Key, key)
			}
		}
	}
	out := x.ledger(x.B, "--since-takeover")
	for _, part := range []string{"web on b, latest takeover: ", "GET /slow ", "GET /bytes ", " re-executed ", " replayed "} {
		if !strings.Contains(out, part) {
			t.Errorf("no %q in\n%s", part, out)
		}
	}
	t.Logf("\n%s", out)
}

func withRate(q client.Request, rate int64) client.Request {
	q.Rate = rate
	return q
}

// ledger runs the command; without arguments, for all of it as JSON.
func (x *cluster) ledger(h *lab.Host, args ...string) string {
	x.Helper()
	if args == nil {
		args = []string{"--limit", "0", "--json"}
	}
	out, err := exec.CommandContext(x.Context(), program, append([]string{"ledger", "--socket", h.Socket()}, args...)...).CombinedOutput()
	if err != nil {
		x.Fatalf("ftgw ledger: %v\n%s", err, out)
	}
	if slices.Contains(args, "--json") && !json.Valid(out) {
		x.Errorf("not JSON: %s", out)
	}
	return string(out)
}

// executedFor returns the executions of a request on both hosts, the first one first.
func (x *cluster) executedFor(id string) (runs []webapp.Entry) {
	x.Helper()
	for _, h := range []*lab.Host{x.A, x.B} {
		for _, e := range x.journal(h) {
			if e.ID == id {
				runs = append(runs, e)
			}
		}
	}
	return runs
}
