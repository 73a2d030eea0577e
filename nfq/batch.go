package nfq

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	batchSize    = 32   // datagrams read by one system call
	slotHeadroom = 1024 // bytes for the attributes around a packet
	slotSize     = 65536 + slotHeadroom
)

// message is struct mmsghdr of recvmmsg(2).
type message struct {
	header unix.Msghdr
	length uint32
}

// batch is the memory that one system call fills. Pages that no packet needed are never
// touched, so slots for the largest packet cost only address space.
type batch struct {
	arena    []byte
	vectors  [batchSize]unix.Iovec
	messages [batchSize]message
	packets  [batchSize]Packet
	decided  [batchSize]bool
	filled   int // datagrams received
	count    int // packets in use
}

func newBatch() *batch {
	b := &batch{arena: make([]byte, batchSize*slotSize)}
	for i := range b.messages {
		b.vectors[i].Base = &b.arena[i*slotSize]
		b.vectors[i].SetLen(slotSize)
		b.messages[i].header.Iov = &b.vectors[i]
		b.messages[i].header.SetIovlen(1)
	}
	return b
}

// receive adds to a batch that is not full what the socket holds, without blocking.
func (b *batch) receive(fd int) error {
	r, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, uintptr(fd),
		uintptr(unsafe.Pointer(&b.messages[b.filled])), uintptr(batchSize-b.filled), unix.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		return errno
	}
	b.filled += int(r)
	return nil
}

// datagram returns what was received in slot i, and whether its end is missing.
func (b *batch) datagram(i int) (data []byte, cut bool) {
	m := &b.messages[i]
	start := i * slotSize
	return b.arena[start : start+int(m.length)], m.header.Flags&unix.MSG_TRUNC != 0
}

// sender holds the memory of one sendmsg(2), so that a verdict needs no allocation. The
// payload is sent from where it lies.
type sender struct {
	head    verdictHeader
	padding [4]byte
	vectors [3]unix.Iovec
	header  unix.Msghdr
}

// send sends head, payload and padding as one datagram to the kernel.
func (s *sender) send(fd int, head, payload []byte) error {
	s.vectors[0].Base = &head[0]
	s.vectors[0].SetLen(len(head))
	s.header.Iov = &s.vectors[0]
	s.header.SetIovlen(1)
	if len(payload) > 0 {
		s.vectors[1].Base = &payload[0]
		s.vectors[1].SetLen(len(payload))
		s.vectors[2].Base = &s.padding[0]
		s.vectors[2].SetLen(align(len(payload)) - len(payload))
		s.header.SetIovlen(3)
	}
	for {
		_, _, errno := unix.Syscall(unix.SYS_SENDMSG, uintptr(fd), uintptr(unsafe.Pointer(&s.header)), 0)
		s.vectors[1].Base = nil // the handler's memory is its own again
		if errno == 0 {
			return nil
		}
		if errno != unix.EINTR {
			return errno
		}
		if len(payload) > 0 {
			s.vectors[1].Base = &payload[0]
		}
	}
}
