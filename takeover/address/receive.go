package address

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/mdlayher/arp"
	"golang.org/x/sys/unix"
)

// readFrames is the receive loop.
func (n *Node) readFrames(ctx context.Context) error {
	buf, oob := make([]byte, 128), make([]byte, 128)
	for {
		r, err := n.socket.receive(buf, oob)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, unix.ENETDOWN):
			// Said once when the interface goes down; the socket works again with it.
		case err != nil:
			return fmt.Errorf("receive ARP on %s: %w", n.cfg.Interface, err)
		default:
			n.counts.add(n.handle(r, time.Now()))
		}
	}
}

// handle deals with one frame, read at now.
func (n *Node) handle(r received, now time.Time) Reason {
	if r.kind == unix.PACKET_OTHERHOST {
		return Elsewhere
	}
	p, err := parse(r.data)
	if err != nil {
		return Malformed
	}
	if mac := n.MAC(); bytes.Equal(p.SenderHardwareAddr, mac) || bytes.Equal(r.from, mac) {
		return OwnFrame
	}
	foreign := n.Owns(p.SenderIP)
	if foreign {
		n.cfg.Handler.Foreign(p.SenderIP, p.SenderHardwareAddr)
	}
	if isStale(r, now) {
		if foreign {
			return Foreign
		}
		return Stale
	}
	n.cfg.Handler.Frame(bytes.Clone(r.from), p.SenderIP)
	if p.Operation == arp.OperationReply {
		n.answered(p.SenderIP, p.SenderHardwareAddr)
	}
	switch {
	case foreign:
		return Foreign
	case p.Operation == arp.OperationReply:
		return Replied
	case p.SenderIP == p.TargetIP:
		return NotOwned
	}
	return n.answer(p)
}

// isStale compares on the wall clock, the only one the kernel stamps with. A clock that was set
// meanwhile may cost a fresh frame, and one from the future is not trusted either.
func isStale(r received, now time.Time) bool {
	age := now.Round(0).Sub(r.at)
	return !r.timed || age > MaxAge || age < -MaxAge
}

// answer tells who asked that the owned address is here.
func (n *Node) answer(q *arp.Packet) Reason {
	n.voice.RLock()
	defer n.voice.RUnlock()
	v := q.TargetIP
	if !n.Owns(v) {
		return NotOwned
	}
	if !n.cfg.Alive(v) {
		return NotAlive
	}
	b := build(arp.OperationReply, n.MAC(), v, q.SenderHardwareAddr, q.SenderIP)
	if n.send(q.SenderHardwareAddr, b) != nil {
		return SendFailed
	}
	return Answered
}

func (n *Node) answered(addr netip.Addr, mac net.HardwareAddr) {
	n.mu.Lock()
	for _, c := range n.waiting[addr] {
		c <- mac // has room for one, and gets one
	}
	delete(n.waiting, addr)
	n.mu.Unlock()
	n.cfg.Handler.Answered(addr, mac)
}

func (n *Node) send(to net.HardwareAddr, b []byte) error {
	if err := n.socket.send(to, b); err != nil {
		n.cfg.Log.Debug("ARP frame not sent", "interface", n.cfg.Interface, "error", err)
		return err
	}
	return nil
}
