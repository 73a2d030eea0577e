package e2e

import (
	"context"
	"fmt"
	"testing"

	"github.com/ftgw/ftgw/internal/lab"
	"github.com/ftgw/ftgw/internal/lab/client"
)

func TestDuplexServes(t *testing.T) {
	x := start(t, lab.Options{CongestionControl: "cubic"}, lab.Config{})
	ctx := context.Background()
	x.report.Add(x.client.Once(ctx, client.Bytes("one", 1000)))
	x.client.Series(ctx, 20, 0, func(i int) client.Request {
		return client.Bytes(fmt.Sprintf("k%d", i), int64(i)*1000)
	}, &x.report)
	x.report.Add(x.client.Once(ctx, client.Upload("up", 300_000)))
	x.whole()
	t.Logf("a: %+v", x.service(x.A))
	t.Logf("b: %+v", x.service(x.B))
	for _, h := range []*lab.Host{x.A, x.B} {
		st, _ := h.Status(ctx)
		t.Logf("%s: %+v", h.Name, st.Drops)
	}
}
