package link

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"testing"

	"github.com/ftgw/ftgw/replication"
	"github.com/ftgw/ftgw/rewrite"
)

// discard is a Handler that keeps nothing.
type discard struct{ *host }

type nowhere struct{ io.Writer }

func (nowhere) Commit() error { return nil }
func (nowhere) Abort()        {}

func (discard) OpenRecord(replication.Record) (RecordSink, error) { return nowhere{io.Discard}, nil }
func (discard) Confirm([]rewrite.Confirmation)                    {}

func benchPair(b *testing.B) *host {
	a, _ := connected(b, func(cfg *Config) {
		cfg.Handler = discard{cfg.Handler.(*host)}
		cfg.Log = slog.New(slog.DiscardHandler)
	})
	return a
}

func benchStore(b *testing.B, size int) {
	a := benchPair(b)
	body := bytes.NewReader(random(size))
	b.SetBytes(int64(size))
	b.ReportAllocs()
	var i uint64
	for b.Loop() {
		i++
		if err := a.Store(b.Context(), reply(1, i, size), body); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkStore1K is the round trip that every small reply waits for.
func BenchmarkStore1K(b *testing.B) { benchStore(b, 1<<10) }

// BenchmarkStoreBulk is the throughput of one large reply.
func BenchmarkStoreBulk(b *testing.B) { benchStore(b, 64<<20) }

// BenchmarkStore1KMany has many exchanges under way at once.
func BenchmarkStore1KMany(b *testing.B) {
	for _, n := range []int{8, 64} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			a := benchPair(b)
			body := bytes.NewReader(random(1 << 10))
			b.SetParallelism(n / 2)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if err := a.Store(b.Context(), reply(1, 1, 1<<10), body); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}

// BenchmarkConfirm is what each acknowledged segment costs its handler.
func BenchmarkConfirm(b *testing.B) {
	a := benchPair(b)
	b.ReportAllocs()
	var i uint32
	for b.Loop() {
		i++
		a.Link.Confirm(rewrite.Confirmation{Flow: flow(uint16(i % 64)), RcvNxt: rewrite.Seq(i), Edge: rewrite.Seq(i + 1000)})
	}
}
