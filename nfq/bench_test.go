package nfq

import (
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

// BenchmarkVerdict measures packets through one queue, from a sender on the same machine to a
// socket: with the packet as it is, and with every packet replaced.
func BenchmarkVerdict(b *testing.B) {
	for name, verdict := range map[string]func(*Packet) Verdict{
		"accepted":  pass,
		"rewritten": func(p *Packet) Verdict { return Verdict{Accept: true, Data: p.Data, Mark: 1} },
	} {
		b.Run(name, func(b *testing.B) {
			p := newPair(b)
			q := p.open(b, Open, Config{MaxLen: 1 << 14})
			p.intoQueue(b, unix.IPPROTO_UDP, true, 0)
			_, sender := p.udp(b)
			var seen atomic.Int64
			run(b, q, func(packets []Packet, v func(int, Verdict)) {
				for i := range packets {
					v(i, verdict(&packets[i]))
				}
				seen.Add(int64(len(packets)))
			})
			text := make([]byte, 1400)
			b.ReportAllocs()
			b.ResetTimer()
			for i := 0; i < b.N; i++ {
				for int64(i)-seen.Load() > 1<<12 { // keep within the queue
				}
				if _, err := sender.Write(text); err != nil {
					b.Fatal(err)
				}
			}
			eventually(b, "all packets seen", func() bool { return seen.Load() == int64(b.N) })
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "packets/s")
			b.ReportMetric(float64(b.N)/float64(q.Stats().Batches), "packets/batch")
		})
	}
}

func BenchmarkSend(b *testing.B) {
	p := newPair(b)
	var s *Sender
	p.in(b, p.host, func() (err error) {
		s, err = OpenSender(1)
		return err
	})
	defer s.Close()
	packet := udpPacket(hostIP, clientIP, string(make([]byte, 1400)))
	b.ReportAllocs()
	for b.Loop() {
		s.Send(packet)
	}
}
