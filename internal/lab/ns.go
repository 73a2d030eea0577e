// Package lab builds small networks out of Linux network namespaces: the hosts, the router
// and the client that the demo, the end-to-end tests and the benchmarks run on. Namespaces
// made here have no names, so the kernel removes them with the last process or descriptor
// that holds them, however the program ends.
package lab

import (
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// NS is one network namespace. It is safe for concurrent use.
type NS struct {
	name   string
	handle netns.NsHandle
}

// NewNS makes a network namespace with its loopback up. The name is for messages only. The
// caller closes it.
func NewNS(name string) (*NS, error) {
	n := &NS{name: name, handle: netns.None()}
	err := onThread(func() error {
		h, err := netns.New() // moves this thread, which onThread puts back
		if err != nil {
			return err
		}
		n.handle = h
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		return netlink.LinkSetUp(lo)
	})
	if err != nil {
		n.Close()
		return nil, fmt.Errorf("make network namespace %s: %w", name, err)
	}
	return n, nil
}

// Name returns the name that NewNS was given.
func (n *NS) Name() string { return n.name }

// Fd returns the namespace's descriptor, owned by n.
func (n *NS) Fd() int { return int(n.handle) }

// Do runs f on an operating system thread that is inside the namespace. Sockets that f opens
// and processes that it starts belong to the namespace for good; goroutines that f starts do
// not.
func (n *NS) Do(f func() error) error {
	return onThread(func() error {
		if err := n.enter(); err != nil {
			return err
		}
		return f()
	})
}

// enter moves the calling thread, which the caller has locked.
func (n *NS) enter() error {
	if err := netns.Set(n.handle); err != nil {
		return fmt.Errorf("enter network namespace %s: %w", n.name, err)
	}
	return nil
}

// Close gives up the descriptor. Closing twice changes nothing.
func (n *NS) Close() error {
	if !n.handle.IsOpen() {
		return nil
	}
	return n.handle.Close()
}

// Veth joins two namespaces by a pair of virtual Ethernet interfaces. When it returns both
// are in operation, so that not even the first packet is lost.
func Veth(a *NS, aName string, b *NS, bName string) error {
	err := a.Do(func() error {
		link := &netlink.Veth{
			LinkAttrs:     netlink.LinkAttrs{Name: aName},
			PeerName:      bName,
			PeerNamespace: netlink.NsFd(b.Fd()),
		}
		if err := netlink.LinkAdd(link); err != nil {
			return err
		}
		return linkUp(aName)
	})
	if err == nil {
		err = b.Do(func() error { return linkUp(bName) })
	}
	if err == nil {
		err = awaitRunning(a, aName)
	}
	if err == nil {
		err = awaitRunning(b, bName)
	}
	if err != nil {
		return fmt.Errorf("join %s/%s to %s/%s: %w", a.name, aName, b.name, bName, err)
	}
	return nil
}

func linkUp(name string) error {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	return netlink.LinkSetUp(l)
}

// awaitRunning waits for the interface's operational state, which follows its carrier a little
// later; until then the kernel throws packets away.
func awaitRunning(ns *NS, name string) error {
	for end := time.Now().Add(carrierWait); ; time.Sleep(time.Millisecond) {
		up, err := running(ns, name)
		if up || err != nil {
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("%s is not in operation after %v", name, carrierWait)
		}
	}
}

// onThread runs f on a locked thread and puts the thread back into the namespace it came
// from. A thread that cannot be put back is left locked, so that the runtime discards it.
func onThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		origin, err := netns.Get()
		if err != nil {
			done <- err
			return
		}
		defer origin.Close()
		err = f()
		if back := netns.Set(origin); back != nil {
			done <- errors.Join(err, back)
			return
		}
		runtime.UnlockOSThread()
		done <- err
	}()
	return <-done
}
