package sockdiag

import (
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

func TestParse(t *testing.T) {
	v4 := make([]byte, replyLen)
	v4[0], v4[1] = unix.AF_INET, byte(FinWait2)
	copy(v4[4:], []byte{0, 80, 0x30, 0x39, 192, 0, 2, 100})
	copy(v4[24:], []byte{198, 51, 100, 7})

	mapped := make([]byte, replyLen)
	mapped[0], mapped[1] = unix.AF_INET6, byte(Established)
	copy(mapped[4:], []byte{0, 80, 0x30, 0x39})
	copy(mapped[8:], netip.MustParseAddr("::ffff:192.0.2.100").AsSlice())
	copy(mapped[24:], netip.MustParseAddr("2001:db8::7").AsSlice())

	tests := []struct {
		name          string
		data          []byte
		local, remote string
		state         State
		err           error
	}{
		{"IPv4", v4, "192.0.2.100:80", "198.51.100.7:12345", FinWait2, nil},
		{"IPv4 in an IPv6 socket, and attributes", append(mapped, 1, 2, 3), "192.0.2.100:80", "[2001:db8::7]:12345", Established, nil},
		{"cut", v4[:replyLen-1], "", "", 0, errShort},
		{"empty", nil, "", "", 0, errShort},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, err := parse(tt.data)
			if err != tt.err {
				t.Fatalf("error %v, want %v", err, tt.err)
			}
			if err != nil {
				return
			}
			if r.local().String() != tt.local || r.remote().String() != tt.remote || r.state != tt.state {
				t.Errorf("got %v %v %v, want %v %v %v", r.local(), r.remote(), r.state, tt.local, tt.remote, tt.state)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add(make([]byte, replyLen))
	f.Add([]byte{unix.AF_INET6})
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := parse(b)
		if err == nil {
			_, _, _ = r.local(), r.remote(), r.state.String()
		}
	})
}

func TestMask(t *testing.T) {
	if got := mask(nil); got != every {
		t.Errorf("no states: %#x", got)
	}
	if got := mask([]State{Established, TimeWait}); got != 1<<1|1<<6 {
		t.Errorf("two states: %#x", got)
	}
}
