package upstream

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestAddress(t *testing.T) {
	for _, tt := range []struct{ text, want, host string }{
		{"127.0.0.1:8080", "127.0.0.1:8080", "127.0.0.1:8080"},
		{"[::1]:80", "[::1]:80", "[::1]:80"},
		{"app:80", "app:80", "app:80"},
		{"unix:/run/app.sock", "unix:/run/app.sock", "localhost"},
		{"/run/app.sock", "unix:/run/app.sock", "localhost"},
	} {
		a, err := ParseAddress(tt.text)
		if err != nil || a.String() != tt.want || a.Host() != tt.host {
			t.Errorf("%q: %v, host %q, %v", tt.text, a, a.Host(), err)
		}
	}
	_, err := ParseAddress("unix:run")
	if want := `upstream "unix:run" is not an absolute path; write it as in`; err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("error %v", err)
	}
}

// FuzzAddress: an address reads what it wrote.
func FuzzAddress(f *testing.F) {
	for _, seed := range []string{"127.0.0.1:8080", "unix:/run/app.sock", "/a", "unix:unix:/a", "a:1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		a, err := ParseAddress(text)
		if err != nil {
			if a != (Address{}) {
				t.Fatalf("%v beside %v", a, err)
			}
			return
		}
		if b, err := ParseAddress(a.String()); err != nil || a != b {
			t.Fatalf("%q: %v became %v, %v", text, a, b, err)
		}
		if h := a.Host(); h == "" || !strings.Contains(h, "%") && strings.ContainsAny(h, " \r\n") {
			t.Fatalf("host %q", h)
		}
	})
}

// option reads a socket option of a connection.
func option(t *testing.T, conn net.Conn, level, name int) int {
	t.Helper()
	raw, err := conn.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var v int
	if e := raw.Control(func(fd uintptr) { v, err = unix.GetsockoptInt(int(fd), level, name) }); e != nil || err != nil {
		t.Fatal(e, err)
	}
	return v
}

func TestDialOptions(t *testing.T) {
	l := listen(t, "tcp")
	conn, err := address(t, l).Dial(t.Context(), time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if option(t, conn, unix.IPPROTO_TCP, unix.TCP_NODELAY) == 0 {
		t.Error("TCP_NODELAY is off")
	}
	if p := option(t, conn, unix.SOL_SOCKET, unix.SO_PROTOCOL); p != unix.IPPROTO_TCP {
		t.Errorf("protocol %d, not TCP", p)
	}
}

// TestDialFullBacklog: a unix socket whose server is slow to accept is waited for, as TCP does.
func TestDialFullBacklog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "slow")
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	server := os.NewFile(uintptr(fd), path)
	defer server.Close()
	if err := errors.Join(unix.Bind(fd, &unix.SockaddrUnix{Name: path}), unix.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	a, err := ParseAddress(path)
	if err != nil {
		t.Fatal(err)
	}
	var conns []net.Conn
	for {
		conn, err := a.Dial(t.Context(), 50*time.Millisecond)
		if err != nil {
			var late net.Error
			if !errors.As(err, &late) || !late.Timeout() || !strings.Contains(err.Error(), "backlog is full") {
				t.Fatalf("%v after %d connections", err, len(conns))
			}
			break
		}
		defer conn.Close()
		if conns = append(conns, conn); len(conns) > 10 {
			t.Fatal("the backlog has no end")
		}
	}
	dialled := make(chan error, 1)
	go func() {
		conn, err := a.Dial(context.Background(), 10*time.Second)
		if err == nil {
			conn.Close()
		}
		dialled <- err
	}()
	nfd, _, err := unix.Accept(fd)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(nfd)
	if err := <-dialled; err != nil {
		t.Fatal(err)
	}
}
