package lab

import (
	"fmt"
	"time"

	"github.com/vishvananda/netlink"
)

// carrierWait bounds what usually takes a millisecond.
const carrierWait = 5 * time.Second

// Cut pulls the host's cable: the router's end goes down and the host loses its carrier.
func (h *Host) Cut() error { return h.cable("cut", netlink.LinkSetDown) }

// Dark lets the carrier stand and loses every frame in both directions, as a switch does that
// has lost its mind. The client has no such port.
func (h *Host) Dark() error {
	return h.cable("darken", func(l netlink.Link) error { return plug(l, darkName) })
}

// Part keeps the hosts on which it is called from each other, while each still reaches the
// router and the client.
func (h *Host) Part() error {
	return h.cable("part", func(l netlink.Link) error { return netlink.LinkSetIsolated(l, true) })
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
func (h *Host) Mend() error {
	err := h.cable("mend", func(l netlink.Link) error {
		if err := netlink.LinkSetUp(l); err != nil {
			return err
		}
		if h.Name == NameClient {
			return nil
		}
		if err := plug(l, LAN); err != nil {
			return err
		}
		return netlink.LinkSetIsolated(l, false)
	})
	if err != nil {
		return err
	}
	return h.awaitCarrier()
}

// awaitCarrier waits for both ends of the cable: the kernel notices a carrier, and opens the
// bridge's port, some time after the link was set up.
func (h *Host) awaitCarrier() error {
	for end := time.Now().Add(carrierWait); ; time.Sleep(time.Millisecond) {
		router, err := running(h.lab.Router.NS(), h.RouterPort())
		if err != nil {
			return err
		}
		host, err := running(h.NS(), hostInterface)
		if err != nil || router && host {
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("no carrier on the cable of %s after %v (is its interface down?)", h.Name, carrierWait)
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

func (h *Host) cable(verb string, f func(netlink.Link) error) error {
	err := h.lab.Router.Do(func() error {
		l, err := netlink.LinkByName(h.RouterPort())
		if err != nil {
			return err
		}
		return f(l)
	})
	if err != nil {
		return fmt.Errorf("%s the cable of %s: %w", verb, h.Name, err)
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
