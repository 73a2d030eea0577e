package proxy

import (
	"context"
	"testing"
	"time"

	"github.com/ftgw/ftgw/upstream"
)

// connector is a Config.Connect on real sockets, as cmd/ftgw makes it. patient is the longest
// silence of the upstream.
func connector(t testing.TB, at string, patient time.Duration) func(context.Context, bool, []byte) (UpstreamConn, error) {
	address, err := upstream.ParseAddress(at)
	if err != nil {
		t.Fatal(err)
	}
	pool := upstream.NewPool(upstream.PoolConfig{Address: address, Patience: patient})
	t.Cleanup(pool.Close)
	return func(ctx context.Context, fresh bool, preface []byte) (UpstreamConn, error) {
		if fresh {
			return pool.Fresh(ctx, preface)
		}
		return pool.Get(ctx)
	}
}
