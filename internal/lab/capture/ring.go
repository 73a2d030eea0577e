package capture

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The ring that the kernel writes captured frames into (packet(7), TPACKET_V2). Frames are
// cut to what a slot holds: some 190 bytes, enough for any header. In a ring a GSO frame of
// 64 KiB costs no more than an ACK, which a socket buffer could not offer.
const (
	slotSize  = 256
	blockSize = 1 << 20
)

type ring struct {
	fd   int
	wake int // eventfd that ends a wait
	mem  []byte
	next int // slot to read next
}

// openRing captures on the interface in the calling thread's namespace from now on.
func openRing(ifname string, slots int) (_ *ring, err error) {
	// Protocol 0 hears nothing until bind, so nothing of other interfaces gets in.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	r := &ring{fd: fd, wake: -1}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.close())
		}
	}()
	ifi, err := net.InterfaceByName(ifname)
	if err != nil {
		return nil, err
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VERSION, unix.TPACKET_V2); err != nil {
		return nil, os.NewSyscallError("setsockopt PACKET_VERSION", err)
	}
	blocks := (slots*slotSize + blockSize - 1) / blockSize
	if err := unix.SetsockoptTpacketReq(fd, unix.SOL_PACKET, unix.PACKET_RX_RING, &unix.TpacketReq{
		Block_size: blockSize, Block_nr: uint32(blocks),
		Frame_size: slotSize, Frame_nr: uint32(blocks * blockSize / slotSize),
	}); err != nil {
		return nil, os.NewSyscallError("setsockopt PACKET_RX_RING", err)
	}
	if r.mem, err = unix.Mmap(fd, 0, blocks*blockSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
		return nil, os.NewSyscallError("mmap", err)
	}
	if r.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC); err != nil {
		return nil, os.NewSyscallError("eventfd", err)
	}
	all := uint16(unix.ETH_P_ALL)<<8 | uint16(unix.ETH_P_ALL)>>8 // network order
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: ifi.Index}); err != nil {
		return nil, os.NewSyscallError("bind", err)
	}
	return r, nil
}

// frame is one captured frame; its bytes are the ring's and valid until the next call.
type frame struct {
	time     time.Time
	bytes    []byte
	length   int // on the wire
	outgoing bool
}

// each hands out what is in the ring now.
func (r *ring) each(f func(frame)) {
	for {
		slot := r.mem[r.next*slotSize : (r.next+1)*slotSize]
		status := (*uint32)(unsafe.Pointer(&slot[0]))
		if atomic.LoadUint32(status)&unix.TP_STATUS_USER == 0 {
			return
		}
		h := (*unix.Tpacket2Hdr)(unsafe.Pointer(&slot[0]))
		const typeAt = unix.SizeofTpacket2Hdr + 10 // sockaddr_ll.sll_pkttype
		end := min(int(h.Mac)+int(h.Snaplen), len(slot))
		f(frame{
			time:     time.Unix(int64(h.Sec), int64(h.Nsec)),
			bytes:    slot[h.Mac:end],
			length:   int(h.Len),
			outgoing: slot[typeAt] == unix.PACKET_OUTGOING,
		})
		atomic.StoreUint32(status, unix.TP_STATUS_KERNEL)
		r.next = (r.next + 1) % (len(r.mem) / slotSize)
	}
}

// wait blocks until there is a frame; false means that stop was called.
func (r *ring) wait() (bool, error) {
	fds := []unix.PollFd{{Fd: int32(r.fd), Events: unix.POLLIN}, {Fd: int32(r.wake), Events: unix.POLLIN}}
	if _, err := unix.Poll(fds, -1); err != nil && !errors.Is(err, unix.EINTR) {
		return false, os.NewSyscallError("poll", err)
	}
	if fds[0].Revents&(unix.POLLERR|unix.POLLNVAL) != 0 {
		// The error is read off, or poll would report it for ever: the interface went down.
		if _, err := unix.GetsockoptInt(r.fd, unix.SOL_SOCKET, unix.SO_ERROR); err != nil {
			return false, os.NewSyscallError("getsockopt SO_ERROR", err)
		}
	}
	return fds[1].Revents == 0, nil
}

func (r *ring) stop() error {
	_, err := unix.Write(r.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	return os.NewSyscallError("write", err)
}

// statistics returns frames seen and frames lost for want of a free slot.
func (r *ring) statistics() (seen, dropped int, err error) {
	s, err := unix.GetsockoptTpacketStats(r.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
	if err != nil {
		return 0, 0, fmt.Errorf("getsockopt PACKET_STATISTICS: %w", err)
	}
	return int(s.Packets), int(s.Drops), nil
}

func (r *ring) close() error {
	var errs []error
	if r.mem != nil {
		errs = append(errs, unix.Munmap(r.mem))
	}
	if r.wake >= 0 {
		errs = append(errs, unix.Close(r.wake))
	}
	return errors.Join(append(errs, unix.Close(r.fd))...)
}
