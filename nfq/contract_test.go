package nfq

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestBackend(t *testing.T) { testBackend(t, Open) }

// testBackend is the contract of Queue. Every backend must pass it.
func testBackend(t *testing.T, open func(Config) (Queue, error)) {
	for _, c := range []struct {
		name string
		test func(*testing.T, func(Config) (Queue, error))
	}{
		{"accepted, dropped and unanswered packets", testVerdicts},
		{"one verdict each", testOneVerdict},
		{"changed packets arrive changed", testChanged},
		{"mark", testMark},
		{"packets wait for Run", testWait},
		{"closed and opened under traffic", testCloseUnderTraffic},
		{"panic of the handler", testPanic},
		{"large packets with a partial checksum", testGSO},
		{"no large packets without asking", testNoGSO},
		{"unverified checksum and where from", testUnverified},
		{"packets too large to hold", testTruncated},
		{"one owner", testOneOwner},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, open) })
	}
}

func testVerdicts(t *testing.T, open func(Config) (Queue, error)) {
	p := newPair(t)
	q := p.open(t, open, Config{})
	p.intoQueue(t, unix.IPPROTO_UDP, true, 0)
	receiver, sender := p.udp(t)
	stop := run(t, q, func(packets []Packet, verdict func(int, Verdict)) {
		for i := range packets {
			if !packets[i].In {
				t.Error("an inbound packet is not marked so")
			}
			switch udpText(packets[i].Data)[0] {
			case 'a':
				verdict(i, Verdict{Accept: true})
			case 'd':
				verdict(i, Verdict{})
			}
		}
	})
	const rounds = 100
	for i := range rounds {
		a := fmt.Sprintf("a%d", i)
		send(t, sender, fmt.Sprintf("d%d", i), fmt.Sprintf("u%d", i), a)
		want(t, receiver, a)
	}
	if err := stop(); err != nil {
		t.Errorf("Run: %v", err)
	}
	s := q.Stats()
	if s.Packets != 3*rounds || s.Accepted != rounds || s.Dropped != rounds || s.Unanswered != rounds || s.Waiting != 0 {
		t.Errorf("stats: %+v", s)
	}
}

func testOneVerdict(t *testing.T, open func(Config) (Queue, error)) {
	p := newPair(t)
	q := p.open(t, open, Config{})
	p.intoQueue(t, unix.IPPROTO_UDP, true, 0)
	receiver, sender := p.udp(t)
	var late func(int, Verdict)
	stop := run(t, q, func(packets []Packet, verdict func(int, Verdict)) {
		for i := range packets {
			verdict(i, Verdict{Accept: true})
			verdict(i, Verdict{Accept: true, Data: withText(packets[i].Data, "second")})
			verdict(i, Verdict{})
		}
		verdict(-1, Verdict{})
		verdict(len(packets), Verdict{})
		late = verdict
	})
	send(t, sender, "first")
	want(t, receiver, "first")
	eventually(t, "handler returned", func() bool { return q.Stats().Repeated == 4 })
	if err := stop(); err != nil {
		t.Errorf("Run: %v", err)
	}
	late(0, Verdict{})
	if s := q.Stats(); s.Repeated != 5 || s.Refused != 0 || s.Accepted != 1 {
		t.Errorf("stats: %+v", s)
	}
}

func testChanged(t *testing.T, open func(Config) (Queue, error)) {
	p := newPair(t)
	q := p.open(t, open, Config{})
	p.intoQueue(t, unix.IPPROTO_UDP, true, 0)
	receiver, sender := p.udp(t)
	long := strings.Repeat("long", 300)
	run(t, q, each(func(p *Packet) Verdict {
		v := Verdict{Accept: true}
		switch text := udpText(p.Data); text {
		case "in place":
			copy(p.Data[28:], "IN PLACE")
			binary.BigEndian.PutUint16(p.Data[26:], 0)
			v.Data = p.Data
		case "in place, unsaid":
			copy(p.Data[28:], "IN PLACE, UNSAID")
		case "longer":
			v.Data = withText(p.Data, long)
		case "empty":
			v.Data = []byte{}
		default:
			v.Data = withText(p.Data, strings.ToUpper(text)[:len(text)/2])
		}
		return v
	}))
	send(t, sender, "in place", "in place, unsaid", "empty", "longer", "odd length", "abcd")
	want(t, receiver, "IN PLACE", "in place, unsaid", long, "ODD L", "AB")
	if s := q.Stats(); s.Changed != 4 || s.Unfit != 1 {
		t.Errorf("stats: %+v", s)
	}
}

func testMark(t *testing.T, open func(Config) (Queue, error)) {
	p := newPair(t)
	q := p.open(t, open, Config{})
	p.intoQueue(t, unix.IPPROTO_UDP, true, 0xf7e1)
	receiver, sender := p.udp(t)
	run(t, q, each(func(p *Packet) Verdict {
		switch text := udpText(p.Data); text {
		case "unmarked":
			return Verdict{Accept: true}
		case "changed":
			return Verdict{Accept: true, Mark: 0xf7e1, Data: withText(p.Data, "changed, marked")}
		default:
			return Verdict{Accept: true, Mark: 0xf7e1}
		}
	}))
	send(t, sender, "unmarked", "marked", "unmarked", "changed")
	want(t, receiver, "marked", "changed, marked")
}

func testWait(t *testing.T, open func(Config) (Queue, error)) {
	p := newPair(t)
	q := p.open(t, open, Config{})
	p.intoQueue(t, unix.IPPROTO_UDP, true, 0)
	receiver, sender := p.udp(t)
	for range 3 { // Run may end and begin again
		send(t, sender, "one", "two")
		eventually(t, "two packets wait", func() bool { return q.Stats().Waiting == 2 })
		stop := run(t, q, each(pass))
		want(t, receiver, "one", "two")
		if err := stop(); err != nil {
			t.Errorf("Run: %v", err)
		}
	}
}

func testCloseUnderTraffic(t *testing.T, open func(Config) (Queue, error)) {
	p := newPair(t)
	first := p.open(t, open, Config{})
	p.intoQueue(t, unix.IPPROTO_UDP, true, 0)
	first.Close()
	_, sender := p.udp(t)
	done := make(chan struct{})
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-done:
				return
			default:
				sender.Write([]byte("traffic"))
			}
		}
	}()
	for range 30 {
		q := p.open(t, open, Config{})
		var seen atomic.Uint64
		result := make(chan error, 1)
		go func() {
			result <- q.Run(t.Context(), each(func(*Packet) Verdict { seen.Add(1); return Verdict{Accept: true} }))
		}()
		eventually(t, "packets seen", func() bool { return seen.Load() > 50 })
		for range 2 {
			if err := q.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		}
		if err := <-result; err != nil {
			t.Errorf("Run: %v", err)
		}
		if s := q.Stats(); s.Packets != s.Accepted || s.Unanswered != 0 || s.Malformed != 0 {
			t.Errorf("stats: %+v", s)
		}
	}
	close(done)
	<-stopped
}

func testPanic(t *testing.T, open func(Config) (Queue, error)) {
	p := newPair(t)
	q := p.open(t, open, Config{})
	p.intoQueue(t, unix.IPPROTO_UDP, true, 0)
	receiver, sender := p.udp(t)
	send(t, sender, "good", "panic", "rest", "rest")
	eventually(t, "packets wait", func() bool { return q.Stats().Waiting == 4 })
	func() {
		defer func() {
			if v := recover(); v != "as ordered" {
				t.Errorf("Run panicked with %v", v)
			}
		}()
		err := q.Run(t.Context(), each(func(p *Packet) Verdict {
			if udpText(p.Data) == "panic" {
				panic("as ordered")
			}
			return Verdict{Accept: true}
		}))
		t.Errorf("Run returned: %v", err)
	}()
	run(t, q, each(pass))
	send(t, sender, "after")
	// A backend that read the rest in another batch may deliver it, but it must not wait.
	eventually(t, "no packet waits", func() bool { return q.Stats().Waiting == 0 })
	want(t, receiver, "good")
	for {
		b := make([]byte, 16)
		receiver.SetReadDeadline(time.Now().Add(patience))
		n, err := receiver.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		if string(b[:n]) == "after" {
			return
		}
		if string(b[:n]) == "panic" {
			t.Error("the packet of the panic got through")
		}
	}
}

// download sends data from the host's test port to the client through the output queue.
func download(t *testing.T, p *pair, data []byte) (got []byte) {
	t.Helper()
	var l net.Listener
	p.in(t, p.host, func() (err error) {
		l, err = net.Listen("tcp4", net.JoinHostPort(hostIP, "7000"))
		return err
	})
	defer l.Close()
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		c.Write(data)
		c.Close()
	}()
	p.in(t, p.client, func() error {
		c, err := net.DialTimeout("tcp4", net.JoinHostPort(hostIP, "7000"), patience)
		if err != nil {
			return err
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(patience))
		got, err = io.ReadAll(c)
		return err
	})
	return got
}

func testGSO(t *testing.T, open func(Config) (Queue, error)) {
	p := newPair(t)
	q := p.open(t, open, Config{GSO: true})
	p.intoQueue(t, unix.IPPROTO_TCP, false, 0)
	var large, partial atomic.Uint64
	run(t, q, each(func(p *Packet) Verdict {
		if p.In {
			t.Error("an outbound packet is marked inbound")
		}
		if p.GSO {
			large.Add(1)
		}
		if p.PartialChecksum {
			partial.Add(1)
		}
		return shift(p)
	}))
	got := download(t, p, bytes.Repeat([]byte("x"), 4<<20))
	if !bytes.Equal(got, bytes.Repeat([]byte("y"), 4<<20)) {
		t.Errorf("%d bytes arrived, wrong or too few", len(got))
	}
	if large.Load() == 0 || partial.Load() == 0 {
		t.Errorf("%d large packets and %d with partial checksum, want some of both", large.Load(), partial.Load())
	}
	if s := q.Stats(); s.Refused != 0 || s.Unfit != 0 || s.Malformed != 0 {
		t.Errorf("stats: %+v", s)
	}
}

// shift makes every byte x of a segment's text a y. An altered packet needs a full checksum.
func shift(p *Packet) Verdict {
	start := 20 + int(p.Data[32]>>4)*4
	for i := start; i < len(p.Data); i++ {
		p.Data[i]++
	}
	tcpChecksum(p.Data)
	return Verdict{Accept: true, Data: p.Data}
}

func testNoGSO(t *testing.T, open func(Config) (Queue, error)) {
	p := newPair(t)
	q := p.open(t, open, Config{})
	p.intoQueue(t, unix.IPPROTO_TCP, false, 0)
	run(t, q, each(func(p *Packet) Verdict {
		if p.GSO || p.PartialChecksum || len(p.Data) > 1500 {
			t.Errorf("packet of %d bytes, GSO %v, partial checksum %v", len(p.Data), p.GSO, p.PartialChecksum)
		}
		return Verdict{Accept: true, Data: p.Data}
	}))
	if got := download(t, p, bytes.Repeat([]byte("x"), 1<<20)); len(got) != 1<<20 {
		t.Errorf("%d bytes arrived", len(got))
	}
}

func testUnverified(t *testing.T, open func(Config) (Queue, error)) {
	p := newPair(t)
	q := p.open(t, open, Config{})
	p.intoQueue(t, unix.IPPROTO_UDP, true, 0)
	receiver, sender := p.udp(t)
	var mac net.HardwareAddr
	var raw *Sender
	p.in(t, p.client, func() (err error) {
		eth, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		mac = eth.HardwareAddr
		raw, err = OpenSender(0)
		return err
	})
	t.Cleanup(func() { raw.Close() })
	type fact struct {
		text       string
		unverified bool
		hw         bool
	}
	facts := make(chan fact, 10)
	run(t, q, each(func(p *Packet) Verdict {
		facts <- fact{udpText(p.Data), p.Unverified, p.HasHW && bytes.Equal(p.HWAddr[:], mac)}
		return Verdict{Accept: true}
	}))
	packet := udpPacket(clientIP, hostIP, "wrong sum")
	binary.BigEndian.PutUint16(packet[26:], 0x1234)
	if err := raw.Send(packet); err != nil {
		t.Fatal(err)
	}
	send(t, sender, "right sum")
	want(t, receiver, "right sum") // the kernel drops the wrong one after the queue
	if f := <-facts; f != (fact{"wrong sum", true, true}) {
		t.Errorf("%+v, want it unverified and with the client's MAC", f)
	}
}

func udpPacket(from, to, text string) []byte {
	b := make([]byte, 28)
	b[0], b[8], b[9] = 0x45, 64, unix.IPPROTO_UDP
	copy(b[12:], net.ParseIP(from).To4())
	copy(b[16:], net.ParseIP(to).To4())
	binary.BigEndian.PutUint16(b[20:], 9999)
	binary.BigEndian.PutUint16(b[22:], port)
	return withText(b, text)
}

func testTruncated(t *testing.T, open func(Config) (Queue, error)) {
	p := newPair(t)
	q := p.open(t, open, Config{})
	p.intoQueue(t, unix.IPPROTO_UDP, true, 0)
	receiver, _ := p.udp(t)
	var local net.Conn
	p.in(t, p.host, func() (err error) { // only the loopback carries packets as large
		local, err = net.Dial("udp4", "127.0.0.1:7000")
		return err
	})
	defer local.Close()
	fits := strings.Repeat("f", MaxPacket-28)
	largest := strings.Repeat("l", 65507)
	changed := "c" + largest[1:]
	run(t, q, each(func(p *Packet) Verdict {
		if cut := udpText(p.Data)[0] != 'f'; p.Truncated != cut {
			t.Errorf("packet of %d bytes: truncated %v, want %v", len(p.Data), p.Truncated, cut)
		}
		if udpText(p.Data)[0] == 'l' {
			return Verdict{Accept: true}
		}
		return Verdict{Accept: true, Data: p.Data}
	}))
	send(t, local, fits)
	want(t, receiver, fits)
	send(t, local, changed, largest)
	want(t, receiver, largest)
	if s := q.Stats(); s.Unfit != 1 || s.Changed != 1 {
		t.Errorf("stats: %+v", s)
	}
}

func testOneOwner(t *testing.T, open func(Config) (Queue, error)) {
	p := newPair(t)
	p.open(t, open, Config{})
	p.in(t, p.host, func() error {
		q, err := open(Config{Number: number})
		if err == nil {
			q.Close()
		}
		if err == nil || !strings.Contains(err.Error(), "another process holds queue 42") {
			t.Errorf("second Open: %v, want it to name the queue", err)
		}
		return nil
	})
}
