package nfq

import (
	"encoding/binary"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func attribute(b []byte, kind uint16, value string) []byte {
	b = appendAttrHeader(b, kind, len(value))
	b = append(b, value...)
	return append(b, make([]byte, align(len(value))-len(value))...)
}

// packetMessage is what the kernel sends, after struct nlmsghdr.
func packetMessage() []byte {
	b := []byte{unix.AF_INET, 0, 0, number}
	b = attribute(b, attrPacketHeader, "\x00\x00\x00\x07\x08\x00\x01")
	b = attribute(b, 5, "\x00\x00\x00\x02") // incoming interface, not used
	b = attribute(b, attrMark, "\x00\x00\xf7\xe1")
	b = attribute(b, attrHWAddr, "\x00\x06\x00\x00\x02\x00\x00\x00\x00\x01\x00\x00")
	b = attribute(b, attrSkbInfo, "\x00\x00\x00\x07")
	return attribute(b, attrPayload, "packet")
}

func TestParsePacket(t *testing.T) {
	var p Packet
	haveID, err := parsePacket(packetMessage(), false, &p)
	if !haveID || err != nil {
		t.Fatal(haveID, err)
	}
	want := Packet{ID: 7, Data: []byte("packet"), Mark: 0xf7e1, HWAddr: [6]byte{2, 0, 0, 0, 0, 1}, HasHW: true,
		In: true, PartialChecksum: true, GSO: true, Unverified: true}
	if diff := cmp.Diff(want, p); diff != "" {
		t.Error(diff)
	}
	if cap(p.Data) != len(p.Data) {
		t.Error("appending to Data would overwrite what follows")
	}
	if _, err := parsePacket(attribute(packetMessage(), attrCapLen, "\x00\x00\xff\xff"), false, &p); err != nil || !p.Truncated {
		t.Errorf("with a length before the cut: %v, truncated %v", err, p.Truncated)
	}
}

func TestParsePacketMistakes(t *testing.T) {
	whole := packetMessage()
	for name, c := range map[string]struct {
		message []byte
		haveID  bool
	}{
		"empty":               {nil, false},
		"no attributes":       {whole[:4], false},
		"no payload":          {whole[:16], true},
		"payload cut":         {whole[:len(whole)-4], true},
		"attribute too long":  {append(whole[:16:16], 0xff, 0xff, 10, 0), true},
		"attribute too short": {append(whole[:16:16], 3, 0, 10, 0), true},
		"short header":        {attribute(attribute(whole[:4:4], attrPacketHeader, "\x00\x00"), attrPayload, "x"), false},
	} {
		var p Packet
		haveID, err := parsePacket(c.message, false, &p)
		if err == nil || haveID != c.haveID {
			t.Errorf("%s: id known %v, error %v", name, haveID, err)
		}
	}
}

func TestEncodeVerdict(t *testing.T) {
	var h verdictHeader
	for name, v := range map[string]Verdict{
		"drop":               {},
		"drop with the rest": {Mark: 7},
		"accept":             {Accept: true},
		"everything":         {Accept: true, Mark: 0xf7e1, Data: []byte("seven b")},
	} {
		b := append(encodeVerdict(&h, 0x1234, 9, v, len(v.Data)), v.Data...)
		b = append(b, make([]byte, align(len(v.Data))-len(v.Data))...)
		if int(binary.NativeEndian.Uint32(b)) != len(b) || binary.NativeEndian.Uint16(b[4:]) != msgVerdict {
			t.Errorf("%s: header % x of %d bytes", name, b[:8], len(b))
		}
		if b[18] != 0x12 || b[19] != 0x34 {
			t.Errorf("%s: queue % x", name, b[18:20])
		}
		if got := b[27] == 1; got != v.Accept || binary.BigEndian.Uint32(b[28:]) != 9 {
			t.Errorf("%s: verdict header % x", name, b[24:32])
		}
		if v.Accept && v.Data != nil && !strings.Contains(string(b), string(v.Data)) {
			t.Errorf("%s: data missing", name)
		}
		if !v.Accept && len(b) != 32 {
			t.Errorf("%s: %d bytes, want the verdict header alone", name, len(b))
		}
	}
}

func TestFindRow(t *testing.T) {
	const table = "    7  31001     0 2 65531     0     0       44  1\n   42  31002     3 2 65531     5     6       99  1\n"
	got := findRow(strings.NewReader(table), 42)
	if got.waiting != 3 || got.queueFull != 5 || got.socketFull != 6 || got.port != 31002 {
		t.Errorf("%+v", got)
	}
	if got := findRow(strings.NewReader(table), 43); got != (kernelCounts{}) {
		t.Errorf("no such row: %+v", got)
	}
	if got := findRow(strings.NewReader("garbage\n42 x\n"), 42); got != (kernelCounts{}) {
		t.Errorf("garbage: %+v", got)
	}
}

func FuzzParsePacket(f *testing.F) {
	f.Add(packetMessage(), false)
	f.Add(packetMessage()[:20], true)
	f.Add([]byte{2, 0, 0, 1, 4, 0, 10, 0}, false)
	f.Fuzz(func(t *testing.T, b []byte, cut bool) {
		var p Packet
		haveID, err := parsePacket(b, cut, &p)
		if err == nil && (!haveID || len(p.Data) == 0 || len(p.Data) > len(b)) {
			t.Errorf("accepted without id or data: %+v", p)
		}
	})
}
