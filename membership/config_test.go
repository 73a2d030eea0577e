package membership

import (
	"net/netip"
	"strings"
	"testing"
	"time"
)

func TestNewNamesAllMistakes(t *testing.T) {
	_, err := New(Config{
		Bind:          netip.MustParseAddrPort("0.0.0.0:7946"),
		Key:           make([]byte, 16),
		Peers:         []netip.AddrPort{{}, netip.MustParseAddrPort("0.0.0.0:7946")},
		ProbeInterval: time.Millisecond,
		ProbeTimeout:  time.Second,
	})
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{"needs a name", "bind address", "16 bytes", "Handler", "above the probe interval", "needs an address", "own"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in: %v", want, err)
		}
	}
}
