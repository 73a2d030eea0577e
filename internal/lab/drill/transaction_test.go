package drill

import (
	"net/http"
	"testing"

	"github.com/ftgw/ftgw/internal/lab"
	"github.com/ftgw/ftgw/internal/lab/client"
	"github.com/ftgw/ftgw/internal/lab/webapp"
)

func executedOn(key, id, execution, host string) webapp.Done {
	return webapp.Done{Key: key, ID: id, Host: host, Header: http.Header{webapp.HeaderExecution: {execution}}}
}

func TestExecutedOnce(t *testing.T) {
	x := []client.Result{{ID: "x", Execution: "1"}}
	for _, row := range []struct {
		name       string
		all, fresh []webapp.Done
		fine       bool
	}{
		{"once", nil, []webapp.Done{executedOn("k", "x", "1", "a")}, true},
		{"in an earlier round too", []webapp.Done{executedOn("j", "x", "0", "a")}, []webapp.Done{executedOn("k", "x", "1", "a")}, true},
		{"the reply of another", nil, []webapp.Done{executedOn("k", "x", "2", "b")}, false},
		{"twice, by two IDs", nil, []webapp.Done{executedOn("k", "x", "1", "a"), executedOn("l", "x", "2", "b")}, false},
		{"twice, by one ID", []webapp.Done{executedOn("k", "x", "0", "a")}, []webapp.Done{executedOn("k", "x", "1", "b")}, false},
		{"never", nil, nil, false},
	} {
		if err := executedOnce(x, append(row.all, row.fresh...), row.fresh); (err == nil) != row.fine {
			t.Errorf("%s: %v", row.name, err)
		}
	}
}

func TestSpared(t *testing.T) {
	touched := []lab.LedgerEntry{{Transaction: "k", Attempt: 2}, {Transaction: "l", Attempt: 2}, {Transaction: "m", Attempt: 1}, {Transaction: "n", Attempt: 2}}
	all := []webapp.Done{{Key: "k", Tried: "1"}, {Key: "l", Tried: "2"}, {Key: "m", Tried: "1"}}
	if again, saved := spared(touched, all); again != 3 || saved != 1 {
		t.Error(again, saved)
	}
}
