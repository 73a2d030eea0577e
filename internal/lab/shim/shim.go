package shim

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sync/errgroup"

	"github.com/ftgw/ftgw/internal/lab"
	"github.com/ftgw/ftgw/internal/lab/capture"
)

// carrierWait bounds what usually takes a millisecond.
const carrierWait = 5 * time.Second

// Shim is a bump in a host's cable, at the router's end:
//
//	host eth0 ── port-X ─╴ shim ╶─ far-X ── near-X ─ bridge "lan", or the router's own address
//
// The frames between port-X and far-X pass through this program. While it is there, the host
// must not be rebooted or its cable mended.
type Shim struct {
	router, host *lab.Host
	ports        [2]port // the host's side and the router's
	ways         [2]*way
	tasks        errgroup.Group
	drop         *nftables.Table
	address      *netlink.Addr // of the port, if it has one; else it is the bridge's
}

func (s *Shim) near() string { return "near-" + s.host.Name }
func (s *Shim) far() string  { return "far-" + s.host.Name }

// Start puts a shim into the cable of a host. Both ends of the cable lose their offloads until
// Stop. What is random depends on the seed and the frames alone.
func Start(router, host *lab.Host, f Faults, seed uint64) (_ *Shim, err error) {
	s := &Shim{router: router, host: host,
		drop: &nftables.Table{Name: "lab_shim_" + host.Name, Family: nftables.TableFamilyNetdev}}
	defer func() {
		if err != nil {
			_, stop := s.Stop()
			err = errors.Join(fmt.Errorf("put a shim into the cable of %s: %w", host.Name, err), stop)
		}
	}()
	if err := Plain(router, host, true); err != nil {
		return s, err
	}
	if err := router.Do(s.build); err != nil {
		return s, err
	}
	for i := range s.ways {
		s.ways[i] = &way{from: s.ports[i], to: s.ports[1-i], mill: &mill{Faults: f, rand: rand.New(rand.NewPCG(seed, uint64(i)))}}
		s.tasks.Go(s.ways[i].run)
	}
	if err := router.Do(s.plug); err != nil {
		return s, err
	}
	return s, nil
}

// Stop takes the shim out again and returns what it did. What waits in it is lost.
func (s *Shim) Stop() (Counts, error) {
	errs := []error{s.router.Do(s.unplug)}
	for _, w := range s.ways {
		if w != nil {
			w.over.Store(true)
		}
	}
	errs = append(errs, s.tasks.Wait())
	for _, p := range s.ports {
		errs = append(errs, p.close())
	}
	errs = append(errs, Plain(s.router, s.host, false))
	var sum Counts
	for _, w := range s.ways {
		if w != nil {
			sum = sum.add(w.mill.counts)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return sum, fmt.Errorf("take the shim out of the cable of %s: %w", s.host.Name, err)
	}
	return sum, nil
}

// Forged returns what captures on the router may have seen that nobody sent: altered headers.
// Only after Stop.
func (s *Shim) Forged() (all []capture.Segment) {
	for _, w := range s.ways {
		if w != nil {
			all = append(all, w.mill.forged...)
		}
	}
	return all
}

// build makes the second cable and opens the two ports. Nothing else on the router may take
// what comes in by them.
func (s *Shim) build() error {
	port, err := netlink.LinkByName(s.host.RouterPort())
	if err != nil {
		return err
	}
	attrs := netlink.NewLinkAttrs()
	// The client knows the router by this address.
	attrs.Name, attrs.HardwareAddr = s.near(), port.Attrs().HardwareAddr
	if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: s.far()}); err != nil {
		return err
	}
	far, err := netlink.LinkByName(s.far())
	if err != nil {
		return err
	}
	if err := errors.Join(ethtoolSet(s.near(), setTxChecksum, false), ethtoolSet(s.far(), setTxChecksum, false),
		netlink.LinkSetUp(far), s.swallow()); err != nil {
		return err
	}
	for i, l := range []netlink.Link{port, far} {
		if s.ports[i], err = openPort(l.Attrs().Index); err != nil {
			return err
		}
	}
	return nil
}

// swallow drops what comes in by the two ports, behind the sockets that read it.
func (s *Shim) swallow() error {
	c, err := nftables.New()
	if err != nil {
		return err
	}
	c.AddTable(s.drop)
	policy := nftables.ChainPolicyDrop
	for _, device := range []string{s.host.RouterPort(), s.far()} {
		c.AddChain(&nftables.Chain{Name: device, Table: s.drop, Type: nftables.ChainTypeFilter, Device: device, Policy: &policy,
			Hooknum: nftables.ChainHookIngress, Priority: nftables.ChainPriorityFilter})
	}
	return c.Flush()
}

// plug puts the second cable in the place of the first.
func (s *Shim) plug() error {
	port, near, err := s.links()
	if err != nil {
		return err
	}
	addrs, err := netlink.AddrList(port, netlink.FAMILY_V4)
	if err != nil {
		return err
	}
	if len(addrs) > 0 {
		s.address = &netlink.Addr{IPNet: addrs[0].IPNet}
	}
	return errors.Join(s.leave(port), s.join(near), awaitUp(s.near()))
}

// unplug undoes plug and build, as far as they went.
func (s *Shim) unplug() error {
	port, near, err := s.links()
	if err != nil && port == nil {
		return err // the host was rebooted
	}
	var errs []error
	if near != nil {
		errs = append(errs, netlink.LinkDel(near))
	}
	if c, err := nftables.New(); err == nil {
		c.DelTable(s.drop)
		if err := c.Flush(); err != nil && near != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(append(errs, s.join(port))...)
}

func (s *Shim) links() (port, near netlink.Link, err error) {
	if port, err = netlink.LinkByName(s.host.RouterPort()); err != nil {
		return nil, nil, err
	}
	near, err = netlink.LinkByName(s.near())
	if err != nil {
		return port, nil, err
	}
	return port, near, nil
}

// leave takes a link from where it is.
func (s *Shim) leave(l netlink.Link) error {
	if s.address != nil {
		return netlink.AddrDel(l, s.address)
	}
	return netlink.LinkSetNoMaster(l)
}

// join puts a link where the host's cable belongs.
func (s *Shim) join(l netlink.Link) error {
	if s.address != nil {
		if err := netlink.AddrReplace(l, s.address); err != nil {
			return err
		}
	} else if s.host.Name != lab.NameClient {
		lan, err := netlink.LinkByName(lab.LAN)
		if err != nil {
			return err
		}
		if err := netlink.LinkSetMaster(l, lan); err != nil {
			return err
		}
	}
	if l.Attrs().Name != s.near() {
		return nil // it is up, or down because the host has crashed
	}
	return netlink.LinkSetUp(l)
}

func awaitUp(name string) error {
	for end := time.Now().Add(carrierWait); ; time.Sleep(time.Millisecond) {
		l, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		if l.Attrs().OperState == netlink.OperUp && l.Attrs().Flags&net.FlagUp != 0 {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("no carrier on %s after %v", name, carrierWait)
		}
	}
}
