package e2e

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/ftgw/ftgw/internal/lab"
)

// logLine is one of an access log.
type logLine struct {
	Time        time.Time `json:"time"`
	Client      string    `json:"client"`
	Status      int       `json:"status"`
	Bytes       int64     `json:"bytes"`
	Outcome     string    `json:"outcome"`
	Transaction string    `json:"transaction"`
}

// accessLog reads a host's access log, that was rotated too if there is one.
func (x *cluster) accessLog(h *lab.Host) (all []logLine) {
	x.Helper()
	for _, name := range []string{"access.log.1", "access.log"} {
		f, err := os.Open(filepath.Join(h.StateDir(), name))
		if os.IsNotExist(err) {
			continue
		}
		x.must(err)
		defer f.Close()
		for in := bufio.NewScanner(f); in.Scan(); {
			var l logLine
			if err := json.Unmarshal(in.Bytes(), &l); err != nil {
				x.Fatalf("%s: %q: %v", f.Name(), in.Text(), err)
			}
			all = append(all, l)
		}
	}
	return all
}

// Every request that the client saw answered is in the access log of one host, though the
// primary dies in the middle and the other's log is rotated then. Two things remain, as with
// every log that no reply waits for: a reply that the primary had written and the survivor had to
// finish is in both, and a line that the primary had not written yet when it died is in none.
func TestAccessLogsAcrossATakeover(t *testing.T) {
	x := start(t, lab.Options{}, lab.Config{Service: "access_log = \"access.log\"\naccess_log_format = \"json\"\n"})
	wait := x.busy()
	time.Sleep(time.Second) // of load
	log := filepath.Join(x.B.StateDir(), "access.log")
	crashed := time.Now()
	x.must(x.A.Crash())
	x.until("the survivor writes", 10*time.Second, func() bool { return len(x.accessLog(x.B)) > 100 })
	x.must(os.Rename(log, log+".1"))
	x.must(x.nodes[x.B].Signal(syscall.SIGUSR1))
	time.Sleep(500 * time.Millisecond) // of load
	wait()
	x.whole()
	x.until("the log was opened anew", 10*time.Second, func() bool { _, err := os.Stat(log); return err == nil })

	asked := map[string]time.Time{} // by transaction, executed the last time
	for _, h := range []*lab.Host{x.A, x.B} {
		for _, e := range x.journal(h) {
			asked[e.Key] = e.Time
		}
	}
	x.until("the last line is written", 10*time.Second, func() bool {
		late := 0
		for _, at := range asked {
			if at.After(crashed) {
				late++
			}
		}
		for _, l := range x.accessLog(x.B) {
			if asked[l.Transaction].After(crashed) && l.Outcome != "replayed" {
				late--
			}
		}
		return late <= 0
	})
	told := map[*lab.Host]map[string]logLine{x.A: {}, x.B: {}}
	outcomes := map[string]int{}
	for h, by := range told {
		for _, l := range x.accessLog(h) {
			if first, twice := by[l.Transaction]; twice {
				t.Errorf("%s has two lines of one exchange: %+v, %+v", h.Name, first, l)
			}
			if _, known := asked[l.Transaction]; !known || l.Status != 200 {
				t.Errorf("%s: %+v", h.Name, l)
			}
			by[l.Transaction] = l
			outcomes[h.Name+" "+l.Outcome]++
		}
	}
	both, neither := 0, 0
	for key, at := range asked {
		a, inA := told[x.A][key]
		b, inB := told[x.B][key]
		switch {
		case inA && inB:
			both++
			if a.Outcome != "delivered" && a.Outcome != "dropped" || b.Outcome != "replayed" {
				t.Errorf("in both: %+v, %+v", a, b)
			}
		case !inA && !inB:
			neither++
			if at.After(crashed) || crashed.Sub(at) > time.Second {
				t.Errorf("in neither log: %s, executed %v before the crash", key, crashed.Sub(at))
			}
		}
	}
	if neither > 40 { // two for each connection
		t.Errorf("%d are in no log", neither)
	}
	t.Logf("%d exchanges: %v; in both %d, in neither %d", len(asked), outcomes, both, neither)
	if outcomes["a delivered"] == 0 || outcomes["b delivered"] == 0 || outcomes["b re-executed"]+outcomes["b executed"] == 0 || outcomes["b replayed"] == 0 {
		t.Errorf("the load was too light: %v", outcomes)
	}
	if st, err := x.B.Status(t.Context()); err != nil || st.Drops["access-log-full"]+st.Drops["access-log-unwritten"] > 0 {
		t.Errorf("%+v, %v", st.Drops, err)
	}
}
