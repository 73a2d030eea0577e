package e2e

import (
	"context"
	"testing"
	"time"

	"github.com/ftgw/ftgw/internal/lab"
)

// command runs a subcommand against the node of a host.
func (x *cluster) command(h *lab.Host, words ...string) {
	x.Helper()
	p, err := h.Start(words[0], append(append([]string{program}, words...), "--socket", h.Socket())...)
	x.must(err)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := p.Wait(ctx); err != nil {
		x.Errorf("ftgw %v on %s: %v\n%s", words, h.Name, err, p.Log())
	} else {
		x.Logf("%s", p.Log())
	}
}

// The primary's part goes to the peer and back while clients are in every phase of an exchange.
// Nothing is lost, reset or executed twice, and at any moment one host speaks.
func TestSwitchover(t *testing.T) {
	x := start(t, lab.Options{CongestionControl: "cubic"}, lab.Config{})
	w := x.watch()
	wait := x.busy()
	time.Sleep(300 * time.Millisecond)
	x.command(x.A, "switchover")
	if a, b := x.service(x.A), x.service(x.B); a.Role != "backup" || b.Role != "primary" || a.Epoch != b.Epoch {
		t.Errorf("a %+v, b %+v", a, b)
	}
	time.Sleep(300 * time.Millisecond)
	x.command(x.B, "drain")
	if a := x.service(x.A); a.Role != "primary" || a.Owner != "a" {
		t.Errorf("a %+v", a)
	}
	time.Sleep(300 * time.Millisecond)
	wait()
	x.whole()
	x.once()
	w.voices(2)
	x.duplex()
}
