package host

import (
	"reflect"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/ftgw/ftgw/inspect"
	"github.com/ftgw/ftgw/internal/lab"
	"github.com/ftgw/ftgw/internal/lab/labtest"
)

func TestMain(m *testing.M) { labtest.Main(m) }

func TestBelow(t *testing.T) {
	at := func(index, parent, master int, name string) netlink.Link {
		return &netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: index, ParentIndex: parent, MasterIndex: master, Name: name}}
	}
	links := []netlink.Link{at(1, 0, 0, "lo"), at(2, 0, 4, "eth0"), at(3, 0, 4, "eth1"), at(4, 0, 0, "bond0"), at(5, 4, 0, "bond0.7"), at(6, 0, 0, "eth2")}
	for iface, want := range map[string][]string{
		"eth2":    {"eth2"},
		"bond0":   {"bond0", "eth0", "eth1"},
		"bond0.7": {"bond0.7", "bond0", "eth0", "eth1"},
		"absent":  {"absent"},
	} {
		if got := below(iface, links); !reflect.DeepEqual(got, want) {
			t.Errorf("%s is made of %q, want %q", iface, got, want)
		}
	}
}

func TestSysctlPath(t *testing.T) {
	for name, want := range map[string]string{
		"net.ipv4.tcp_sack":                         "/proc/sys/net/ipv4/tcp_sack",
		inspect.OfInterface("all", "rp_filter"):     "/proc/sys/net/ipv4/conf/all/rp_filter",
		inspect.OfInterface("eth0.7", "arp_ignore"): "/proc/sys/net/ipv4/conf/eth0.7/arp_ignore",
	} {
		if got := sysctlPath(name, "eth0.7"); got != want {
			t.Errorf("%s is at %s, want %s", name, got, want)
		}
	}
}

// The kernel answers for an interface of a namespace.
func TestReads(t *testing.T) {
	labtest.Require(t)
	a, b := labtest.NS(t, "a"), labtest.NS(t, "b")
	if err := lab.Veth(a, "eth0", b, "eth0"); err != nil {
		t.Fatal(err)
	}
	err := a.Do(func() error {
		if on, err := LRO("eth0"); err != nil || len(on) != 0 {
			t.Errorf("LRO of a veth: %v, %v", on, err)
		}
		if _, err := LRO("eth9"); err == nil {
			t.Error("an interface that is not there has no LRO")
		}
		s := Sysctls("eth0")
		for _, name := range inspect.SysctlNames("eth0") {
			if _, there := s.Values[name]; !there {
				t.Errorf("no %s", name)
			}
		}
		if !s.Writable {
			t.Error("root may not write")
		}
		if lacks, err := Lacks(true); err != nil || len(lacks) != 0 {
			t.Errorf("lacks %v, %v", lacks, err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
