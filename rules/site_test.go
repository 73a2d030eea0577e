package rules

import (
	"context"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ftgw/ftgw/internal/lab"
	"github.com/ftgw/ftgw/internal/lab/labtest"
	"github.com/ftgw/ftgw/nfq"
)

const patience = 10 * time.Second

// site is a client and a host with the rules, the fence, and queues that accept everything.
type site struct {
	client, host *lab.NS
	spec         Spec
	bundle       *Bundle
	in, out      []nfq.Queue
	seen         func(worker int, p *nfq.Packet) // if set, called for each packet

	mu    sync.Mutex
	fromV []time.Time // when packets from V came to the client, by the kernel's clock
}

func newSite(t testing.TB, spec Spec, seen func(int, *nfq.Packet)) *site {
	labtest.Require(t)
	s := &site{client: labtest.NS(t, "client"), host: labtest.NS(t, "host"), seen: seen}
	if err := lab.Veth(s.client, "eth0", s.host, "eth0"); err != nil {
		t.Fatal(err)
	}
	mac := net.HardwareAddr{2, 0, 0, 0, 0, 12}
	s.do(t, s.client, func() error { return setUp("eth0", "192.0.2.1/24", mac) })
	s.do(t, s.host, func() error { return setUp("eth0", "192.0.2.11/24", nil) })
	s.do(t, s.host, func() error { return setUp("lo", "192.0.2.100/32", nil) })
	spec.Interface = "eth0"
	s.spec = spec
	for i := range 2 * spec.Workers {
		s.do(t, s.host, func() error { return s.openQueue(t, i) })
	}
	s.do(t, s.host, func() (err error) {
		if err = InstallFence(spec); err == nil {
			s.bundle, err = Install(spec)
		}
		return err
	})
	t.Cleanup(func() { s.bundle.Close() })
	s.capture(t)
	return s
}

func (s *site) do(t testing.TB, ns *lab.NS, f func() error) {
	t.Helper()
	if err := ns.Do(f); err != nil {
		t.Fatal(err)
	}
}

func setUp(name, address string, mac net.HardwareAddr) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	if mac != nil {
		if err := netlink.LinkSetHardwareAddr(link, mac); err != nil {
			return err
		}
	}
	a, err := netlink.ParseAddr(address)
	if err != nil {
		return err
	}
	return netlink.AddrAdd(link, a)
}

func (s *site) openQueue(t testing.TB, i int) error {
	outbound := i >= s.spec.Workers
	q, err := nfq.Open(nfq.Config{Number: s.spec.QueueBase + uint16(i), GSO: outbound})
	if err != nil {
		return err
	}
	v := nfq.Verdict{Accept: true}
	if outbound {
		v.Mark = s.spec.MarkSend
		s.out = append(s.out, q)
	} else {
		s.in = append(s.in, q)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- q.Run(ctx, func(packets []nfq.Packet, verdict func(int, nfq.Verdict)) {
			for i2 := range packets {
				if s.seen != nil {
					s.seen(i%s.spec.Workers, &packets[i2])
				}
				verdict(i2, v)
			}
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		q.Close()
	})
	return nil
}

// capture counts what reaches the client's interface from V.
func (s *site) capture(t testing.TB) {
	t.Helper()
	var file *os.File
	s.do(t, s.client, func() error {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0x0008) // ETH_P_IP
		if err != nil {
			return err
		}
		file = os.NewFile(uintptr(fd), "capture")
		return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1)
	})
	raw, err := file.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	v := s.v().As4()
	var wg sync.WaitGroup
	wg.Go(func() {
		b, control := make([]byte, 65536), make([]byte, 64)
		for {
			var n int
			err := raw.Read(func(fd uintptr) bool {
				n, _, _, _, err = unix.Recvmsg(int(fd), b, control, 0)
				return err != unix.EAGAIN
			})
			if err != nil {
				return
			}
			if n >= 20 && [4]byte(b[12:16]) == v {
				at := (*unix.Timespec)(unsafe.Pointer(&control[unix.CmsgLen(0)]))
				s.mu.Lock()
				s.fromV = append(s.fromV, time.Unix(at.Sec, at.Nsec))
				s.mu.Unlock()
			}
		}
	})
	t.Cleanup(func() { file.Close(); wg.Wait() })
}

// spoke returns how many packets from V came after a moment, and when the last one came.
func (s *site) spoke(since time.Time) (n int, last time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, at := range s.fromV {
		if at.After(since) {
			n++
		}
		last = at
	}
	return n, last
}

func (s *site) v() netip.Addr { return s.spec.Services[0].Advertised.Addr() }

// renew renews the lease every third of it until stop.
func (s *site) renew(t testing.TB) (stop func()) {
	t.Helper()
	if err := s.bundle.Renew(s.v()); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for tick := time.Tick(s.spec.Lease / 3); ; {
			select {
			case <-done:
				return
			case <-tick:
				if err := s.bundle.Renew(s.v()); err != nil {
					t.Errorf("Renew: %v", err)
				}
			}
		}
	})
	return sync.OnceFunc(func() { close(done); wg.Wait() })
}

// echo starts a listener on V that sends back what it is sent.
func (s *site) echo(t testing.TB) {
	t.Helper()
	var l net.Listener
	s.do(t, s.host, func() (err error) {
		l, err = net.Listen("tcp4", s.spec.Services[0].Advertised.String())
		return err
	})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { io.Copy(c, c); c.Close() })
		}
	})
	t.Cleanup(func() { l.Close(); wg.Wait() })
}

func (s *site) dial(t testing.TB, timeout time.Duration) (c net.Conn, err error) {
	s.do(t, s.client, func() error {
		c, err = net.DialTimeout("tcp4", s.spec.Services[0].Advertised.String(), timeout)
		return nil
	})
	if err == nil {
		t.Cleanup(func() { c.Close() })
	}
	return c, err
}

// exchange sends n bytes and reads them back.
func exchange(t testing.TB, c net.Conn, n int) {
	t.Helper()
	c.SetDeadline(time.Now().Add(2 * patience))
	go c.Write(make([]byte, n))
	if _, err := io.CopyN(io.Discard, c, int64(n)); err != nil {
		t.Fatalf("%d bytes there and back: %v", n, err)
	}
}

// trickle sends a byte every few milliseconds until stop, which then waits until all of them
// have come back.
func trickle(t testing.TB, c net.Conn) (stop func(what string)) {
	done, sent := make(chan struct{}), make(chan int64, 1)
	go func() {
		n := int64(0)
		for tick := time.Tick(5 * time.Millisecond); ; <-tick {
			select {
			case <-done:
				sent <- n
				return
			default:
				m, _ := c.Write([]byte{1})
				n += int64(m)
			}
		}
	}()
	return func(what string) {
		t.Helper()
		close(done)
		c.SetDeadline(time.Now().Add(2 * patience))
		if _, err := io.CopyN(io.Discard, c, <-sent); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

// flight is how long a packet may take from the lease's check to the capture.
const flight = 10 * time.Millisecond

// silent checks that nothing from V reaches the client from now on until sign has counted two.
func (s *site) silent(t testing.TB, what string, sign func() uint64) {
	t.Helper()
	begin, start := time.Now(), sign()
	eventually(t, what, func() bool { return time.Since(begin) > flight && sign() >= start+2 })
	if n, _ := s.spoke(begin.Add(flight)); n != 0 {
		t.Errorf("%d packets from V left while %s", n, what)
	}
}

func (s *site) accepted() uint64 { return s.out[0].Stats().Accepted }

// swallowed is how many packets the dead device got.
func (s *site) swallowed(t testing.TB) (n uint64) {
	s.do(t, s.host, func() error {
		link, err := netlink.LinkByName(DeadDevice)
		if err == nil {
			n = link.Attrs().Statistics.TxPackets
		}
		return err
	})
	return n
}

func (s *site) flushRuleset(t testing.TB) {
	t.Helper()
	s.do(t, s.host, func() error {
		conn, err := nftables.New()
		if err != nil {
			return err
		}
		conn.FlushRuleset()
		return conn.Flush()
	})
}
