package nfq

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ftgw/ftgw/internal/lab"
	"github.com/ftgw/ftgw/internal/lab/labtest"
)

const (
	clientIP, hostIP = "192.0.2.1", "192.0.2.11"
	port             = 7000
	number           = 42 // queue
	patience         = 10 * time.Second
)

// pair is a client and a host joined by a wire; the host's packets go through a queue.
type pair struct {
	client, host *lab.NS
}

func newPair(t testing.TB) *pair {
	labtest.Require(t)
	p := &pair{labtest.NS(t, "client"), labtest.NS(t, "host")}
	if err := lab.Veth(p.client, "eth0", p.host, "eth0"); err != nil {
		t.Fatal(err)
	}
	p.in(t, p.client, func() error { return addAddress(clientIP) })
	p.in(t, p.host, func() error { return addAddress(hostIP) })
	return p
}

func (p *pair) in(t testing.TB, ns *lab.NS, f func() error) {
	t.Helper()
	if err := ns.Do(f); err != nil {
		t.Fatal(err)
	}
}

func addAddress(ip string) error {
	link, err := netlink.LinkByName("eth0")
	if err != nil {
		return err
	}
	addr, err := netlink.ParseAddr(ip + "/24")
	if err != nil {
		return err
	}
	if err := netlink.AddrAdd(link, addr); err != nil {
		return err
	}
	other := map[string]string{clientIP: hostIP, hostIP: clientIP}[ip]
	return netlink.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Gw: net.ParseIP(other)})
}

// intoQueue queues the host's packets to (in) or from (out) the test's port and the given
// protocol. With mark set, packets that have another mark after the queue are dropped.
func (p *pair) intoQueue(t testing.TB, protocol byte, inbound bool, mark uint32) {
	t.Helper()
	p.in(t, p.host, func() error {
		err := addRules(protocol, inbound, mark, &expr.Queue{Num: number, Total: 1})
		if errors.Is(err, unix.ENOENT) { // no native queue expression
			info := xt.Unknown(binary.NativeEndian.AppendUint16(nil, number))
			info = append(binary.NativeEndian.AppendUint16(info, 1), 0, 0, 0, 0)
			err = addRules(protocol, inbound, mark, &expr.Target{Name: "NFQUEUE", Rev: 3, Info: &info})
		}
		return err
	})
}

func addRules(protocol byte, inbound bool, mark uint32, queue expr.Any) error {
	conn, err := nftables.New()
	if err != nil {
		return err
	}
	hook, offset := nftables.ChainHookOutput, uint32(0)
	if inbound {
		hook, offset = nftables.ChainHookPrerouting, 2
	}
	table := conn.AddTable(&nftables.Table{Name: "test", Family: nftables.TableFamilyINet})
	match := []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Register: 1, Data: []byte{protocol}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: offset, Len: 2},
		&expr.Cmp{Register: 1, Data: binary.BigEndian.AppendUint16(nil, port)},
	}
	first := conn.AddChain(&nftables.Chain{Name: "first", Table: table, Type: nftables.ChainTypeFilter,
		Hooknum: hook, Priority: nftables.ChainPriorityRaw})
	conn.AddRule(&nftables.Rule{Table: table, Chain: first, Exprs: append(match[:4:4], queue)})
	if mark != 0 {
		second := conn.AddChain(&nftables.Chain{Name: "second", Table: table, Type: nftables.ChainTypeFilter,
			Hooknum: hook, Priority: nftables.ChainPriorityFilter})
		conn.AddRule(&nftables.Rule{Table: table, Chain: second, Exprs: append(match[:4:4],
			&expr.Meta{Key: expr.MetaKeyMARK, Register: 1},
			&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: binaryutil.NativeEndian.PutUint32(mark)},
			&expr.Verdict{Kind: expr.VerdictDrop})})
	}
	return conn.Flush()
}

// open opens a queue in the host.
func (p *pair) open(t testing.TB, open func(Config) (Queue, error), cfg Config) Queue {
	t.Helper()
	cfg.Number = number
	var q Queue
	p.in(t, p.host, func() (err error) {
		q, err = open(cfg)
		return err
	})
	t.Cleanup(func() { q.Close() })
	return q
}

// run runs the handler until stop, which returns what Run returned, or the end of the test.
func run(t testing.TB, q Queue, h Handler) (stop func() error) {
	ctx, cancel := context.WithCancel(context.Background())
	done, result := make(chan struct{}), error(nil)
	go func() {
		defer close(done)
		result = q.Run(ctx, h)
	}()
	stop = func() error {
		cancel()
		<-done
		return result
	}
	t.Cleanup(func() { stop() })
	return stop
}

// each makes a handler of a function for one packet.
func each(f func(p *Packet) Verdict) Handler {
	return func(packets []Packet, verdict func(int, Verdict)) {
		for i := range packets {
			verdict(i, f(&packets[i]))
		}
	}
}

func pass(*Packet) Verdict { return Verdict{Accept: true} }

// receiver is the host's UDP socket, sender the client's.
func (p *pair) udp(t testing.TB) (receiver *net.UDPConn, sender net.Conn) {
	t.Helper()
	p.in(t, p.host, func() (err error) {
		receiver, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.IPv4Unspecified(), port)))
		return err
	})
	p.in(t, p.client, func() (err error) {
		sender, err = net.Dial("udp4", net.JoinHostPort(hostIP, "7000"))
		return err
	})
	t.Cleanup(func() { receiver.Close(); sender.Close() })
	return receiver, sender
}

func send(t testing.TB, c net.Conn, texts ...string) {
	t.Helper()
	for _, s := range texts {
		if _, err := c.Write([]byte(s)); err != nil {
			t.Fatal(err)
		}
	}
}

// want reads exactly the given datagrams; the last one should be one that must arrive, as
// the sign that nothing else is under way.
func want(t testing.TB, c *net.UDPConn, texts ...string) {
	t.Helper()
	b := make([]byte, 65536)
	c.SetReadDeadline(time.Now().Add(patience))
	for _, s := range texts {
		n, err := c.Read(b)
		if err != nil {
			t.Fatalf("waiting for %.20q: %v", s, err)
		}
		if string(b[:n]) != s {
			t.Fatalf("got %.20q (%d bytes), want %.20q (%d bytes)", b[:n], n, s, len(s))
		}
	}
}

// eventually waits for a condition.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

// udpText returns the payload of an IPv4 UDP packet without IP options.
func udpText(packet []byte) string { return string(packet[28:]) }

// withText returns the packet with another payload, lengths and checksums made right.
func withText(packet []byte, text string) []byte {
	b := append(append([]byte(nil), packet[:28]...), text...)
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	binary.BigEndian.PutUint16(b[24:], uint16(len(b)-20))
	binary.BigEndian.PutUint16(b[26:], 0) // UDP: no checksum
	ipChecksum(b)
	return b
}

func ipChecksum(b []byte) {
	binary.BigEndian.PutUint16(b[10:], 0)
	binary.BigEndian.PutUint16(b[10:], ^sum(0, b[:20]))
}

// sum is the Internet checksum's sum, the plain way (RFC 1071).
func sum(start uint32, b []byte) uint16 {
	for i := 0; i+1 < len(b); i += 2 {
		start += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	if len(b)%2 == 1 {
		start += uint32(b[len(b)-1]) << 8
	}
	for start > 0xffff {
		start = start>>16 + start&0xffff
	}
	return uint16(start)
}

// tcpChecksum writes the full checksum of an IPv4 TCP packet without IP options.
func tcpChecksum(b []byte) {
	binary.BigEndian.PutUint16(b[36:], 0)
	pseudo := uint32(sum(0, b[12:20])) + unix.IPPROTO_TCP + uint32(len(b)-20)
	binary.BigEndian.PutUint16(b[36:], ^sum(pseudo, b[20:]))
}
