package rewrite

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// wire is a TCP packet spelled out byte by byte for tests, on purpose without the code under
// test.
type wire struct {
	v6      bool
	ipOpts  []byte // IPv4 options, a multiple of four bytes
	ext     []byte // IPv6 extension headers; their last next-header byte is filled in
	first   uint8  // protocol number of ext
	opts    []byte // TCP options, padded with end-of-options
	payload []byte
	flags   Flags
	fill    uint32 // seed of the numbers
}

// bytes returns the packet with right checksums.
func (w wire) bytes() []byte {
	opts := append([]byte(nil), w.opts...)
	for len(opts)%4 != 0 {
		opts = append(opts, optEnd)
	}
	rnd := rand.New(rand.NewPCG(uint64(w.fill), 1))
	be := binary.BigEndian
	tcp := make([]byte, 20, 60+len(w.payload))
	for i := range 20 {
		tcp[i] = byte(rnd.Uint32())
	}
	tcp[12] = byte((20 + len(opts)) / 4 << 4)
	tcp[13] = byte(w.flags)
	tcp[16], tcp[17] = 0, 0
	tcp = append(append(tcp, opts...), w.payload...)

	var ip, addrs []byte
	if w.v6 {
		ip = make([]byte, 40)
		ip[0], ip[6], ip[7] = 0x60, 6, 63
		if len(w.ext) > 0 {
			ip[6] = w.first
		}
		be.PutUint16(ip[4:], uint16(len(w.ext)+len(tcp)))
		copy(ip[8:], netip.MustParseAddr("2001:db8::1:5").AsSlice())
		copy(ip[24:], netip.MustParseAddr("2001:db8:0:ffff::64").AsSlice())
		addrs = append([]byte(nil), ip[8:40]...)
		ip = append(ip, w.ext...)
	} else {
		ip = make([]byte, 20, 60)
		ip[0], ip[8], ip[9] = byte(0x45+len(w.ipOpts)/4), 63, 6
		be.PutUint16(ip[2:], uint16(20+len(w.ipOpts)+len(tcp)))
		be.PutUint16(ip[4:], uint16(rnd.Uint32()))
		copy(ip[12:], netip.MustParseAddr("198.51.100.7").AsSlice())
		copy(ip[16:], netip.MustParseAddr("192.0.2.100").AsSlice())
		ip = append(ip, w.ipOpts...)
		be.PutUint16(ip[10:], ^naiveSum(ip))
		addrs = ip[12:20:20]
	}
	pseudo := append(addrs, 0, 0, 0, 6)
	pseudo = be.AppendUint32(pseudo, uint32(len(tcp)))
	be.PutUint16(tcp[16:], ^naiveSum(append(pseudo, tcp...)))
	return append(ip, tcp...)
}

// naiveSum is RFC 1071 to the letter, folded.
func naiveSum(b []byte) uint16 {
	var s uint32
	for i, x := range b {
		if i%2 == 0 {
			s += uint32(x) << 8
		} else {
			s += uint32(x)
		}
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}

// randomWire returns a valid packet of any shape: options at any alignment, any extension.
func randomWire(rnd *rand.Rand) wire {
	w := wire{v6: rnd.IntN(2) == 0, flags: Flags(rnd.Uint32()), fill: rnd.Uint32()}
	if w.v6 {
		for range rnd.IntN(3) {
			n := 8 * (1 + rnd.IntN(3))
			h := make([]byte, n)
			h[0], h[1], h[2], h[3] = 6, byte(n/8-1), 1, byte(n-4) // one PadN
			if w.ext == nil {
				w.first = []uint8{protoHopByHop, protoDestOpts}[rnd.IntN(2)]
			} else {
				w.ext[0] = protoDestOpts
			}
			w.ext = append(w.ext, h...)
		}
	} else {
		for range 4 * rnd.IntN(11) {
			w.ipOpts = append(w.ipOpts, 1)
		}
	}
	for {
		o := randomOption(rnd)
		if len(w.opts)+len(o) > maxOptions || rnd.IntN(8) == 0 {
			break
		}
		w.opts = append(w.opts, o...)
	}
	w.payload = make([]byte, rnd.IntN(200))
	for i := range w.payload {
		w.payload[i] = byte(rnd.Uint32())
	}
	return w
}

// randomOption returns an honest option, known or not.
func randomOption(rnd *rand.Rand) []byte {
	var o []byte
	switch rnd.IntN(9) {
	case 0, 1, 2:
		return []byte{optNOP}
	case 3:
		o = []byte{optMSS, 4, 0, 0}
	case 4:
		o = []byte{optWindowScale, 3, 0}
	case 5:
		return []byte{optSACKPermitted, 2}
	case 6:
		o = make([]byte, 2+8*(1+rnd.IntN(3)))
		o[0] = optSACK
	case 7:
		o = make([]byte, 10)
		o[0] = optTimestamps
	default:
		o = make([]byte, 2+rnd.IntN(12))
		o[0] = byte(9 + rnd.IntN(247))
	}
	o[1] = byte(len(o))
	for i := 2; i < len(o); i++ {
		o[i] = byte(rnd.Uint32())
	}
	return o
}

// setAll calls n random setters.
func setAll(rnd *rand.Rand, s *Segment, n int) {
	v := func() uint32 { // numbers that make sums carry or vanish are as likely as others
		return []uint32{rnd.Uint32(), 0, 0xffffffff, 0xffff, 0xffff0000}[rnd.IntN(5)]
	}
	for range n {
		switch rnd.IntN(11) {
		case 0:
			s.SetSeq(Seq(v()))
		case 1:
			s.SetAck(Seq(v()))
		case 2:
			s.SetFlags(Flags(v()))
		case 3:
			s.SetWindow(uint16(v()))
		case 4:
			s.SetUrgent(uint16(v()))
		case 5:
			s.SetSrc(netip.AddrPortFrom(randomAddr(rnd, s.IsIPv6()), uint16(v())))
		case 6:
			s.SetDst(netip.AddrPortFrom(randomAddr(rnd, s.IsIPv6()), uint16(v())))
		case 7:
			s.SetTimestamps(v(), v())
		case 8:
			s.SetMSS(uint16(v()))
			s.SetWindowScale(uint8(v()))
		case 9:
			for i := range s.SACKCount() {
				s.SetSACK(i, Seq(v()), Seq(v()))
			}
		case 10:
			s.KeepSYNOptions()
		}
	}
}

func randomAddr(rnd *rand.Rand, v6 bool) netip.Addr {
	var b [16]byte
	for i := range b {
		b[i] = byte(rnd.Uint32())
	}
	if v6 {
		return netip.AddrFrom16(b)
	}
	return netip.AddrFrom4([4]byte(b[:]))
}

// requireGopacketSums fails if gopacket finds other checksums for packet b than b holds.
func requireGopacketSums(t *testing.T, b []byte) {
	t.Helper()
	first := gopacket.Decoder(layers.LayerTypeIPv4)
	if b[0]>>4 == 6 {
		first = layers.LayerTypeIPv6
	}
	p := gopacket.NewPacket(b, first, gopacket.Default)
	tcp, ok := p.Layer(layers.LayerTypeTCP).(*layers.TCP)
	if !ok {
		t.Fatalf("gopacket finds no TCP: %v", p)
	}
	if err := tcp.SetNetworkLayerForChecksum(p.NetworkLayer()); err != nil {
		t.Fatal(err)
	}
	got := tcp.Checksum
	clear(tcp.Contents[16:18]) // gopacket works on a copy of b
	want, err := tcp.ComputeChecksum()
	if err != nil {
		t.Fatal(err)
	}
	if got != want {
		t.Fatalf("TCP checksum %#04x, gopacket computes %#04x", got, want)
	}
	if ip, ok := p.NetworkLayer().(*layers.IPv4); ok {
		h := append([]byte(nil), ip.Contents...)
		clear(h[10:12])
		if want := ^naiveSum(h); ip.Checksum != want {
			t.Fatalf("IPv4 checksum %#04x, want %#04x", ip.Checksum, want)
		}
	}
}
