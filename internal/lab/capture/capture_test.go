package capture_test

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"github.com/ftgw/ftgw/internal/lab"
	"github.com/ftgw/ftgw/internal/lab/capture"
	"github.com/ftgw/ftgw/internal/lab/labtest"
)

// transfer sends size bytes from a to the client over one connection.
func transfer(t *testing.T, l *lab.Lab, size int64) {
	t.Helper()
	var ln net.Listener
	if err := l.A.Do(func() (err error) { ln, err = net.Listen("tcp", l.A.Addr().String()+":80"); return err }); err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		io.Copy(c, io.LimitReader(zeros{}, size))
	}()
	if err := l.Client.Do(func() error {
		c, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			return err
		}
		defer c.Close()
		n, err := io.Copy(io.Discard, c)
		if n != size {
			t.Errorf("got %d bytes, want %d", n, size)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

func TestCaptureSeesEveryByte(t *testing.T) {
	l := labtest.Lab(t, lab.Options{CongestionControl: "cubic"})
	const size = 20 << 20
	pcap := filepath.Join(t.TempDir(), "client.pcap")
	begin := time.Now()
	at := []*capture.Capture{}
	for _, p := range []struct {
		h    *lab.Host
		name string
		o    capture.Options
	}{{l.Client, "eth0", capture.Options{Pcap: pcap}}, {l.Router, "port-a", capture.Options{}}, {l.A, "eth0", capture.Options{}}} {
		c, err := capture.Start(p.h, p.name, p.o)
		if err != nil {
			t.Fatal(err)
		}
		at = append(at, c)
	}
	transfer(t, l, size)
	last := begin
	for i, c := range at {
		trace, err := c.Stop()
		if err != nil {
			t.Fatal(err)
		}
		if err := trace.Whole(); err != nil {
			t.Fatal(err)
		}
		got, syns := int64(0), 0
		for _, s := range trace.Segments {
			if s.Time.Before(begin.Add(-time.Millisecond)) || s.Time.After(time.Now()) {
				t.Fatalf("time is off: %v", s)
			}
			last = s.Time
			if s.Flags.Has(capture.SYN) {
				syns++
			}
			if s.Src.Addr() == l.A.Addr() {
				got += int64(s.Len)
				if fromA := s.SrcMAC == capture.MAC(l.A.MAC()); fromA != (i > 0) {
					t.Fatalf("%s has wrong source MAC", s)
				}
				if s.Outgoing != (i == 2) {
					t.Fatalf("%s: outgoing is %v", s, s.Outgoing)
				}
			}
		}
		if got < size || syns != 2 {
			t.Errorf("capture %d has %d bytes and %d SYNs, want %d and 2", i, got, syns, size)
		}
		t.Logf("capture %d: %d segments, last at %v", i, len(trace.Segments), last.Sub(begin))
		if _, err := c.Stop(); err != nil {
			t.Errorf("second stop: %v", err)
		}
	}
	countPcap(t, pcap, size)
}

func countPcap(t *testing.T, path string, size int64) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := pcapgo.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var total int64
	for {
		_, ci, err := r.ReadPacketData()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		total += int64(ci.Length)
	}
	if total < size {
		t.Errorf("pcap file has %d bytes on the wire, want %d at least", total, size)
	}
}

func TestInterfaceThatGoesAway(t *testing.T) {
	l := labtest.Lab(t, lab.Options{})
	c, err := capture.Start(l.Client, "eth0", capture.Options{Slots: 1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := capture.Start(l.Client, "none", capture.Options{}); err == nil {
		t.Error("captured on an interface that is not there")
	}
	if err := l.Client.Cut(); err != nil { // an interface that loses carrier must not spin or fail
		t.Fatal(err)
	}
	if _, err := c.Stop(); err != nil {
		t.Error(err)
	}
}

func TestLossIsSaid(t *testing.T) {
	if err := (capture.Trace{Segments: make([]capture.Segment, 3)}).Whole(); err != nil {
		t.Error(err)
	}
	if err := (capture.Trace{Dropped: 1}).Whole(); err == nil {
		t.Error("a lossy capture passes as whole")
	}
}

// FuzzParseFrame compares with gopacket, which reads headers in its own way.
func FuzzParseFrame(f *testing.F) {
	f.Add(sample(f, []byte("hello"), false))
	f.Add(sample(f, nil, true))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		s, ok := capture.ParseFrame(b)
		p := gopacket.NewPacket(b, layers.LayerTypeEthernet, gopacket.NoCopy)
		tcp, is := p.Layer(layers.LayerTypeTCP).(*layers.TCP)
		if !ok || !is || p.Layer(layers.LayerTypeIPv4) == nil {
			return // gopacket goes on where we refuse, and knows more headers
		}
		if uint32(s.Seq) != tcp.Seq || uint32(s.Ack) != tcp.Ack || s.Window != tcp.Window || s.Flags.Has(capture.SYN) != tcp.SYN {
			t.Errorf("%v, gopacket: %+v", s, tcp)
		}
	})
}

func sample(tb testing.TB, payload []byte, v6 bool) []byte {
	tb.Helper()
	tcp := &layers.TCP{SrcPort: 80, DstPort: 40000, Seq: 7, Ack: 9, SYN: true, ACK: true, Window: 100}
	eth := &layers.Ethernet{SrcMAC: make([]byte, 6), DstMAC: make([]byte, 6), EthernetType: layers.EthernetTypeIPv4}
	ip := []gopacket.SerializableLayer{eth}
	if v6 {
		eth.EthernetType = layers.EthernetTypeIPv6
		h := &layers.IPv6{Version: 6, NextHeader: layers.IPProtocolTCP, SrcIP: net.ParseIP("2001:db8::1"), DstIP: net.ParseIP("2001:db8::2")}
		tcp.SetNetworkLayerForChecksum(h)
		ip = append(ip, h)
	} else {
		h := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolTCP, SrcIP: net.ParseIP("192.0.2.1"), DstIP: net.ParseIP("192.0.2.2")}
		tcp.SetNetworkLayerForChecksum(h)
		ip = append(ip, h)
	}
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true},
		append(ip, tcp, gopacket.Payload(payload))...); err != nil {
		tb.Fatal(err)
	}
	return buf.Bytes()
}

func TestParse(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		b := sample(t, []byte("hello"), v6)
		s, ok := capture.ParseFrame(b)
		if !ok || s.Len != 5 || s.Flags != capture.SYN|capture.ACK || s.End() != 13 || s.Src.Port() != 80 {
			t.Errorf("v6 %v: %v %v", v6, s, ok)
		}
		head := map[bool]int{false: 54, true: 74}[v6]
		for n := range head {
			if _, ok := capture.ParseFrame(b[:n]); ok {
				t.Errorf("v6 %v: %d bytes parsed", v6, n)
			}
		}
	}
}
