package e2e

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ftgw/ftgw/internal/lab"
	"github.com/ftgw/ftgw/internal/lab/client"
	"github.com/ftgw/ftgw/rewrite"
)

// Packets that no kernel would send, and what must hold after them.

// lan sends whole IP packets from host's cable to the station to, as they are.
func lan(host *lab.Host, to net.HardwareAddr, packets ...[]byte) error {
	return frames(host, to, unix.ETH_P_IP, packets...)
}

// frames sends the payloads of Ethernet frames from host.
func frames(host *lab.Host, to net.HardwareAddr, kind uint16, payloads ...[]byte) error {
	return host.Do(func() error {
		i, err := net.InterfaceByName(host.Interface())
		if err != nil {
			return err
		}
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		sa := &unix.SockaddrLinklayer{Protocol: kind<<8 | kind>>8, Ifindex: i.Index, Halen: 6}
		copy(sa.Addr[:], to)
		for _, p := range payloads {
			if err := unix.Sendto(fd, p, 0, sa); err != nil {
				return fmt.Errorf("send %d bytes: %w", len(p), err)
			}
		}
		return nil
	})
}

// routed sends IP packets through host's own routing; its kernel mends lengths and sums of the
// IP header, and nothing else.
func routed(host *lab.Host, packets ...[]byte) error {
	return host.Do(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		for _, p := range packets {
			to := &unix.SockaddrInet4{Addr: [4]byte(p[16:20])}
			if err := unix.Sendto(fd, p, 0, to); err != nil {
				return fmt.Errorf("send %d bytes: %w", len(p), err)
			}
		}
		return nil
	})
}

var stranger = netip.MustParseAddrPort(lab.ClientIP + ":40000")

// segment returns a right segment of no connection.
func segment(flags rewrite.Flags, payload string) []byte {
	return segmentTo(stranger, advertised, flags, payload)
}

func segmentTo(from, to netip.AddrPort, flags rewrite.Flags, payload string) []byte {
	return rewrite.AppendSegment(nil, rewrite.Header{Src: from, Dst: to, Seq: 1000, Ack: 2000,
		Flags: flags, Window: 500, MSS: 1460, WScale: 7}, []byte(payload))
}

// alter changes a packet and puts its sums right again.
func alter(p []byte, change func(ip, tcp []byte)) []byte {
	p = bytes.Clone(p)
	change(p[:20], p[20:])
	return sealed(p)
}

// cut keeps the first n bytes of what follows the IP header.
func cut(p []byte, n int) []byte {
	p = bytes.Clone(p[:20+n])
	binary.BigEndian.PutUint16(p[2:], uint16(len(p)))
	return sealed(p)
}

// options returns a SYN with these options, which are padded with zeros.
func options(o ...byte) []byte {
	for len(o)%4 != 0 {
		o = append(o, 0)
	}
	p := rewrite.AppendSegment(nil, rewrite.Header{Src: stranger, Dst: advertised, Seq: 1000,
		Flags: rewrite.SYN, WScale: -1}, o)
	return alter(p, func(_, tcp []byte) { tcp[12] = byte(20+len(o)) / 4 << 4 })
}

// unreachable returns an ICMP error of the code to the advertised address.
func unreachable(code byte, mtu uint16, quote []byte) []byte {
	icmp := append([]byte{3, code, 0, 0, 0, 0, byte(mtu >> 8), byte(mtu)}, quote...)
	return packet(stranger.Addr(), advertised.Addr(), unix.IPPROTO_ICMP, icmp)
}

// packet returns an IPv4 packet of any protocol.
func packet(from, to netip.Addr, proto byte, payload []byte) []byte {
	p := make([]byte, 20, 20+len(payload))
	p[0], p[8], p[9] = 0x45, 64, proto
	copy(p[12:], from.AsSlice())
	copy(p[16:], to.AsSlice())
	p = append(p, payload...)
	binary.BigEndian.PutUint16(p[2:], uint16(len(p)))
	return sealed(p)
}

// sealed writes the sums that belong to the packet as its header describes it, the plain way
// of RFC 1071.
func sealed(p []byte) []byte {
	be := binary.BigEndian
	sum := func(parts ...[]byte) uint16 {
		s := uint32(0)
		for _, b := range parts {
			for i := 0; i < len(b); i += 2 {
				s += uint32(b[i]) << 8
				if i+1 < len(b) {
					s += uint32(b[i+1])
				}
			}
		}
		for s > 0xffff {
			s = s>>16 + s&0xffff
		}
		return ^uint16(s)
	}
	be.PutUint16(p[10:], 0)
	be.PutUint16(p[10:], sum(p[:20]))
	switch rest := p[20:]; {
	case p[9] == unix.IPPROTO_TCP && len(rest) >= 18:
		be.PutUint16(rest[16:], 0)
		be.PutUint16(rest[16:], sum(p[12:20], []byte{0, p[9], byte(len(rest) >> 8), byte(len(rest))}, rest))
	case p[9] == unix.IPPROTO_ICMP && len(rest) >= 4:
		be.PutUint16(rest[2:], 0)
		be.PutUint16(rest[2:], sum(rest))
	}
	return p
}

// drops returns a node's count of one reason.
func (x *cluster) drops(h *lab.Host, reason string) uint64 {
	x.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	st, err := h.Status(ctx)
	x.must(err)
	return st.Drops[reason]
}

// waiting returns how many packets of a host wait in its queues for a verdict.
func waiting(h *lab.Host) (n int, err error) {
	err = h.Do(func() error {
		text, err := os.ReadFile("/proc/thread-self/net/netfilter/nfnetlink_queue")
		if err != nil {
			return err
		}
		for line := range bytes.Lines(text) {
			fields := bytes.Fields(line)
			if len(fields) < 3 {
				return fmt.Errorf("a line of the kernel's queues: %q", line)
			}
			k, err := strconv.Atoi(string(fields[2]))
			if err != nil {
				return err
			}
			n += k
		}
		return nil
	})
	return n, err
}

// unharmed checks what must hold whatever was sent: the processes live, every packet has its
// verdict, and a client is served.
func (x *cluster) unharmed(t *testing.T, what string) {
	t.Helper()
	r := x.client.Once(context.Background(), client.Bytes(what, 5000))
	if !r.OK() {
		t.Errorf("a client was not served: %v", r)
	}
	for _, h := range []*lab.Host{x.A, x.B} {
		if x.nodes[h].Exited() {
			t.Fatalf("the node of %s has ended:\n%s", h.Name, x.nodes[h].Log())
		}
		deadline := time.Now().Add(10 * time.Second)
		for {
			n, err := waiting(h)
			if err != nil {
				t.Fatal(err)
			}
			if n == 0 {
				break
			}
			if time.Now().After(deadline) {
				t.Errorf("%d packets without a verdict on %s", n, h.Name)
				break
			}
			time.Sleep(time.Millisecond)
		}
	}
}
