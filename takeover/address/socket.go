package address

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"

	"github.com/mdlayher/packet"
	"golang.org/x/sys/unix"
)

// socket sends and receives ARP packets on one interface, without their Ethernet headers.
// arp.Client would hide the kernel's receive time.
type socket struct {
	conn  *packet.Conn
	raw   syscall.RawConn
	index int
}

// stamping asks for the time at which the kernel took a frame from the driver. The older
// SO_TIMESTAMPNS would make up a time at reading for a frame without one, as there are for some
// milliseconds after the first socket on the machine has asked for times; here they have none.
const stamping = unix.SOF_TIMESTAMPING_RX_SOFTWARE | unix.SOF_TIMESTAMPING_SOFTWARE

// received is one packet with what the kernel knows about it.
type received struct {
	data  []byte           // valid until the next receive
	from  net.HardwareAddr // Ethernet source
	kind  uint8            // PACKET_HOST, PACKET_BROADCAST, …
	at    time.Time        // when the kernel received it, on the wall clock
	timed bool             // at is known
}

func openSocket(ifi *net.Interface) (*socket, error) {
	conn, err := packet.Listen(ifi, packet.Datagram, unix.ETH_P_ARP, nil)
	if err != nil {
		return nil, fmt.Errorf("open ARP socket on %s: %w (CAP_NET_RAW is needed: run as root)", ifi.Name, err)
	}
	raw, err := conn.SyscallConn()
	if err == nil {
		err = errors.Join(err, control(raw, func(fd int) error {
			return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPING_NEW, stamping)
		}))
	}
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("turn on receive times of the ARP socket on %s: %w (Linux 5.1 or later is needed)", ifi.Name, err)
	}
	return &socket{conn: conn, raw: raw, index: ifi.Index}, nil
}

func control(raw syscall.RawConn, f func(fd int) error) error {
	var err error
	if e := raw.Control(func(fd uintptr) { err = f(int(fd)) }); e != nil {
		return e
	}
	return err
}

// receive waits for a packet and reads it into buf.
func (s *socket) receive(buf, oob []byte) (received, error) {
	var (
		r       received
		n, oobn int
		from    unix.Sockaddr
		err     error
	)
	waited := s.raw.Read(func(fd uintptr) bool {
		n, oobn, _, from, err = unix.Recvmsg(int(fd), buf, oob, unix.MSG_DONTWAIT)
		return !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR)
	})
	if waited != nil {
		return r, waited
	}
	if err != nil {
		return r, err
	}
	r.data = buf[:n]
	if ll, ok := from.(*unix.SockaddrLinklayer); ok {
		r.kind = ll.Pkttype
		r.from = net.HardwareAddr(ll.Addr[:min(int(ll.Halen), len(ll.Addr))])
	}
	r.at, r.timed = receiveTime(oob[:oobn])
	return r, nil
}

// receiveTime reads the control message with a struct scm_timestamping64, whose first of three
// struct __kernel_timespec is the software's.
func receiveTime(oob []byte) (time.Time, bool) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return time.Time{}, false
	}
	for _, m := range messages {
		if m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SO_TIMESTAMPING_NEW && len(m.Data) >= 16 {
			sec := binary.NativeEndian.Uint64(m.Data)
			nsec := binary.NativeEndian.Uint64(m.Data[8:])
			return time.Unix(int64(sec), int64(nsec)), sec != 0
		}
	}
	return time.Time{}, false
}

// send sends one packet at once or not at all.
func (s *socket) send(to net.HardwareAddr, b []byte) error {
	sa := &unix.SockaddrLinklayer{Protocol: networkOrder(unix.ETH_P_ARP), Ifindex: s.index, Halen: macLen}
	copy(sa.Addr[:], to)
	return control(s.raw, func(fd int) error { return unix.Sendto(fd, b, unix.MSG_DONTWAIT, sa) })
}

func networkOrder(v uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, v))
}

// interrupt makes receive return from now on.
func (s *socket) interrupt() { s.conn.SetReadDeadline(time.Unix(1, 0)) }

func (s *socket) close() error { return s.conn.Close() }
