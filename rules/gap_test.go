package rules

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Whatever is taken from the second fence is found by where packets would go, and put back.
func TestRestoreFence(t *testing.T) {
	s := newSite(t, testSpec(), nil)
	first := netlink.NewRule()
	first.Family, first.Priority, first.Table = unix.AF_INET, 100, unix.RT_TABLE_MAIN
	for _, tt := range []struct {
		name   string
		change func() error
		undo   func() error // for what Restore cannot mend
		want   string
	}{
		{"nothing", func() error { return nil }, nil, ""},
		{"unmarked rule", deletePriority(fenceUnmarked), nil, "without ftgw's mark"},
		{"marked rule", deletePriority(fenceMarked), nil, "with ftgw's mark"},
		{"all rules", func() error {
			return errors.Join(deletePriority(fenceUnmarked)(), deletePriority(fenceMarked)(), deletePriority(fencePass)())
		}, nil, "without ftgw's mark"},
		{"device", func() error { return withDead(netlink.LinkDel) }, nil, "was gone"},
		{"device is down", func() error { return withDead(netlink.LinkSetDown) }, nil, "no way to"},
		{"routes", func() error {
			routes, err := netlink.RouteListFiltered(unix.AF_INET, &netlink.Route{Table: fenceTable}, netlink.RT_FILTER_TABLE)
			for _, r := range routes {
				err = errors.Join(err, netlink.RouteDel(&r))
			}
			return err
		}, nil, "without ftgw's mark"},
		{"path filter", func() error { return os.WriteFile(pathFilter("eth0"), []byte("1"), 0) }, nil, "path filter of eth0"},
		{"a rule comes first", func() error { return netlink.RuleAdd(first) }, func() error { return netlink.RuleDel(first) }, "see: ip rule"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s.do(t, s.host, tt.change)
			var found string
			var err error
			s.do(t, s.host, func() error {
				found, err = RestoreFence(s.spec)
				return nil
			})
			if tt.undo != nil {
				if err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("found %q, %v, want an error with %q", found, err, tt.want)
				}
				s.do(t, s.host, tt.undo)
			} else if err != nil || !strings.Contains(found, tt.want) || (found == "") != (tt.want == "") {
				t.Errorf("found %q, %v, want %q", found, err, tt.want)
			}
			s.do(t, s.host, func() error {
				if found, err := RestoreFence(s.spec); found != "" || err != nil {
					t.Errorf("again: %q, %v", found, err)
				}
				return nil
			})
		})
	}
}

// The printed commands make the fence that Install makes.
func TestFenceText(t *testing.T) {
	s := newSite(t, testSpec(), nil)
	s.do(t, s.host, func() error {
		if err := RemoveFence(s.spec); err != nil {
			return err
		}
		for _, line := range FenceText(s.spec) {
			line = strings.ReplaceAll(line, "type dummy", "type bridge") // which every kernel has
			out, err := exec.Command("sh", "-c", "PATH=$PATH:/sbin:/usr/sbin; set -e; "+line).CombinedOutput()
			if err != nil {
				t.Errorf("%s: %v: %s (apt-get install iproute2)", line, err, out)
			}
		}
		if found := fenceGap(s.spec); found != "" {
			t.Errorf("made by ip: %s", found)
		}
		before, err := ourRules(unix.AF_INET)
		if err != nil {
			return err
		}
		if err := InstallFence(s.spec); err != nil {
			return err
		}
		if after, err := ourRules(unix.AF_INET); err != nil || len(after) != len(before) {
			t.Errorf("ip makes %v, Install %v, %v", before, after, err)
		}
		return nil
	})
}

func deletePriority(priority int) func() error {
	return func() error {
		rules, err := ourRules(unix.AF_INET)
		if err != nil {
			return err
		}
		for _, r := range rules {
			if r.Priority == priority {
				return deleteRule(r)
			}
		}
		return nil
	}
}

func withDead(do func(netlink.Link) error) error {
	link, err := netlink.LinkByName(DeadDevice)
	if err != nil {
		return err
	}
	return do(link)
}
