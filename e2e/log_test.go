package e2e

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ftgw/ftgw/internal/lab"
)

// story is what a node's log tells: each line's message, and of a role what it is.
func (x *cluster) story(p *lab.Process) (lines []string) {
	x.Helper()
	for text := range strings.Lines(p.Log()) {
		var l struct {
			Level, Msg, Role, Peer, Verdict string
			Owner                           bool
		}
		if err := json.Unmarshal([]byte(text), &l); err != nil {
			x.Errorf("%s: %v", text, err)
		}
		switch l.Msg {
		case "role":
			lines = append(lines, fmt.Sprintf("%s role %s, owner %t", l.Level, l.Role, l.Owner))
		case "session up", "session down":
			lines = append(lines, fmt.Sprintf("%s %s: %s", l.Level, l.Msg, l.Peer))
		case "web server":
			lines = append(lines, l.Level+" web server "+l.Verdict)
		default:
			if !strings.HasPrefix(l.Msg, "the limit of open files") && !strings.HasPrefix(l.Msg, "the kernel has no egress hook") { // this machine's
				lines = append(lines, l.Level+" "+l.Msg)
			}
		}
	}
	return lines
}

// A node's life: it starts, forms a pair, loses its peer under load, gets it back, and stops. At
// level info the log has one line for each change of its state, and no other.
func TestLogOfALife(t *testing.T) {
	x := start(t, lab.Options{}, lab.Config{Top: "log_format = \"json\"\n"})
	wait := x.busy()
	x.must(x.A.Crash())
	x.until("b serves alone", 10*time.Second, func() bool { return x.service(x.B).Role == "sole" })
	x.must(x.A.Reboot())
	x.app(x.A)
	x.node(x.A)
	x.duplex()
	wait()
	x.whole()
	x.must(x.nodes[x.B].Signal(syscall.SIGTERM))
	x.must(x.nodes[x.B].Wait(t.Context()))
	x.until("a serves alone", 10*time.Second, func() bool { return x.service(x.A).Role == "sole" })
	x.tells(x.nodes[x.B],
		"INFO node runs",
		"INFO web page and metrics",
		"INFO web server healthy",
		"INFO session up: a",
		"INFO role backup, owner true",
		"INFO session down: a",
		"WARN role sole, owner true",
		"INFO session up: a",
		"INFO role primary, owner true",
		"INFO node stops",
		"INFO role backup, owner false")
	x.until("a knows that the session is over", 10*time.Second, func() bool {
		return slices.Contains(x.story(x.nodes[x.A]), "INFO session down: b")
	})
	x.tells(x.nodes[x.A],
		"INFO node runs",
		"INFO web page and metrics",
		"INFO web server healthy",
		"INFO session up: b",
		"INFO role backup, owner false",
		"INFO role primary, owner false", // the voice comes first
		"INFO role primary, owner true",
		"INFO session down: b",
		"WARN role sole, owner true")
}

// tells compares a node's story. What sessions and web servers do is told by others than those who
// decide the role, so only the roles have an order.
func (x *cluster) tells(p *lab.Process, want ...string) {
	x.Helper()
	got := x.story(p)
	roles := func(all []string) []string {
		return slices.DeleteFunc(slices.Clone(all), func(s string) bool { return !strings.Contains(s, " role ") })
	}
	diff := cmp.Diff(roles(want), roles(got))
	slices.Sort(want)
	slices.Sort(got)
	if diff += cmp.Diff(want, got); diff != "" {
		x.Errorf("the log (-want +got):\n%s\n%s", diff, p.Log())
	}
}
