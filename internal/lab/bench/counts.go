package bench

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
)

// counts is what hosts say of themselves.
type counts struct {
	state string            // who serves, and how: must not change while a system is measured
	modes map[string]uint64 // exchanges by mode so far, as host a counted
	again uint64            // segments that the kernel of host a has sent again so far
}

func (s *stand) count(ctx context.Context) (c counts, err error) {
	for _, h := range s.hosts() {
		if h.Node() == nil {
			continue
		}
		st, err := h.Status(ctx)
		if err != nil {
			return c, err
		}
		for i, v := range st.Services {
			c.state += fmt.Sprintf("%s is %s of %s, epoch %d, in sync: %v\n", h.Name, v.Role, v.Name, v.Epoch, v.InSync)
			if v.InSync && v.Flows.Simplex > 0 {
				c.state += "connections are simplex\n"
			}
			if i == 0 && h == s.A {
				c.modes = map[string]uint64{"logged": v.Modes.Logged, "static": v.Modes.Static,
					"sync_static": v.Modes.SyncStatic, "stored_instead": v.Modes.Instead}
			}
		}
	}
	err = s.A.Do(func() error {
		text, err := os.ReadFile("/proc/thread-self/net/snmp")
		if err == nil {
			c.again, err = resent(string(text))
		}
		return err
	})
	return c, err
}

// resent reads the counter RetransSegs (RFC 2012) out of what the kernel writes as two lines, of names
// and of values.
func resent(text string) (uint64, error) {
	at := -1
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) == 0 || f[0] != "Tcp:" {
			continue
		}
		if at < 0 {
			at = slices.Index(f, "RetransSegs")
		} else if at < len(f) {
			return strconv.ParseUint(f[at], 10, 64)
		}
	}
	return 0, fmt.Errorf("the kernel's counters have no RetransSegs")
}
