package address

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// linkSocket hears the kernel's notices about one interface.
type linkSocket struct {
	conn  *netlink.Conn
	index int
}

// linkState is what matters of a struct ifinfomsg.
type linkState struct {
	up  bool             // switched on and with carrier
	mac net.HardwareAddr // nil if the notice has none
}

func openLinkSocket(index int) (*linkSocket, error) {
	conn, err := netlink.Dial(unix.NETLINK_ROUTE, &netlink.Config{Groups: unix.RTMGRP_LINK})
	if err != nil {
		return nil, fmt.Errorf("subscribe to interface notices: %w", err)
	}
	return &linkSocket{conn: conn, index: index}, nil
}

func (l *linkSocket) interrupt() { l.conn.SetReadDeadline(time.Unix(1, 0)) }

func (l *linkSocket) close() error { return l.conn.Close() }

// ask makes the kernel send a notice of the present state.
func (l *linkSocket) ask() error {
	b := make([]byte, unix.SizeofIfInfomsg)
	binary.NativeEndian.PutUint32(b[4:], uint32(l.index))
	_, err := l.conn.Send(netlink.Message{
		Header: netlink.Header{Type: unix.RTM_GETLINK, Flags: netlink.Request},
		Data:   b,
	})
	return err
}

// watchLink reports each change of the interface's state.
func (n *Node) watchLink(ctx context.Context) error {
	if err := n.link.ask(); err != nil {
		return fmt.Errorf("ask for the state of %s: %w", n.cfg.Interface, err)
	}
	known, up := false, false
	for {
		messages, err := n.link.conn.Receive()
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, unix.ENOBUFS): // notices were lost: what is true now?
			err = n.link.ask()
		}
		if err != nil {
			return fmt.Errorf("watch interface %s: %w", n.cfg.Interface, err)
		}
		for _, m := range messages {
			s, ok := parseLink(m, n.link.index)
			if !ok {
				continue
			}
			if s.mac != nil {
				n.setMAC(s.mac)
			}
			if !known || s.up != up {
				known, up = true, s.up
				n.cfg.Handler.Link(up)
			}
		}
	}
}

// parseLink reads a notice about the interface with the given index; others are not ok.
func parseLink(m netlink.Message, index int) (s linkState, ok bool) {
	if m.Header.Type != unix.RTM_NEWLINK && m.Header.Type != unix.RTM_DELLINK {
		return s, false
	}
	// Bridges send notices about their ports under their own family; those lack the flags
	// of the interface itself.
	if len(m.Data) < unix.SizeofIfInfomsg || m.Data[0] != unix.AF_UNSPEC ||
		binary.NativeEndian.Uint32(m.Data[4:]) != uint32(index) {
		return s, false
	}
	flags := binary.NativeEndian.Uint32(m.Data[8:])
	const both = unix.IFF_UP | unix.IFF_LOWER_UP
	s.up = m.Header.Type == unix.RTM_NEWLINK && flags&both == both
	attrs, err := netlink.NewAttributeDecoder(m.Data[unix.SizeofIfInfomsg:])
	if err != nil {
		return s, true
	}
	for attrs.Next() {
		if attrs.Type() == unix.IFLA_ADDRESS && len(attrs.Bytes()) == macLen {
			s.mac = append(net.HardwareAddr(nil), attrs.Bytes()...)
		}
	}
	return s, true
}
