package main

import (
	"bytes"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const designLedgerTable = `shop on web-b, latest takeover: 2026-01-02T03:04:05Z, epoch 3
2 more exchanges were touched by it and not kept (raise "ledger" under [limits])

TIME          CLIENT             INDEX  REQUEST     STATUS  BYTES  ATTEMPT  EXECUTED ON  OUTCOME      MODE    EPOCH  TOOK
03:04:05.250  198.51.100.7:4000  4      POST /cart  201     180    2        web-b        re-executed  logged  3      12.5ms
03:04:06.000  198.51.100.7:4001  0      -           400     150    -        -            refused      logged  -      0s

blog on web-b, no takeover by this node since its start
no exchanges
`

func designLedger(since bool, limit int) Ledger {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	entries := []LedgerEntry{
		{Time: at.Add(250 * time.Millisecond), Client: "198.51.100.7:4000", ISN: 7, Index: 4, Transaction: "ab", Method: "POST",
			Path: "/cart", Status: 201, Bytes: 180, Attempt: 2, ExecutedOn: "web-b", Outcome: "re-executed", Mode: "logged", Epoch: 3, TookMS: 12.5},
		{Time: at.Add(time.Second), Client: "198.51.100.7:4001", Status: 400, Bytes: 150, Outcome: "refused", Mode: "logged"},
	}
	if since {
		entries = entries[:1]
	}
	if limit > 0 {
		entries = entries[max(0, len(entries)-limit):]
	}
	return Ledger{Node: "web-b", Services: []ServiceLedger{
		{Name: "shop", Takeover: &LedgerTakeover{Epoch: 3, At: at, Forgotten: 2}, Exchanges: entries}, {Name: "blog"}}}
}

// TestMain makes local time the same everywhere, before anything can read it.
func TestMain(m *testing.M) {
	time.Local = time.UTC
	os.Exit(m.Run())
}

func TestLedgerThroughTheSocket(t *testing.T) {
	path := serve(t)
	for _, tt := range []struct {
		args string
		want []string // all of them; the first alone when it is a whole table
	}{
		{"", []string{designLedgerTable}},
		{"--json", []string{`"transaction":"ab"`, `"executed_on":"web-b"`, `"outcome":"refused"`, `"forgotten":2`}},
		{"--since-takeover --json", []string{`[{"time":"2026-01-02T03:04:05.25Z","client":"198.51.100.7:4000","isn":7,"index":4,` +
			`"transaction":"ab","method":"POST","path":"/cart","status":201,"bytes":180,"attempt":2,"executed_on":"web-b",` +
			`"outcome":"re-executed","mode":"logged","epoch":3,"took_ms":12.5}]`}},
		{"--limit 1", []string{"refused"}},
	} {
		var out, errOut bytes.Buffer
		args := append([]string{"ledger", "--socket", path}, strings.Fields(tt.args)...)
		if code := execute(t.Context(), args, &out, &errOut); code != 0 {
			t.Fatalf("%s: exit code %d: %s", tt.args, code, &errOut)
		}
		if tt.args == "" {
			if diff := cmp.Diff(tt.want[0], out.String()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		}
		for _, want := range tt.want {
			if !strings.Contains(out.String(), want) {
				t.Errorf("%s: no %s in %s", tt.args, want, &out)
			}
		}
	}
	var errOut bytes.Buffer
	if code := execute(t.Context(), []string{"ledger", "--socket", path, "--limit", "-1"}, new(bytes.Buffer), &errOut); code != exitUsage {
		t.Errorf("a negative limit: exit code %d, %s", code, &errOut)
	}
}
