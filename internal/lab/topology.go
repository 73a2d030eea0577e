package lab

import (
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/vishvananda/netlink"
)

const (
	// LAN is the router's interface on the hosts' network.
	LAN      = "lan"
	apart    = "apart" // the bridge of the hosts' own network
	darkName = "dark"  // a bridge that is down and loses everything; see Host.Dark
)

// buildRouter makes the bridge of the hosts' network and turns forwarding on.
func buildRouter(ns *NS) error {
	err := ns.Do(func() error {
		snooping := false // no querier here: snooping would only lose multicast
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.HardwareAddr = LAN, mac(0xfe)
		if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attrs, MulticastSnooping: &snooping}); err != nil {
			return err
		}
		for _, name := range []string{darkName, apart} {
			attrs := netlink.NewLinkAttrs()
			attrs.Name = name
			if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attrs, MulticastSnooping: &snooping}); err != nil {
				return err
			}
		}
		if err := configure(apart, nil, ""); err != nil {
			return err
		}
		if err := configure(LAN, []string{GatewayIP + "/24"}, ""); err != nil {
			return err
		}
		if err := plainBridge(); err != nil {
			return err
		}
		return writeSysctl("net/ipv4/ip_forward", "1")
	})
	if err != nil {
		return fmt.Errorf("set up router: %w", err)
	}
	return nil
}

// plainBridge keeps bridged frames out of the router's IP hooks, through which a kernel with
// br_netfilter sends them: no switch does that. It only saves time, so it may be refused.
func plainBridge() error {
	for _, name := range []string{"iptables", "ip6tables", "arptables"} {
		err := writeSysctl("net/bridge/bridge-nf-call-"+name, "0")
		if err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, os.ErrPermission) {
			return err
		}
	}
	return nil
}

// wire joins the host to the router by a fresh pair of interfaces and gives it its addresses
// and its default route.
func (h *Host) wire() error {
	onLAN := h.Name != NameClient
	err := h.lab.Router.ns.Do(func() error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.HardwareAddr = h.RouterPort(), mac(0xf0|h.mac)
		if err := netlink.LinkAdd(&netlink.Veth{
			LinkAttrs:        attrs,
			PeerName:         hostInterface,
			PeerHardwareAddr: h.MAC(),
			PeerNamespace:    netlink.NsFd(h.ns.Fd()),
		}); err != nil {
			return err
		}
		if !onLAN {
			return configure(h.RouterPort(), []string{ClientLinkIP + "/24"}, "")
		}
		link, err := netlink.LinkByName(h.RouterPort())
		if err != nil {
			return err
		}
		if err := plug(link, LAN); err != nil {
			return err
		}
		return netlink.LinkSetUp(link)
	})
	if err == nil {
		gateway := GatewayIP
		if !onLAN {
			gateway = ClientLinkIP
		}
		err = h.ns.Do(func() error { return configure(hostInterface, h.addrs, gateway) })
	}
	if err == nil && h.apart() {
		err = h.wireApart()
	}
	if err == nil {
		err = h.useCongestionControl()
	}
	if err == nil {
		err = h.LAN().awaitCarrier()
	}
	if err != nil {
		return fmt.Errorf("join %s to the router: %w", h.Name, err)
	}
	return nil
}

// wireApart joins the host to the hosts' own network.
func (h *Host) wireApart() error {
	c := h.Apart()
	err := h.lab.Router.ns.Do(func() error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.HardwareAddr = c.port, mac(0xe0|h.mac)
		if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: c.iface, PeerHardwareAddr: mac(0x10 | h.mac),
			PeerNamespace: netlink.NsFd(h.ns.Fd())}); err != nil {
			return err
		}
		link, err := netlink.LinkByName(c.port)
		if err != nil {
			return err
		}
		return errors.Join(plug(link, c.bridge), netlink.LinkSetUp(link))
	})
	if err == nil {
		err = h.ns.Do(func() error { return configure(c.iface, []string{h.ApartAddr().String() + "/24"}, "") })
	}
	if err == nil {
		err = c.awaitCarrier()
	}
	return err
}

// configure gives the interface its addresses, sets it up and, where gateway is not empty,
// adds the default route. It works on the calling thread's namespace.
func configure(name string, addrs []string, gateway string) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	for _, a := range addrs {
		addr, err := netlink.ParseAddr(a)
		if err != nil {
			return err
		}
		if err := netlink.AddrAdd(link, addr); err != nil {
			return fmt.Errorf("add %s to %s: %w", a, name, err)
		}
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return err
	}
	if gateway == "" {
		return nil
	}
	return netlink.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Gw: net.ParseIP(gateway)})
}

// mac returns a locally administered address, the same in every lab so that captures of
// different runs compare.
func mac(last byte) net.HardwareAddr { return net.HardwareAddr{0x02, 0, 0, 0, 0, last} }
