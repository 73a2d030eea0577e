package address

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/mdlayher/arp"
)

const resolveEvery = 100 * time.Millisecond

// Probe asks once, at once and without waiting, who has the target (IPv4), with this node's
// own address as sender. An answer comes through Handler.Answered; a host on the same
// switch answers within a millisecond. It may be used before Run.
func (n *Node) Probe(target netip.Addr) error {
	if !target.Is4() {
		return fmt.Errorf("probe %v: not an IPv4 address", target)
	}
	if err := n.send(broadcast, build(arp.OperationRequest, n.MAC(), n.cfg.Own, noMAC, target)); err != nil {
		n.counts.add(SendFailed)
		return fmt.Errorf("probe %v on %s: %w", target, n.cfg.Interface, err)
	}
	n.counts.add(Probed)
	return nil
}

// Resolve asks ten times a second who has addr until somebody answers or ctx ends, and
// returns the answering MAC. Run must be running.
func (n *Node) Resolve(ctx context.Context, addr netip.Addr) (net.HardwareAddr, error) {
	answer := n.await(addr)
	defer n.forget(addr, answer)
	tick := time.NewTicker(resolveEvery)
	defer tick.Stop()
	for {
		failed := n.Probe(addr)
		select {
		case mac := <-answer:
			return mac, nil
		case <-tick.C:
		case <-ctx.Done():
			if failed != nil {
				return nil, failed
			}
			return nil, fmt.Errorf("nobody on %s answers for %v: %w (is that host up and on the same subnet?)", n.cfg.Interface, addr, ctx.Err())
		}
	}
}

func (n *Node) await(addr netip.Addr) chan net.HardwareAddr {
	c := make(chan net.HardwareAddr, 1)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.waiting[addr] = append(n.waiting[addr], c)
	return c
}

func (n *Node) forget(addr netip.Addr, c chan net.HardwareAddr) {
	n.mu.Lock()
	defer n.mu.Unlock()
	left := slices.DeleteFunc(n.waiting[addr], func(w chan net.HardwareAddr) bool { return w == c })
	if n.waiting[addr] = left; len(left) == 0 {
		delete(n.waiting, addr)
	}
}
