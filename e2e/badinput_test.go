package e2e

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ftgw/ftgw/internal/lab"
	"github.com/ftgw/ftgw/internal/lab/client"
	"github.com/ftgw/ftgw/rewrite"
)

// hostile is one kind of bad packet and where it must end.
type hostile struct {
	name    string
	routed  bool // sent by the client through the router, else on the hosts' subnet
	to      byte // the station, on the subnet: 'a', or else the owner b
	packets [][]byte
	reason  string // counted by b, or by a if sent there; empty: the kernel's own business
	also    string // counted by the other node
}

func one(p ...[]byte) [][]byte { return p }

// hostilePackets are those that need no connection.
func hostilePackets(a, b netip.Addr) []hostile {
	syn, ack := rewrite.SYN, rewrite.ACK
	other := netip.AddrPortFrom(stranger.Addr(), stranger.Port()+1) // opens a half of a connection
	forward := func(h netip.Addr) netip.AddrPort { return netip.AddrPortFrom(h, 20080) }
	field16 := func(p []byte, at int, v uint16) []byte {
		return alter(p, func(ip, _ []byte) { binary.BigEndian.PutUint16(ip[at:], v) })
	}
	offset := func(words byte) []byte {
		return alter(segment(syn, ""), func(_, tcp []byte) { tcp[12] = words << 4 })
	}
	wrongSum := segment(syn, "")
	wrongSum[36] ^= 0x5a
	wrongICMP := unreachable(1, 0, segmentTo(advertised, stranger, ack, ""))
	wrongICMP[22] ^= 0x5a
	long := field16(segment(syn, "0123456789"), 2, 400)
	short := field16(segment(ack, "0123456789"), 2, 45)
	longHeader := bytes.Clone(segmentTo(advertised, stranger, ack, ""))
	longHeader[0] = 0x4f
	udp := []byte{0x9c, 0x40, 0, 80, 0, 8, 0, 0}
	from := func(src string) []byte {
		return segmentTo(netip.MustParseAddrPort(src), advertised, syn, "")
	}
	return []hostile{
		{name: "header of 10 bytes", packets: one(cut(segment(syn, ""), 10)), reason: "truncated"},
		{name: "header of 10 bytes, routed", routed: true, packets: one(cut(segment(syn, ""), 10)), reason: "truncated"},
		{name: "header of 19 bytes", packets: one(cut(segment(syn, ""), 19)), reason: "truncated"},
		{name: "header of 3 bytes", packets: one(cut(segment(syn, ""), 3)), reason: "rule-not-served"},
		{name: "no header", packets: one(cut(segment(syn, ""), 0)), reason: "rule-not-served"},
		{name: "data offset beyond the packet", routed: true, packets: one(offset(15)), reason: "bad-header"},
		{name: "data offset within the header", routed: true, packets: one(offset(4), offset(0)), reason: "bad-header"},
		{name: "option of length 0", routed: true, packets: one(options(8, 0)), reason: "bad-option"},
		{name: "option of length 1", routed: true, packets: one(options(2, 1, 5, 180)), reason: "bad-option"},
		{name: "option beyond the header", routed: true, packets: one(options(8, 40, 1, 2)), reason: "bad-option"},
		{name: "option without length", routed: true, packets: one(options(1, 1, 1, 3)), reason: "bad-option"},
		{name: "MSS of length 3, SACK of length 7", routed: true, packets: one(options(2, 3, 5), options(5, 7, 1, 2, 3, 4, 5)), reason: "bad-option"},
		{name: "wrong TCP checksum", packets: one(wrongSum), reason: "bad-checksum"},
		{name: "wrong TCP checksum, routed", routed: true, packets: one(wrongSum), reason: "bad-checksum"},
		{name: "IP length too long", packets: one(long)},
		{name: "IP length too short", packets: one(short), reason: "bad-checksum"},
		{name: "first fragment", packets: one(field16(segment(syn, "0123"), 6, 0x2000)), reason: "rule-fragment"},
		{name: "later fragment", routed: true, packets: one(field16(segment(syn, "0123"), 6, 0x0003)), reason: "rule-fragment"},
		{name: "christmas tree", routed: true, packets: one(segment(0xff, "x")), reason: "unknown-flow"},
		{name: "no flag at all", routed: true, packets: one(segment(0, "x")), reason: "unknown-flow", also: "unknown-flow"},
		{name: "SYN+FIN", routed: true, packets: one(segmentTo(other, advertised, syn|rewrite.FIN, "")), reason: "bad-flags"},
		{name: "SYN+RST", routed: true, packets: one(segmentTo(other, advertised, syn|rewrite.RST, "")), reason: "bad-flags"},
		{name: "SYN+ACK", routed: true, packets: one(segment(syn|ack, "")), reason: "unknown-flow", also: "reset-unknown"},
		{name: "urgent data of no connection", routed: true, packets: one(segment(ack|rewrite.URG, "x")), reason: "unknown-flow", also: "reset-unknown"},
		{name: "ACK of no connection", routed: true, packets: one(segment(ack, "")), reason: "unknown-flow", also: "reset-unknown"},
		{name: "FIN of no connection", routed: true, packets: one(segment(ack|rewrite.FIN, "")), reason: "unknown-flow", also: "reset-unknown"},
		{name: "RST of no connection", routed: true, packets: one(segment(rewrite.RST, "")), reason: "unknown-flow", also: "unknown-flow"},
		{name: "data of no connection", routed: true, packets: one(segment(ack, strings.Repeat("x", 1400))), reason: "unknown-flow", also: "reset-unknown"},
		{name: "forwarding port, stranger", to: 'a', packets: one(segmentTo(stranger, forward(a), syn, "")), reason: "rule-not-peer"},
		{name: "forwarding port of the owner, stranger", packets: one(segmentTo(stranger, forward(b), ack, "x")), reason: "rule-not-peer"},
		{name: "forwarding port, routed", routed: true, to: 'a', packets: one(segmentTo(stranger, forward(a), syn, "")), reason: "rule-not-peer"},
		{name: "forwarding port, forged source", to: 'a', packets: one(segmentTo(netip.AddrPortFrom(b, 7), forward(a), syn, "")), reason: "rule-peer-source"},
		{name: "forwarding port, truncated", to: 'a', packets: one(cut(segmentTo(stranger, forward(a), syn, ""), 5)), reason: "rule-not-peer"},
		{name: "forwarding port, fragment", to: 'a', packets: one(field16(segmentTo(stranger, forward(a), syn, "x"), 6, 0x2000)), reason: "rule-not-peer"},
		{name: "ICMP error without a quote", routed: true, packets: one(unreachable(1, 0, nil)), reason: "truncated"},
		{name: "ICMP error, quote cut", routed: true, packets: one(unreachable(1, 0, segmentTo(advertised, stranger, ack, "")[:25])), reason: "truncated"},
		{name: "ICMP error, quote is noise", routed: true, packets: one(unreachable(1, 0, bytes.Repeat([]byte{0xa5}, 60))), reason: "bad-header"},
		{name: "ICMP error, quoted header too long", routed: true, packets: one(unreachable(1, 0, longHeader)), reason: "bad-header"},
		{name: "ICMP error about UDP", routed: true, packets: one(unreachable(3, 0, packet(advertised.Addr(), stranger.Addr(), unix.IPPROTO_UDP, udp))), reason: "not-tcp"},
		{name: "ICMP error about a fragment", routed: true, packets: one(unreachable(1, 0, field16(segmentTo(advertised, stranger, ack, ""), 6, 0x0010))), reason: "fragment"},
		{name: "ICMP error of no connection", routed: true, packets: one(unreachable(1, 0, segmentTo(advertised, stranger, ack, ""))), reason: "unknown-flow"},
		{name: "ICMP error, wrong checksum", packets: one(wrongICMP), reason: "bad-checksum"},
		{name: "ICMP error about a clone, stranger", to: 'a', packets: one(packet(stranger.Addr(), a, unix.IPPROTO_ICMP, unreachable(4, 68, segmentTo(advertised, stranger, ack, ""))[20:]))},
		{name: "ping, UDP, another port, another protocol", routed: true, packets: one(
			packet(stranger.Addr(), advertised.Addr(), unix.IPPROTO_ICMP, []byte{8, 0, 0, 0, 0, 1, 0, 1}),
			packet(stranger.Addr(), advertised.Addr(), unix.IPPROTO_UDP, udp),
			segmentTo(stranger, netip.AddrPortFrom(advertised.Addr(), 81), syn, ""),
			packet(stranger.Addr(), advertised.Addr(), 132, udp)), reason: "rule-not-served"},
		{name: "LAND", packets: one(from(advertised.String())), reason: "rule-spoofed-source"},
		{name: "LAND, answered", packets: one(segmentTo(advertised, advertised, syn|ack, "")), reason: "rule-spoofed-source"},
		{name: "sources that nobody has", packets: one(from("0.0.0.0:1"), from("127.0.0.1:1"), from("224.0.0.1:1"),
			from("255.255.255.255:1"), from(b.String()+":1"), from(a.String()+":1"), from("192.0.2.255:1"))},
	}
}

func (x *cluster) send(h hostile) error {
	switch {
	case h.routed:
		return routed(x.Client, h.packets...)
	case h.to == 'a':
		return lan(x.Witness, x.A.MAC(), h.packets...)
	}
	return lan(x.Witness, x.B.MAC(), h.packets...)
}

// Whatever is sent to the advertised address or the forwarding port: it is counted with its
// reason, has its verdict, and harms nobody.
func TestHostilePackets(t *testing.T) {
	x := start(t, lab.Options{}, lab.Config{})
	for _, h := range hostilePackets(x.A.Addr(), x.B.Addr()) {
		t.Run(h.name, func(t *testing.T) {
			at, other := x.B, x.A
			if h.to == 'a' {
				at, other = x.A, x.B
			}
			want, wantAlso := x.drops(at, h.reason)+uint64(len(h.packets)), x.drops(other, h.also)+uint64(len(h.packets))
			x.must(x.send(h))
			x.counted(t, at, h.reason, want, h)
			x.counted(t, other, h.also, wantAlso, h)
			x.unharmed(t, h.name)
		})
	}
	t.Run("on a live connection", func(t *testing.T) { x.interfered(t) })
	t.Run("urgent data", func(t *testing.T) { x.urgent(t) })
	for h, p := range x.nodes {
		if p.Exited() {
			t.Errorf("the node of %s has ended", h.Name)
		}
	}
	x.duplex()
}

// counted waits until a node has counted so many drops. On a machine that is busy a node may
// have stood still, and drops what came meanwhile for that reason; so h is sent again.
func (x *cluster) counted(t *testing.T, at *lab.Host, reason string, want uint64, h hostile) {
	t.Helper()
	if reason == "" {
		return
	}
	for begin := time.Now(); x.drops(at, reason) < want; {
		if time.Since(begin) > 10*time.Second {
			st, _ := at.Status(context.Background())
			t.Errorf("%s counted %d of %s, want %d: %v", at.Name, x.drops(at, reason), reason, want, st.Drops)
			return
		}
		time.Sleep(5 * time.Millisecond)
		if time.Since(begin) > 500*time.Millisecond {
			x.must(x.send(h))
		}
	}
}

// interfered sends bad packets into a connection that is in use.
func (x *cluster) interfered(t *testing.T) {
	ctx := context.Background()
	c, err := x.client.Dial(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	me := c.LocalAddr()
	if r := c.Do(ctx, client.Bytes("before", 3000)); !r.OK() {
		t.Fatal(r)
	}
	forged := func(flags rewrite.Flags, payload string) []byte { return segmentTo(me, advertised, flags, payload) }
	syn, ack := rewrite.SYN, rewrite.ACK
	quote := segmentTo(advertised, me, ack, "")
	packets := [][]byte{
		forged(syn, ""), forged(syn|rewrite.FIN, ""), forged(syn|rewrite.RST, ""), forged(syn|ack, ""),
		forged(ack, "garbage"), forged(ack|rewrite.FIN, ""), forged(rewrite.RST, ""), forged(0xff, "x"), forged(0, ""),
		unreachable(4, 0, quote), unreachable(4, 68, quote), unreachable(4, 552, quote), unreachable(1, 0, quote),
		unreachable(3, 0, quote[:28]), alter(forged(ack, ""), func(_, tcp []byte) { tcp[12] = 0xf0 }),
	}
	for i := range 20 {
		if err := routed(x.Client, packets...); err != nil {
			t.Fatal(err)
		}
		if r := c.Do(ctx, client.Bytes(fmt.Sprintf("among%d", i), 100_000)); !r.OK() {
			t.Errorf("forged packets harm a connection: %v", r)
			break
		}
	}
	x.unharmed(t, "beside")
}

// urgent sends urgent data in a request: both kernels must see the same bytes, so it becomes
// ordinary data.
func (x *cluster) urgent(t *testing.T) {
	c, err := x.client.Dial(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	raw, err := c.TCP().SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	send := func(text string, flags int) {
		t.Helper()
		raw.Write(func(fd uintptr) bool { err = unix.Send(int(fd), []byte(text), flags); return err != unix.EAGAIN })
		if err != nil {
			t.Fatal(err)
		}
	}
	send("GET /bytes?id=urgent&size=10 HTTP/1.1\r\nHost: x\r\nX-Note: ", 0)
	send("urgent!", unix.MSG_OOB)
	send("\r\nConnection: close\r\n\r\n", 0)
	c.TCP().SetReadDeadline(time.Now().Add(5 * time.Second))
	reply, err := io.ReadAll(c.TCP())
	if err != nil || !bytes.HasPrefix(reply, []byte("HTTP/1.1 200")) {
		t.Errorf("reply to a request with urgent data: %v\n%s", err, reply)
	}
	x.unharmed(t, "after urgent data")
}
