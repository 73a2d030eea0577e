package nfq

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ftgw/ftgw/internal/lab/labtest"
)

const (
	stranger    = "203.0.113.9" // a client that is nowhere in the test's network
	strangePort = 4711
	flagSYN     = 0x02
	flagPSH     = 0x08
	flagACK     = 0x10
)

// tcpPacket makes a segment from the stranger to the host's test port.
func tcpPacket(flags byte, seq, ack uint32, text string) []byte {
	b := make([]byte, 40, 40+len(text))
	b[0], b[8], b[9] = 0x45, 64, unix.IPPROTO_TCP
	copy(b[12:], net.ParseIP(stranger).To4())
	copy(b[16:], net.ParseIP(hostIP).To4())
	binary.BigEndian.PutUint16(b[20:], strangePort)
	binary.BigEndian.PutUint16(b[22:], port)
	binary.BigEndian.PutUint32(b[24:], seq)
	binary.BigEndian.PutUint32(b[28:], ack)
	b[32], b[33] = 5<<4, flags
	binary.BigEndian.PutUint16(b[34:], 65535)
	b = append(b, text...)
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	tcpChecksum(b)
	return b
}

// A packet with a stranger's source address, sent by a raw socket of the host to an address
// of the host itself, reaches the local connection.
func TestInjectToLocalListener(t *testing.T) {
	p := newPair(t)
	q := p.open(t, Open, Config{})
	p.intoQueue(t, unix.IPPROTO_TCP, false, 0)
	var l net.Listener
	var s *Sender
	p.in(t, p.host, func() (err error) {
		if s, err = OpenSender(0xf7e2); err != nil {
			return err
		}
		l, err = net.Listen("tcp4", net.JoinHostPort(hostIP, "7000"))
		return err
	})
	defer s.Close()
	defer l.Close()
	inject := func(b []byte) {
		if err := s.Send(b); err != nil {
			t.Errorf("Send: %v", err)
		}
	}
	run(t, q, each(func(p *Packet) Verdict { // everything the host answers ends here
		if p.Data[33] == flagSYN|flagACK {
			iss := binary.BigEndian.Uint32(p.Data[24:])
			inject(tcpPacket(flagACK, 1001, iss+1, ""))
			inject(tcpPacket(flagACK|flagPSH, 1001, iss+1, "hello"))
		}
		return Verdict{}
	}))
	inject(tcpPacket(flagSYN, 1000, 0, ""))
	l.(*net.TCPListener).SetDeadline(time.Now().Add(patience))
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got := c.RemoteAddr().String(); got != stranger+":4711" {
		t.Errorf("connection from %s", got)
	}
	c.SetDeadline(time.Now().Add(patience))
	b := make([]byte, 5)
	if _, err := io.ReadFull(c, b); err != nil || string(b) != "hello" {
		t.Errorf("read %q, %v", b, err)
	}
}

func TestSenderMark(t *testing.T) {
	p := newPair(t)
	q := p.open(t, Open, Config{})
	p.intoQueue(t, unix.IPPROTO_UDP, true, 0)
	var s *Sender
	p.in(t, p.host, func() (err error) {
		s, err = OpenSender(0xf7e2)
		return err
	})
	defer s.Close()
	marks := make(chan uint32, 1)
	run(t, q, each(func(p *Packet) Verdict { marks <- p.Mark; return Verdict{} }))
	if err := s.Send(udpPacket(stranger, hostIP, "to myself")); err != nil {
		t.Fatal(err)
	}
	if m := <-marks; m != 0xf7e2 {
		t.Errorf("mark %#x", m)
	}
}

func TestSenderErrors(t *testing.T) {
	p := newPair(t)
	var s *Sender
	p.in(t, p.host, func() (err error) {
		s, err = OpenSender(0)
		return err
	})
	defer s.Close()
	for _, b := range [][]byte{nil, {}, {0x45}, make([]byte, 40), append([]byte{0x60}, make([]byte, 38)...)} {
		if err := s.Send(b); err == nil {
			t.Errorf("%d bytes that are no packet were sent", len(b))
		}
	}
	if err := s.Send(udpPacket(hostIP, clientIP, string(make([]byte, 1473)))); !errors.Is(err, unix.EMSGSIZE) {
		t.Errorf("beyond the MTU: %v, want EMSGSIZE", err)
	}
	if got := s.Stats(); got.Failed != 6 || got.Sent != 0 {
		t.Errorf("stats: %+v", got)
	}
}

// A full device queue loses packets, as networks do, and blocks nobody.
func TestSenderLoses(t *testing.T) {
	p := newPair(t)
	var s *Sender
	p.in(t, p.host, func() (err error) {
		link, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		// A token bucket much slower than the test.
		err = netlink.QdiscAdd(&netlink.Tbf{
			QdiscAttrs: netlink.QdiscAttrs{LinkIndex: link.Attrs().Index, Handle: netlink.MakeHandle(1, 0), Parent: netlink.HANDLE_ROOT},
			Rate:       125000, Limit: 1 << 30, Buffer: 4e6, // ticks of 64 ns
		})
		if err != nil {
			return err
		}
		s, err = OpenSender(0)
		return err
	})
	defer s.Close()
	packet := udpPacket(hostIP, clientIP, string(make([]byte, 1400)))
	for range 20000 {
		if err := s.Send(packet); err != nil {
			t.Fatal(err)
		}
	}
	if got := s.Stats(); got.Lost == 0 || got.Sent+got.Lost != 20000 {
		t.Errorf("stats: %+v, want some lost", got)
	}
}

func TestSenderIPv6(t *testing.T) {
	labtest.Require(t)
	ns := labtest.NS(t, "host")
	var s *Sender
	var c *net.UDPConn
	if err := ns.Do(func() (err error) {
		if s, err = OpenSender(1); err != nil {
			return err
		}
		c, err = net.ListenUDP("udp6", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("[::1]:7000")))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	defer c.Close()
	b := make([]byte, 48, 52)
	b[0], b[5], b[6], b[7] = 0x60, 12, unix.IPPROTO_UDP, 64
	src, dst := netip.MustParseAddr("2001:db8::9").As16(), netip.IPv6Loopback().As16()
	copy(b[8:], src[:])
	copy(b[24:], dst[:])
	binary.BigEndian.PutUint16(b[40:], 9999)
	binary.BigEndian.PutUint16(b[42:], 7000)
	binary.BigEndian.PutUint16(b[44:], 12)
	b = append(b, "six!"...)
	binary.BigEndian.PutUint16(b[46:], ^sum(uint32(sum(0, b[8:40]))+unix.IPPROTO_UDP+12, b[40:]))
	if err := s.Send(b); err != nil {
		t.Fatal(err)
	}
	want(t, c, "six!")
}

func TestSenderDoesNotAllocate(t *testing.T) {
	p := newPair(t)
	var s *Sender
	p.in(t, p.host, func() (err error) {
		s, err = OpenSender(0)
		return err
	})
	defer s.Close()
	packet := udpPacket(hostIP, clientIP, "packet")
	if n := testing.AllocsPerRun(100, func() { s.Send(packet) }); n != 0 {
		t.Errorf("%v allocations per packet", n)
	}
}
