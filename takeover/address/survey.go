package address

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"
)

// The pace of a survey. RFC 5227 §1.1 takes seconds, for a host that has just been plugged in; a
// station on the same switch answers within a millisecond.
const (
	surveys     = 3
	surveyEvery = 200 * time.Millisecond
	surveyWait  = 400 * time.Millisecond // for answers to the last
)

// Survey asks three times by ARP who has each of the addresses (IPv4), and returns the stations
// that answered, or named an address as their own meanwhile; this interface's own station is none
// of them. As an ARP probe it names no sender (RFC 5227 §1.1), so it puts nothing into any
// cache. It takes about a second and works in the calling thread's network namespace.
func Survey(ctx context.Context, iface string, targets []netip.Addr) (map[netip.Addr][]net.HardwareAddr, error) {
	ifi, err := net.InterfaceByName(iface)
	if err != nil {
		return nil, fmt.Errorf("ask by ARP on %s: %w", iface, err)
	}
	if len(ifi.HardwareAddr) != macLen {
		return nil, fmt.Errorf("ask by ARP on %s: it is no Ethernet interface", iface)
	}
	s, err := openSocket(ifi)
	if err != nil {
		return nil, err
	}
	found, heard := map[netip.Addr][]net.HardwareAddr{}, make(chan error, 1)
	stop := context.AfterFunc(ctx, s.interrupt)
	defer stop()
	s.conn.SetReadDeadline(time.Now().Add((surveys-1)*surveyEvery + surveyWait))
	go func() { heard <- s.hear(ifi.HardwareAddr, targets, found) }()
	wrong := s.ask(ctx, ifi.HardwareAddr, targets)
	if wrong != nil {
		s.interrupt()
	}
	err = errors.Join(wrong, <-heard, s.close(), ctx.Err())
	if err != nil {
		return nil, fmt.Errorf("ask by ARP on %s: %w", iface, err)
	}
	return found, nil
}

// ask sends the questions.
func (s *socket) ask(ctx context.Context, mac net.HardwareAddr, targets []netip.Addr) error {
	for i := range surveys {
		if i > 0 {
			select {
			case <-time.After(surveyEvery):
			case <-ctx.Done():
				return nil
			}
		}
		for _, a := range targets {
			if !a.Is4() {
				return fmt.Errorf("%v is no IPv4 address", a)
			}
			if err := s.send(broadcast, probeFor(a, mac)); err != nil {
				return err
			}
		}
	}
	return nil
}

// hear notes who has an address until the socket's deadline.
func (s *socket) hear(own net.HardwareAddr, targets []netip.Addr, found map[netip.Addr][]net.HardwareAddr) error {
	buf, oob := make([]byte, 128), make([]byte, 128)
	for {
		r, err := s.receive(buf, oob)
		var ended net.Error
		if errors.As(err, &ended) && ended.Timeout() {
			return nil
		}
		if err != nil {
			return err
		}
		p, err := parse(r.data)
		if err != nil || bytes.Equal(p.SenderHardwareAddr, own) || !slices.Contains(targets, p.SenderIP) {
			continue
		}
		known := slices.ContainsFunc(found[p.SenderIP], func(m net.HardwareAddr) bool { return bytes.Equal(m, p.SenderHardwareAddr) })
		if !known {
			found[p.SenderIP] = append(found[p.SenderIP], slices.Clone(p.SenderHardwareAddr))
		}
	}
}
