package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/ftgw/ftgw/internal/lab"
	"github.com/ftgw/ftgw/internal/lab/bench/load"
)

const (
	linkRate   = 100_000_000 // bits a second each way, as in the papers
	startLimit = 20 * time.Second
)

// stand is a lab with one system on it.
type stand struct {
	*lab.Lab
	program string
	site    Site
	sizes   []int // KB of the replies that are asked for
	started map[*lab.Host]bool
}

// placement says which processors are whose.
type placement struct {
	A, B   int
	Client []int // also the router's, as far as the kernel does its work there
	Shared bool  // with the hosts
}

// place gives each host a processor of its own, and the client those that are left.
func place(all []int) placement {
	switch len(all) {
	case 0:
		return placement{}
	case 1:
		return placement{A: all[0], B: all[0], Client: all, Shared: true}
	case 2:
		return placement{A: all[0], B: all[1], Client: all, Shared: true}
	}
	return placement{A: all[0], B: all[1], Client: all[2:]}
}

func (p placement) String() string {
	s := fmt.Sprintf("host a has processor %d, host b %d, the client %v", p.A, p.B, p.Client)
	if p.Shared {
		s += fmt.Sprintf(", shared with them, and %d alone where it has one request at a time", p.B)
	}
	return s
}

// client returns where the client belongs. With one request at a time it uses little of a processor,
// and where it is would be chance: between neighbours on one processor a request takes half the time.
func (p placement) client(k Kind) []int {
	if p.Shared && (k == Latency || k == Parts) {
		return []int{p.B}
	}
	return p.Client
}

// newStand builds the lab of a site. steered says whether packets are received on the hosts' own
// processors.
func newStand(site Site, program string, p placement, sizes []int) (s *stand, steered error, err error) {
	l, err := lab.New(lab.Options{CongestionControl: "cubic"})
	if err != nil {
		return nil, nil, err
	}
	s = &stand{Lab: l, program: program, site: site, sizes: sizes, started: map[*lab.Host]bool{}}
	l.A.Pin(p.A)
	l.B.Pin(p.B)
	if steered = l.A.SteerReceive(p.A); steered == nil {
		steered = l.B.SteerReceive(p.B)
	}
	if site == Shaped {
		for _, h := range s.hosts() {
			if err := h.Shape(linkRate); err != nil {
				return nil, nil, errors.Join(err, l.Close())
			}
		}
	}
	return s, steered, nil
}

func (s *stand) hosts() []*lab.Host { return []*lab.Host{s.A, s.B} }

// pair starts ftgw on both hosts.
func (s *stand) pair(ctx context.Context, c lab.Config) error {
	if err := s.WriteConfig(c); err != nil {
		return err
	}
	for _, h := range s.hosts() {
		if err := s.node(h); err != nil {
			return err
		}
	}
	return s.AwaitDuplex(ctx)
}

// node starts a host's web server and ftgw; its config is written.
func (s *stand) node(h *lab.Host) error {
	if err := s.web(h, lab.Upstream); err != nil {
		return err
	}
	_, err := h.StartNode(s.program)
	return err
}

// web starts the site's web server on a host, and waits for it.
func (s *stand) web(h *lab.Host, at string) error {
	start := func() (*lab.Process, error) { return nginx(h, at, s.sizes) }
	if s.site == Dynamic {
		start = func() (*lab.Process, error) {
			return h.Start("app", s.program, "lab-app", "--listen", at, "--host", h.Name)
		}
	}
	p, err := start()
	if err != nil {
		return err
	}
	return listens(h, p, at)
}

// listens waits until a process of the host accepts connections there.
func listens(h *lab.Host, p *lab.Process, at string) error {
	for end := time.Now().Add(startLimit); ; time.Sleep(2 * time.Millisecond) {
		err := h.Do(func() error {
			c, err := net.Dial("tcp", at)
			if err == nil {
				err = c.Close()
			}
			return err
		})
		if err == nil {
			return nil
		}
		if p.Exited() || time.Now().After(end) {
			return fmt.Errorf("wait for %s on %s: %w\n%s", p.Name, h.Name, err, p.Log())
		}
	}
}

// join lays a second cable between the hosts, as fast as the first.
func (s *stand) join(address map[*lab.Host]string) error {
	const name = "eth1"
	if err := lab.Veth(s.A.NS(), name, s.B.NS(), name); err != nil {
		return err
	}
	for h, a := range address {
		err := h.Do(func() error {
			l, err := netlink.LinkByName(name)
			if err != nil {
				return err
			}
			addr, err := netlink.ParseAddr(a + "/24")
			if err != nil {
				return err
			}
			return netlink.AddrAdd(l, addr)
		})
		if err == nil && s.site == Shaped {
			err = h.Do(func() error { return lab.ShapeLink(name, linkRate) })
		}
		if err != nil {
			return fmt.Errorf("lay the second cable of %s: %w", h.Name, err)
		}
	}
	return nil
}

// path is what the client asks for.
func (s *stand) path(kb int) string {
	if s.site == Dynamic {
		return fmt.Sprintf("/bytes?size=%d&work=%d", kb<<10, work(kb))
	}
	return "/" + fileName(kb)
}

// work is how many bytes the application makes and digests for a dynamic reply. A CGI script, as the
// papers had it, costs a lot to start and makes each byte with effort.
func work(kb int) int { return 2<<20 + 40*kb<<10 }

// processes returns the numbers of the hosts' processes: all that are in their namespaces.
func (s *stand) processes() (load.Watch, error) {
	names := map[string]string{} // by the namespace
	for _, h := range s.hosts() {
		id, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", h.NS().Fd()))
		if err != nil {
			return nil, err
		}
		names[id] = h.Name
	}
	all, err := filepath.Glob("/proc/[0-9]*/ns/net")
	if err != nil {
		return nil, err
	}
	w := load.Watch{}
	for _, path := range all {
		id, err := os.Readlink(path)
		host, ours := names[id]
		if err != nil || !ours {
			continue // it has ended, or is another's
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(path))))
		if err != nil {
			return nil, err
		}
		if pid != os.Getpid() { // a thread of this program may be in any namespace
			w[host] = append(w[host], pid)
		}
	}
	return w, nil
}

// ownAddress is where what is not ftgw serves on a host: a port that needs no rights.
func ownAddress(h *lab.Host) string { return netip.AddrPortFrom(h.Addr(), 8081).String() }
