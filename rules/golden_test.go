package rules

import (
	"flag"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files anew")

var (
	peerB = netip.MustParseAddr("192.0.2.12")
	peerC = netip.MustParseAddr("192.0.2.14")
)

func testSpec() Spec {
	return Spec{
		Services: []Service{{
			Advertised: netip.MustParseAddrPort("192.0.2.100:80"),
			Own:        netip.MustParseAddr("192.0.2.11"),
			Peers:      []netip.Addr{peerB},
			Forward:    20080,
		}},
		MACs:      map[netip.Addr]net.HardwareAddr{peerB: {2, 0, 0, 0, 0, 12}},
		QueueBase: 100, Workers: 1,
		MarkSend: 0xf7e1, MarkLocal: 0xf7e2,
		Lease: 300 * time.Millisecond,
	}
}

// twoFamilies has two services on one address and a third on an IPv6 address.
func twoFamilies() Spec {
	s := testSpec()
	second := s.Services[0]
	second.Advertised = netip.MustParseAddrPort("192.0.2.100:443")
	second.Forward = 20443
	third := Service{
		Advertised: netip.MustParseAddrPort("[2001:db8::100]:80"),
		Own:        netip.MustParseAddr("2001:db8::11"),
		Peers:      []netip.Addr{netip.MustParseAddr("2001:db8::12")},
		Forward:    20080,
	}
	s.Services = append(s.Services, second, third)
	s.Workers = 2
	return s
}

// threeNodes has a service of three hosts. Nobody has heard of the third yet.
func threeNodes() Spec {
	s := testSpec()
	s.Services[0].Peers = []netip.Addr{peerB, peerC}
	return s
}

// twoLists has a second service, on another address, which a third host is to take over too.
func twoLists() Spec {
	s := testSpec()
	second := s.Services[0]
	second.Advertised = netip.MustParseAddrPort("192.0.2.101:80")
	second.Peers = []netip.Addr{peerB, peerC}
	second.Forward = 20081
	s.Services = append(s.Services, second)
	s.MACs[peerC] = net.HardwareAddr{2, 0, 0, 0, 0, 14}
	return s
}

// onInterface is twoFamilies on an interface that every namespace has.
func onInterface() Spec {
	s := twoFamilies()
	s.Interface = "lo"
	return s
}

func TestText(t *testing.T) {
	for name, c := range map[string]struct {
		spec   Spec
		kernel Kernel
	}{
		"one":    {testSpec(), Kernel{}},
		"native": {twoFamilies(), Kernel{Queue: true}},
		"egress": {onInterface(), Kernel{Egress: true}},
		"three":  {threeNodes(), Kernel{Queue: true}},
		"lists":  {twoLists(), Kernel{Queue: true}},
	} {
		t.Run(name, func(t *testing.T) {
			file := "testdata/" + name + ".nft"
			got := Text(c.spec, c.kernel)
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("rules changed; review, then go test ./rules -run TestText -update\n%s", diff)
			}
			if strings.Contains(got, "bypass") {
				t.Error("a queue fails open")
			}
		})
	}
}

func TestSpecMistakes(t *testing.T) {
	for name, c := range map[string]struct {
		break_ func(*Spec)
		want   string
	}{
		"no service":   {func(s *Spec) { s.Services = nil }, "no service"},
		"no worker":    {func(s *Spec) { s.Workers = 0 }, "workers"},
		"queues":       {func(s *Spec) { s.QueueBase = 65535 }, "workers"},
		"marks":        {func(s *Spec) { s.MarkLocal = s.MarkSend }, "marks"},
		"lease":        {func(s *Spec) { s.Lease = 0 }, "lease"},
		"family":       {func(s *Spec) { s.Services[0].Peers[0] = netip.MustParseAddr("2001:db8::1") }, "family"},
		"unset":        {func(s *Spec) { s.Services[0].Own = netip.Addr{} }, "must be set"},
		"no peer":      {func(s *Spec) { s.Services[0].Peers = nil }, "no peer"},
		"unset peer":   {func(s *Spec) { s.Services[0].Peers = []netip.Addr{peerB, {}} }, "must be set"},
		"same address": {func(s *Spec) { s.Services[0].Own = peerB }, "different"},
		"peer twice":   {func(s *Spec) { s.Services[0].Peers = []netip.Addr{peerB, peerB} }, "different"},
		"peer at V":    {func(s *Spec) { s.Services[0].Peers[0] = s.Services[0].Advertised.Addr() }, "different"},
		"mac":          {func(s *Spec) { s.MACs[peerC] = net.HardwareAddr{1} }, "6 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			s := testSpec()
			c.break_(&s)
			if _, err := Install(s); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Install: %v, want an error with %q", err, c.want)
			}
		})
	}
}
