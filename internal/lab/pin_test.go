package lab_test

import (
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/ftgw/ftgw/internal/lab"
	"github.com/ftgw/ftgw/internal/lab/labtest"
)

func TestPin(t *testing.T) {
	l := labtest.Lab(t, lab.Options{})
	all, err := lab.Processors()
	if err != nil || len(all) == 0 {
		t.Fatal(all, err)
	}
	last := all[len(all)-1]
	l.A.Pin(last)
	for _, tt := range []struct {
		host *lab.Host
		want string
	}{{l.A, fmt.Sprint(last)}, {l.B, ""}} {
		p, err := tt.host.Start("sleep", "sleep", "60")
		if err != nil {
			t.Fatal(err)
		}
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID()))
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(status), "Cpus_allowed_list:")
		got, _, _ := strings.Cut(strings.TrimSpace(rest), "\n")
		if tt.want != "" && got != tt.want || tt.want == "" && len(all) > 1 && got == fmt.Sprint(last) {
			t.Errorf("%s may use the processors %s, want %q", tt.host.Name, got, tt.want)
		}
	}
	if err := l.A.SteerReceive(32); err == nil {
		t.Error("processor 32 of a mask of 32 was taken")
	}
	if err := l.A.SteerReceive(last); err != nil && !os.IsPermission(err) && !strings.Contains(err.Error(), "not permitted") {
		t.Error(err)
	}
}

// A shaped cable takes its time, with packets that the kernel segments late, too.
func TestShape(t *testing.T) {
	l := labtest.Lab(t, lab.Options{CongestionControl: "cubic"})
	const rate, size = 40_000_000, 1 << 20 // a fifth of a second
	if err := l.A.Shape(rate); err != nil {
		t.Fatal(err)
	}
	for _, way := range []struct {
		from, to *lab.Host
	}{{l.A, l.B}, {l.B, l.A}} {
		took := transfer(t, way.from, way.to, size)
		if least := time.Duration(size * 8 * int64(time.Second) / rate); took < least*8/10 {
			t.Errorf("%d bytes from %s to %s took %v, want %v at least", size, way.from.Name, way.to.Name, took, least)
		}
	}
}

// transfer sends bytes over a connection between hosts and returns how long it took.
func transfer(t *testing.T, from, to *lab.Host, size int64) time.Duration {
	t.Helper()
	var listener net.Listener
	var conn net.Conn
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(to.Do(func() (err error) {
		listener, err = net.Listen("tcp", to.Addr().String()+":0")
		return err
	}))
	defer listener.Close()
	must(from.Do(func() (err error) {
		conn, err = net.Dial("tcp", listener.Addr().String())
		return err
	}))
	begin := time.Now()
	go func() {
		conn.Write(make([]byte, size)) // what is missing shows at the other end
		conn.Close()
	}()
	in, err := listener.Accept()
	must(err)
	defer in.Close()
	got := int64(0)
	for p := make([]byte, 64<<10); ; {
		n, err := in.Read(p)
		if got += int64(n); err != nil {
			break
		}
	}
	if got != size {
		t.Fatalf("%d bytes of %d came", got, size)
	}
	return time.Since(begin)
}
