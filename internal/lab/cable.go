package lab

import (
	"fmt"

	"github.com/vishvananda/netlink"
)

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

// Mend undoes Cut, Dark and Part. Mending a sound cable changes nothing.
func (h *Host) Mend() error {
	return h.cable("mend", func(l netlink.Link) error {
		if err := netlink.LinkSetUp(l); err != nil {
			return err
		}
		if h.Name == NameClient {
			return nil
		}
		if err := plug(l, bridgeName); err != nil {
			return err
		}
		return netlink.LinkSetIsolated(l, false)
	})
}

func (h *Host) cable(verb string, f func(netlink.Link) error) error {
	err := h.lab.Router.Do(func() error {
		l, err := netlink.LinkByName(h.port())
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
