package e2e

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/ftgw/ftgw/internal/lab"
	"github.com/ftgw/ftgw/internal/lab/client"
	"github.com/ftgw/ftgw/internal/lab/tap"
)

// A kernel drops what the handler passed: one segment in twenty, behind the backup's queue,
// while clients upload and while the primary dies. Nothing may be corrupt and nothing may hang,
// for what the backup's kernel does not have was never acknowledged (I2).
func TestBackupKernelLosesInput(t *testing.T) {
	for _, congestion := range []string{"cubic", "bbr"} {
		t.Run(congestion, func(t *testing.T) {
			// A flow that waits for the backup for longer than confirm_timeout would fall to simplex,
			// as it should: here it must not.
			x := start(t, lab.Options{CongestionControl: congestion},
				lab.Config{Tail: "[timing]\nconfirm_timeout = \"30s\"\n"})
			w := x.watch()
			undo, err := tap.Loss(x.B, advertised, 50)
			x.must(err)
			defer undo()
			ctx := context.Background()
			begin := time.Now()
			x.report.Add(x.client.Once(ctx, client.Upload("before", 4<<20)))
			t.Logf("4 MB uploaded in %v", time.Since(begin))
			var wg sync.WaitGroup
			for i := range 8 {
				wg.Go(func() { x.report.Add(x.client.Once(ctx, client.Upload(fmt.Sprintf("during%d", i), 3<<20))) })
				wg.Go(func() {
					x.client.Series(ctx, 30, 10*time.Millisecond, func(k int) client.Request {
						return client.Bytes(fmt.Sprintf("series%d-%d", i, k), 2000)
					}, &x.report)
				})
			}
			time.Sleep(700 * time.Millisecond)
			x.must(x.A.Crash())
			wg.Wait()
			lost, err := tap.Lost(x.B)
			x.must(err)
			if lost < 100 {
				t.Errorf("only %d segments were lost", lost)
			}
			x.until("b serves alone", 10*time.Second, func() bool { return x.service(x.B).Role == "sole" })
			x.whole()
			x.executions()
			w.check(1, x.service(x.B).LastTakeover.At)
			t.Logf("%d segments lost behind the queue; b: %+v", lost, x.service(x.B))
		})
	}
}
