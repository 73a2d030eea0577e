package nfq

import (
	"bytes"
	"context"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ftgw/ftgw/internal/lab/labtest"
)

// usualBuffer is what a user namespace gets where nobody raised net.core.rmem_max; the
// kernel grants the double. Some six packets of 64 KiB fill it.
const usualBuffer = 212992

func openSmall(cfg Config) (Queue, error) { return open(cfg, usualBuffer) }

func TestBackendWithSmallBuffer(t *testing.T) { testBackend(t, openSmall) }

// Bulk transfers move on, rewritten in packets of 64 KiB, though the socket's buffer is small.
func TestBulk(t *testing.T) {
	const size = 100 << 20
	for name, open := range map[string]func(Config) (Queue, error){"as granted": Open, "small": openSmall} {
		t.Run(name, func(t *testing.T) {
			p := newPair(t)
			q := p.open(t, open, Config{GSO: true})
			p.intoQueue(t, unix.IPPROTO_TCP, false, 0)
			run(t, q, each(shift))
			begin := time.Now()
			got := download(t, p, bytes.Repeat([]byte("x"), size))
			if len(got) != size || bytes.Count(got, []byte("y")) != size {
				t.Errorf("%d of %d bytes came, %d of them right", len(got), size, bytes.Count(got, []byte("y")))
			}
			s := q.Stats()
			t.Logf("buffer %d bytes: %v, %d packets, %d too many for the buffer", s.ReadBuffer, time.Since(begin), s.Packets, s.SocketFull)
			if s.SocketFull > s.Packets/4 || s.QueueFull != 0 || s.Refused != 0 || s.Unfit != 0 {
				t.Errorf("stats: %+v", s)
			}
		})
	}
}

// What was read ahead when Run ended is for the next Run.
func TestReadAheadSurvivesRun(t *testing.T) {
	p := newPair(t)
	q := p.open(t, openSmall, Config{})
	p.intoQueue(t, unix.IPPROTO_UDP, true, 0)
	receiver, sender := p.udp(t)
	send(t, sender, "first")
	eventually(t, "the first waits", func() bool { return q.Stats().Waiting == 1 })
	ctx, cancel := context.WithCancel(t.Context())
	err := q.Run(ctx, func(packets []Packet, verdict func(int, Verdict)) {
		send(t, sender, "second", "third")
		eventually(t, "all three wait", func() bool { return q.Stats().Waiting == 3 })
		cancel()
		for i := range packets {
			verdict(i, Verdict{Accept: true})
		}
	})
	if n := q.(*queue).ahead.filled; err != nil || n != 2 {
		t.Errorf("Run: %v, %d packets read ahead, want 2", err, n)
	}
	want(t, receiver, "first")
	run(t, q, each(pass))
	want(t, receiver, "second", "third")
}

// All of this without root, where the kernel refuses larger buffers than everybody's.
func TestWithoutRoot(t *testing.T) {
	cmd := labtest.Nobody(t, "-test.run=^(TestBackend|TestBulk)$", "-test.v")
	out, err := cmd.CombinedOutput()
	if err != nil || bytes.Contains(out, []byte("SKIP")) {
		t.Errorf("%v\n%s", err, out)
	}
	for line := range bytes.Lines(out) {
		if bytes.Contains(line, []byte("buffer")) {
			t.Logf("%s", line)
		}
	}
}
