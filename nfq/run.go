package nfq

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// queue implements Queue.
type queue struct {
	cfg     Config
	con     *netlink.Conn
	raw     syscall.RawConn
	fd      int      // con's descriptor. Invariant: open while running is held
	table   *os.File // the kernel's table of queues, or nil
	granted struct{ read, write int }

	closed  atomic.Bool
	running sync.Mutex // held by Run, and by Close at its end
	batch   *batch
	ahead   *batch // what a small socket buffer could not hold; nil if the buffer is large
	sender  sender
	counts  counts
}

// Run implements Queue.
func (q *queue) Run(ctx context.Context, h Handler) error {
	q.running.Lock()
	defer q.running.Unlock()
	if err := q.con.SetReadDeadline(time.Time{}); err != nil && !q.closed.Load() {
		return fmt.Errorf("run queue %d: clear deadline: %w", q.cfg.Number, err)
	}
	wake := func() { q.con.SetReadDeadline(time.Unix(1, 0)) }
	defer context.AfterFunc(ctx, wake)()

	decide := func(i int, v Verdict) { q.decide(i, v) }
	for !q.closed.Load() && ctx.Err() == nil {
		err := q.receive()
		switch {
		case err == nil:
		case errors.Is(err, os.ErrDeadlineExceeded):
			continue // woken, the loop's condition knows why
		case errors.Is(err, unix.ENOBUFS):
			q.counts.overruns.Add(1) // packets were lost, the socket lives on
			continue
		default:
			return fmt.Errorf("run queue %d: receive: %w", q.cfg.Number, err)
		}
		q.handle(h, decide)
	}
	return nil
}

// receive waits for packets, unless some were read ahead, and leaves them in the batch.
func (q *queue) receive() (err error) {
	q.batch.filled = 0
	if q.ahead != nil && q.ahead.filled > 0 {
		q.batch, q.ahead = q.ahead, q.batch
		return nil
	}
	waitErr := q.raw.Read(func(fd uintptr) (done bool) {
		for {
			err = q.batch.receive(int(fd))
			if err != unix.EINTR {
				return err != unix.EAGAIN
			}
		}
	})
	if waitErr != nil {
		return waitErr
	}
	return err
}

// readAhead makes room in a small socket buffer while the handler is at work. What is wrong
// with the socket shows at the next receive.
func (q *queue) readAhead() {
	if q.ahead != nil && q.ahead.filled < batchSize {
		_ = q.ahead.receive(q.fd)
	}
}

// handle parses the datagrams, gives the packets to h and drops what h left undecided, by a panic
// too, which is the caller's to deal with.
func (q *queue) handle(h Handler, decide func(int, Verdict)) {
	b := q.batch
	b.count = 0
	for i := range b.filled {
		q.parse(b.datagram(i))
	}
	if b.count == 0 {
		return
	}
	clear(b.decided[:b.count])
	q.counts.batches.Add(1)
	q.counts.packets.Add(uint64(b.count))
	defer func() {
		for i := range b.count {
			if !b.decided[i] {
				q.counts.unanswered.Add(1)
				q.answer(b.packets[i].ID, Verdict{})
			}
		}
		b.count = 0 // a decide that comes too late finds nothing
	}()
	h(b.packets[:b.count], decide)
}

// parse appends the packets of one datagram to the batch. The kernel sends one message in
// each datagram.
func (q *queue) parse(d []byte, cut bool) {
	if len(d) < messageHeader {
		q.counts.malformed.Add(1)
		return
	}
	switch binary.NativeEndian.Uint16(d[4:]) {
	case unix.NLMSG_ERROR:
		// Acknowledgements are not asked for, so this is a verdict for a packet that is gone.
		q.counts.refused.Add(1)
	case msgPacket:
		end := len(d)
		if size := int(binary.NativeEndian.Uint32(d)); size >= messageHeader && size < end {
			end = size
		}
		p := &q.batch.packets[q.batch.count]
		haveID, err := parsePacket(d[messageHeader:end], cut, p)
		if err == nil {
			q.batch.count++
			return
		}
		q.counts.malformed.Add(1)
		if haveID {
			q.answer(p.ID, Verdict{})
		}
	default:
		q.counts.malformed.Add(1)
	}
}

// decide is the handler's verdict on packet i of the batch.
func (q *queue) decide(i int, v Verdict) {
	b := q.batch
	if i < 0 || i >= b.count || b.decided[i] {
		q.counts.repeated.Add(1)
		return
	}
	b.decided[i] = true
	switch {
	case !v.Accept:
		q.counts.dropped.Add(1)
	case v.Data != nil && (b.packets[i].Truncated || len(v.Data) == 0 || len(v.Data) > MaxPacket):
		// The kernel cuts the packet to what it is given, or cannot take it: neither is whole.
		q.counts.unfit.Add(1)
		v = Verdict{}
	default:
		q.counts.accepted.Add(1)
		if v.Data != nil {
			q.counts.changed.Add(1)
		}
	}
	q.answer(b.packets[i].ID, v)
	q.readAhead()
}

// answer sends a verdict. One that cannot be sent becomes a drop, which is small enough.
func (q *queue) answer(id uint32, v Verdict) {
	if !v.Accept {
		v = Verdict{}
	}
	head := encodeVerdict(&q.sender.head, q.cfg.Number, id, v, len(v.Data))
	err := q.sender.send(q.fd, head, v.Data)
	if err == nil {
		return
	}
	q.counts.refused.Add(1)
	if v.Accept {
		q.cfg.Log.Warn("verdict not taken, packet dropped", "queue", q.cfg.Number, "bytes", len(v.Data), "error", err)
		q.answer(id, Verdict{})
	}
}

// Close implements Queue.
func (q *queue) Close() error {
	if q.closed.Swap(true) {
		return nil
	}
	q.con.SetReadDeadline(time.Unix(1, 0))
	q.running.Lock()
	defer q.running.Unlock()
	q.counts.freeze(q.readTable())
	err := q.con.Close()
	if q.table != nil {
		err = errors.Join(err, q.table.Close())
	}
	if err != nil {
		return fmt.Errorf("close queue %d: %w", q.cfg.Number, err)
	}
	return nil
}
