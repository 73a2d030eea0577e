package nfq

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
)

// counts are the queue's own counters, each written by Run and read by Stats.
type counts struct {
	packets, batches, accepted, changed, dropped, unanswered atomic.Uint64
	repeated, unfit, refused, malformed, overruns            atomic.Uint64

	mu   sync.Mutex
	last kernelCounts // as read when the queue was closed
}

// kernelCounts is the queue's row in the kernel's table.
type kernelCounts struct {
	number, port, waiting, copyMode, copyRange, queueFull, socketFull uint64
}

func (c *counts) freeze(k kernelCounts) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = k
}

func (c *counts) frozen() kernelCounts {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last
}

// Stats implements Queue.
func (q *queue) Stats() Stats {
	k := q.counts.frozen()
	if !q.closed.Load() {
		k = q.readTable()
	}
	c := &q.counts
	return Stats{
		Packets: c.packets.Load(), Batches: c.batches.Load(),
		Accepted: c.accepted.Load(), Changed: c.changed.Load(), Dropped: c.dropped.Load(),
		Unanswered: c.unanswered.Load(), Repeated: c.repeated.Load(), Unfit: c.unfit.Load(),
		Refused: c.refused.Load(), Malformed: c.malformed.Load(), Overruns: c.overruns.Load(),
		Waiting: k.waiting, QueueFull: k.queueFull, SocketFull: k.socketFull,
		ReadBuffer: q.granted.read, WriteBuffer: q.granted.write,
	}
}

// listed reports whether any process has bound the queue's number.
func (q *queue) listed() bool { return q.readTable().port != 0 }

// readTable returns the queue's row, zero if there is none or it cannot be read.
func (q *queue) readTable() kernelCounts {
	if q.table == nil {
		return kernelCounts{}
	}
	return findRow(io.NewSectionReader(q.table, 0, 1<<20), q.cfg.Number)
}

// findRow reads the kernel's table of queues (net/netfilter/nfnetlink_queue.c, seq_show):
// number, port of the owner, packets waiting, copy mode, copy range, dropped because the
// queue was full, dropped because the socket was full, last id, 1.
func findRow(table io.Reader, number uint16) kernelCounts {
	lines := bufio.NewScanner(table)
	for lines.Scan() {
		var k kernelCounts
		n, _ := fmt.Fscan(strings.NewReader(lines.Text()),
			&k.number, &k.port, &k.waiting, &k.copyMode, &k.copyRange, &k.queueFull, &k.socketFull)
		if n == 7 && k.number == uint64(number) {
			return k
		}
	}
	return kernelCounts{}
}
