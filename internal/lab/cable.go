package lab

import (
	"fmt"
	"time"

	"github.com/vishvananda/netlink"
)

// carrierWait bounds what usually takes a millisecond.
const carrierWait = 5 * time.Second

// Cable is what joins a host to one network. Reboot replaces it by a sound one.
type Cable struct {
	h                   *Host
	iface, port, bridge string // the host's end, the router's, and what that is a port of
}

// LAN is the host's cable to the router and the clients.
func (h *Host) LAN() Cable { return Cable{h, hostInterface, h.RouterPort(), LAN} }

// Apart is the host's cable to the network of the hosts' own, see Options.Apart.
func (h *Host) Apart() Cable { return Cable{h, apartInterface, apart + "-" + h.Name, apart} }

// Cut, Dark, Part and Mend are those of the host's cable to the router.
func (h *Host) Cut() error  { return h.LAN().Cut() }
func (h *Host) Dark() error { return h.LAN().Dark() } // see Cut
func (h *Host) Part() error { return h.LAN().Part() } // see Cut
func (h *Host) Mend() error { return h.LAN().Mend() } // see Cut

// Cut pulls the cable: the router's end goes down and the host loses its carrier.
func (c Cable) Cut() error { return c.change("cut", netlink.LinkSetDown) }

// Dark lets the carrier stand and loses every frame in both directions, as a switch does that
// has lost its mind. The client has no such port.
func (c Cable) Dark() error {
	return c.change("darken", func(l netlink.Link) error { return plug(l, darkName) })
}

// Part keeps the hosts on whose cables it is called from each other, while each still reaches the
// router and the client.
func (c Cable) Part() error {
	return c.change("part", func(l netlink.Link) error { return netlink.LinkSetIsolated(l, true) })
}

// SetMTU changes how long the packets may be that pass the host's cable, in bytes: at both
// ends, so that whoever sends longer ones through the router hears of it from the router.
// Reboot undoes it.
func (h *Host) SetMTU(bytes int) error {
	for _, end := range []struct {
		ns   *NS
		name string
	}{{h.lab.Router.NS(), h.RouterPort()}, {h.NS(), hostInterface}} {
		err := end.ns.Do(func() error {
			l, err := netlink.LinkByName(end.name)
			if err != nil {
				return err
			}
			return netlink.LinkSetMTU(l, bytes)
		})
		if err != nil {
			return fmt.Errorf("set the MTU of the cable of %s: %w", h.Name, err)
		}
	}
	return nil
}

// Mend undoes Cut, Dark and Part and waits until frames pass. Mending a sound cable changes
// nothing.
func (c Cable) Mend() error {
	err := c.change("mend", func(l netlink.Link) error {
		if err := netlink.LinkSetUp(l); err != nil {
			return err
		}
		if c.h.Name == NameClient {
			return nil
		}
		if err := plug(l, c.bridge); err != nil {
			return err
		}
		return netlink.LinkSetIsolated(l, false)
	})
	if err != nil {
		return err
	}
	return c.awaitCarrier()
}

// awaitCarrier waits for both ends of the cable: the kernel notices a carrier, and opens the
// bridge's port, some time after the link was set up.
func (c Cable) awaitCarrier() error {
	for end := time.Now().Add(carrierWait); ; time.Sleep(time.Millisecond) {
		router, err := running(c.h.lab.Router.NS(), c.port)
		if err != nil {
			return err
		}
		host, err := running(c.h.NS(), c.iface)
		if err != nil || router && host {
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("no carrier on %s of %s after %v (is the interface down?)", c.iface, c.h.Name, carrierWait)
		}
	}
}

func running(ns *NS, name string) (up bool, err error) {
	err = ns.Do(func() error {
		l, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		up = l.Attrs().OperState == netlink.OperUp
		return nil
	})
	return up, err
}

func (c Cable) change(verb string, f func(netlink.Link) error) error {
	err := c.h.lab.Router.Do(func() error {
		l, err := netlink.LinkByName(c.port)
		if err != nil {
			return err
		}
		return f(l)
	})
	if err != nil {
		return fmt.Errorf("%s the cable at %s of %s: %w", verb, c.iface, c.h.Name, err)
	}
	return nil
}

// plug makes the link a port of the named bridge, and of no other.
func plug(l netlink.Link, bridge string) error {
	b, err := netlink.LinkByName(bridge)
	if err != nil || l.Attrs().MasterIndex == b.Attrs().Index {
		return err
	}
	return netlink.LinkSetMaster(l, b)
}

func linkDel(name string) error {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	return netlink.LinkDel(l)
}
