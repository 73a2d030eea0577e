package shim

import (
	"container/heap"
	"errors"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// longest is the length of the longest frame, offloads being off.
const longest = 1 << 16

// port is an interface's own end: what comes in by it, and what is to go out.
type port struct{ *os.File }

// openPort opens an interface of the calling thread's namespace.
func openPort(index int) (port, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return port{}, os.NewSyscallError("socket", err)
	}
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 32<<20),
		unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: etherAll, Ifindex: index}))
	if err != nil {
		return port{}, errors.Join(err, unix.Close(fd))
	}
	return port{os.NewFile(uintptr(fd), "port")}, nil
}

const etherAll = unix.ETH_P_ALL<<8 | unix.ETH_P_ALL>>8 // in network byte order

// way carries frames from one port to the other until the first is closed.
type way struct {
	from, to port
	mill     *mill

	mu    sync.Mutex
	late  queue
	wake  chan struct{} // something was put into late
	over  chan struct{} // closed when nothing is read any more
	count uint64
}

func newWay(from, to port, m *mill) *way {
	return &way{from: from, to: to, mill: m, wake: make(chan struct{}, 1), over: make(chan struct{})}
}

// read forwards until the port is closed.
func (w *way) read() error {
	defer close(w.over)
	buf := make([]byte, longest)
	for {
		n, err := w.from.Read(buf)
		switch {
		case errors.Is(err, os.ErrClosed):
			return nil
		case errors.Is(err, syscall.ENETDOWN):
			continue // said once each time when the interface goes down
		case err != nil:
			return err
		}
		for _, o := range w.mill.grind(append([]byte(nil), buf[:n]...)) {
			if o.after == 0 {
				w.send(o.frame)
			} else {
				w.put(time.Now().Add(o.after), o.frame)
			}
		}
	}
}

// send may lose the frame, as wires do: the interface is down, or its other end full.
func (w *way) send(frame []byte) { _, _ = w.to.Write(frame) }

func (w *way) put(due time.Time, frame []byte) {
	w.mu.Lock()
	w.count++
	heap.Push(&w.late, held{due, w.count, frame})
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// sendLate sends what was put when it is due, until read has ended.
func (w *way) sendLate() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		w.mu.Lock()
		for len(w.late) > 0 && !w.late[0].due.After(time.Now()) {
			w.send(heap.Pop(&w.late).(held).frame)
		}
		next := time.Hour
		if len(w.late) > 0 {
			next = time.Until(w.late[0].due)
		}
		w.mu.Unlock()
		timer.Reset(next)
		select {
		case <-timer.C:
		case <-w.wake:
		case <-w.over:
			return
		}
	}
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
