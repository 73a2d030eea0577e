package shim

import (
	"container/heap"
	"errors"
	"os"
	"runtime"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	longest = 1 << 16 // bytes of the longest frame, offloads being off
	// batch is how many frames are read before it is looked what has become due.
	batch = 32
	// idle is how long a way that nothing passes goes without a look at whether it is over.
	idle = 20 * time.Millisecond

	etherAll = unix.ETH_P_ALL<<8 | unix.ETH_P_ALL>>8 // in network byte order
)

// port is an interface's own end: what comes in by it, and what is to go out. 0 is none.
type port int

// openPort opens an interface of the calling thread's namespace.
func openPort(index int) (port, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return 0, os.NewSyscallError("socket", err)
	}
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 32<<20),
		unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: etherAll, Ifindex: index}))
	if err != nil {
		return 0, errors.Join(err, unix.Close(fd))
	}
	return port(fd), nil
}

func (p port) close() error {
	if p == 0 {
		return nil
	}
	return unix.Close(int(p))
}

// way carries frames from one port to the other until it is over. The ports stay open until
// run has returned.
type way struct {
	from, to port
	mill     *mill
	over     atomic.Bool

	late  queue
	count uint64 // of frames put into late
}

// run has a thread of its own, before others where that is allowed: a link that stands still
// because the machine is busy would be another fault than the one that is meant.
func (w *way) run() error {
	runtime.LockOSThread() // ends with the goroutine, and so does the priority
	first := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: 1}
	if unix.SchedSetAttr(0, &first, 0) != nil {
		unix.Setpriority(unix.PRIO_PROCESS, 0, -20) // or as the machine likes
	}
	buf := make([]byte, longest)
	for !w.over.Load() {
		if err := w.wait(); err != nil {
			return err
		}
		for range batch {
			n, err := unix.Read(int(w.from), buf)
			if err == unix.EAGAIN {
				break
			}
			if err == unix.ENETDOWN || err == unix.EINTR {
				continue // the first is said once each time when the interface goes down
			}
			if err != nil {
				return os.NewSyscallError("read", err)
			}
			for _, o := range w.mill.grind(append([]byte(nil), buf[:n]...)) {
				if o.after == 0 {
					w.send(o.frame)
				} else {
					w.put(time.Now().Add(o.after), o.frame)
				}
			}
		}
		for len(w.late) > 0 && !w.late[0].due.After(time.Now()) {
			w.send(heap.Pop(&w.late).(held).frame)
		}
	}
	return nil
}

// wait waits for a frame, or until one is due.
func (w *way) wait() error {
	patience := idle
	if len(w.late) > 0 {
		patience = min(patience, max(0, time.Until(w.late[0].due)))
	}
	timeout := unix.NsecToTimespec(patience.Nanoseconds())
	_, err := unix.Ppoll([]unix.PollFd{{Fd: int32(w.from), Events: unix.POLLIN}}, &timeout, nil)
	if err != nil && err != unix.EINTR {
		return os.NewSyscallError("ppoll", err)
	}
	return nil
}

// send may lose the frame, as wires do: the interface is down, or its other end full.
func (w *way) send(frame []byte) { _, _ = unix.Write(int(w.to), frame) }

func (w *way) put(due time.Time, frame []byte) {
	w.count++
	heap.Push(&w.late, held{due, w.count, frame})
}

// held is a frame that waits, and queue those that wait, by time.
type held struct {
	due   time.Time
	order uint64
	frame []byte
}

type queue []held

func (q queue) Len() int      { return len(q) }
func (q queue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q queue) Less(i, j int) bool {
	if q[i].due.Equal(q[j].due) {
		return q[i].order < q[j].order
	}
	return q[i].due.Before(q[j].due)
}
func (q *queue) Push(x any) { *q = append(*q, x.(held)) }
func (q *queue) Pop() any {
	last := (*q)[len(*q)-1]
	*q = (*q)[:len(*q)-1]
	return last
}
