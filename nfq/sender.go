package nfq

import (
	"errors"
	"fmt"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

const senderBuffer = 4 << 20 // bytes asked for

// ErrNotIP is returned by Sender.Send for bytes that are no IPv4 or IPv6 packet.
var ErrNotIP = errors.New("not an IP packet")

// Sender sends whole IP packets with any source address through raw sockets: clones to the
// peer, packets of our own making to clients and to the local kernel. It is safe for
// concurrent use, never blocks and does not allocate.
//
// The kernel fills in the IPv4 header checksum and total length and, if zero, the
// identification. It cuts nothing: a packet larger than the route's MTU fails with EMSGSIZE.
type Sender struct {
	v4, v6 int // descriptors; v6 is -1 where the kernel has no IPv6
	sent   atomic.Uint64
	lost   atomic.Uint64
	failed atomic.Uint64
}

// SenderStats counts packets since the sender was opened.
type SenderStats struct {
	Sent   uint64 // taken by the kernel
	Lost   uint64 // buffer or device queue full, as a network loses packets
	Failed uint64 // refused with an error that Send returned
}

// OpenSender opens a sender whose packets bear the given mark (0: none). It must run in the
// network namespace that is to send, and needs CAP_NET_RAW and CAP_NET_ADMIN there.
func OpenSender(mark uint32) (*Sender, error) {
	v4, err := rawSocket(unix.AF_INET, mark)
	if err != nil {
		return nil, fmt.Errorf("open packet sender: %w", err)
	}
	v6, err := rawSocket(unix.AF_INET6, mark)
	if errors.Is(err, unix.EAFNOSUPPORT) {
		v6, err = -1, nil
	}
	if err != nil {
		unix.Close(v4)
		return nil, fmt.Errorf("open packet sender for IPv6: %w", err)
	}
	return &Sender{v4: v4, v6: v6}, nil
}

func rawSocket(family int, mark uint32) (int, error) {
	fd, err := unix.Socket(family, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if errors.Is(err, unix.EPERM) {
		return -1, fmt.Errorf("raw socket: %w (needs CAP_NET_RAW: run as root or grant it)", err)
	}
	if err != nil {
		return -1, fmt.Errorf("raw socket: %w", err)
	}
	if err := setUpRaw(fd, mark); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func setUpRaw(fd int, mark uint32) error {
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, int(mark)); err != nil {
		return fmt.Errorf("set mark %#x: %w (needs CAP_NET_ADMIN: run as root or grant it)", mark, err)
	}
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, senderBuffer) != nil {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, senderBuffer); err != nil {
			return fmt.Errorf("set send buffer: %w", err)
		}
	}
	// The socket receives nothing (protocol RAW), so its receive buffer does not matter.
	return nil
}

// Send sends one whole IP packet to the destination in its header. A packet for which there
// is no room is lost and counted, which is no error. Errors are bare unix.Errno: EPERM if a
// rule dropped the packet (no lease), EMSGSIZE if it exceeds the MTU, ENETUNREACH and
// EHOSTUNREACH if there is no way.
func (s *Sender) Send(packet []byte) error {
	errno := unix.EAFNOSUPPORT
	switch {
	case len(packet) >= 20 && packet[0]>>4 == 4:
		to := unix.RawSockaddrInet4{Family: unix.AF_INET, Addr: [4]byte(packet[16:20])}
		errno = sendTo(s.v4, packet, unsafe.Pointer(&to), unix.SizeofSockaddrInet4)
	case len(packet) >= 40 && packet[0]>>4 == 6 && s.v6 >= 0:
		to := unix.RawSockaddrInet6{Family: unix.AF_INET6, Addr: [16]byte(packet[24:40])}
		errno = sendTo(s.v6, packet, unsafe.Pointer(&to), unix.SizeofSockaddrInet6)
	case len(packet) < 20 || packet[0]>>4 != 6:
		s.failed.Add(1)
		return ErrNotIP
	}
	switch errno {
	case 0:
		s.sent.Add(1)
		return nil
	case unix.EAGAIN, unix.ENOBUFS, unix.ENOMEM:
		s.lost.Add(1)
		return nil
	}
	s.failed.Add(1)
	return errno
}

func sendTo(fd int, packet []byte, to unsafe.Pointer, size uintptr) unix.Errno {
	for {
		_, _, errno := unix.Syscall6(unix.SYS_SENDTO, uintptr(fd),
			uintptr(unsafe.Pointer(&packet[0])), uintptr(len(packet)), unix.MSG_DONTWAIT, uintptr(to), size)
		if errno != unix.EINTR {
			return errno
		}
	}
}

// Stats returns the counts so far.
func (s *Sender) Stats() SenderStats {
	return SenderStats{Sent: s.sent.Load(), Lost: s.lost.Load(), Failed: s.failed.Load()}
}

// Close gives up the sockets. Nobody may send after it.
func (s *Sender) Close() error {
	err := unix.Close(s.v4)
	if s.v6 >= 0 {
		err = errors.Join(err, unix.Close(s.v6))
	}
	return err
}
