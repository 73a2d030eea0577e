package nfq

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ftgw/ftgw/rewrite"
)

// TestPiecesAreTheWhole: the segments of a large packet carry its bytes, each once and in order,
// with its other fields, right checksums, and the flags where they belong.
func TestPiecesAreTheWhole(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	for range 300 {
		h := rewrite.Header{Src: netip.MustParseAddrPort("192.0.2.1:40000"), Dst: netip.MustParseAddrPort("192.0.2.2:80"),
			Seq: rewrite.Seq(rnd.Uint32()), Ack: rewrite.Seq(rnd.Uint32()), Window: 500, WScale: -1,
			Flags: rewrite.ACK | rewrite.Flags(rnd.Uint32())&(rewrite.FIN|rewrite.PSH|rewrite.CWR|rewrite.ECE),
			HasTS: rnd.IntN(2) == 0, TSVal: rnd.Uint32(), TSEcr: rnd.Uint32()}
		if rnd.IntN(2) == 0 {
			h.Src, h.Dst = netip.MustParseAddrPort("[2001:db8::1]:40000"), netip.MustParseAddrPort("[2001:db8::2]:80")
		}
		text := make([]byte, 1+rnd.IntN(65000))
		for i := range text {
			text[i] = byte(rnd.Uint32())
		}
		whole, why := rewrite.ParseSegment(rewrite.AppendSegment(nil, h, text))
		if why != rewrite.OK {
			t.Fatal(why)
		}
		size := 500 + rnd.IntN(8000)
		var got []byte
		for i := 0; len(got) < len(text); i++ {
			b := piece(nil, &whole, i, size)
			s, why := rewrite.ParseSegment(b)
			if why != rewrite.OK || len(s.Bytes()) != len(b) {
				t.Fatalf("piece %d does not parse: %v", i, why)
			}
			want := h
			want.Seq = h.Seq.Add(rewrite.Size(len(got)))
			got = append(got, s.Payload()...)
			if len(got) < len(text) {
				want.Flags &^= rewrite.FIN | rewrite.PSH
			}
			if i > 0 {
				want.Flags &^= rewrite.CWR
			}
			if !s.IsIPv6() {
				ipChecksum(b)
			}
			built := rewrite.AppendSegment(nil, want, s.Payload())
			if !bytes.Equal(b, built) || !s.VerifyChecksum() {
				t.Fatalf("piece %d of %d bytes is\n% x\ninstead of\n% x", i, size, b[:60], built[:60])
			}
		}
		if !bytes.Equal(got, text) {
			t.Fatal("the payload differs")
		}
	}
}

// TestCutterSends: the peer's kernel gets a large packet as segments that fit its MTU, and what
// cannot be cut is refused as before.
func TestCutterSends(t *testing.T) {
	p := newPair(t)
	q := p.open(t, Open, Config{})
	p.intoQueue(t, unix.IPPROTO_TCP, true, 0)
	var s *Sender
	p.in(t, p.client, func() (err error) {
		s, err = OpenSender(0)
		return err
	})
	defer s.Close()
	const size = 60_000
	sizes := make(chan int, 100)
	stop := run(t, q, each(func(p *Packet) Verdict {
		seg, why := rewrite.ParseSegment(p.Data)
		if why != rewrite.OK || len(p.Data) > 1500 || !seg.VerifyChecksum() {
			t.Errorf("%d bytes: %v", len(p.Data), why)
		}
		sizes <- int(seg.PayloadLen())
		return Verdict{}
	}))
	c := Cutter{s, 1500}
	if err := c.Send(tcpPacket(flagACK, 1, 1, strings.Repeat("x", size))); err != nil {
		t.Fatal(err)
	}
	for got := 0; got < size; {
		got += <-sizes
	}
	if err := c.Send(tcpPacket(flagSYN, 1, 0, strings.Repeat("x", size))); !errors.Is(err, unix.EMSGSIZE) {
		t.Errorf("a large SYN: %v", err)
	}
	if err := stop(); err != nil { // so that nobody else allocates
		t.Fatal(err)
	}
	large := tcpPacket(flagACK, 1, 1, strings.Repeat("x", size))
	if n := testing.AllocsPerRun(10, func() { c.Send(large) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
