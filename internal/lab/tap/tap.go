// Package tap shows what a host's kernel is really handed: it logs client segments in the
// input hook, behind every queue and just before TCP, and can lose some of them there.
package tap

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/ftgw/ftgw/internal/lab/capture"
)

// Namespace is where the host is; *lab.NS and *lab.Host are such.
type Namespace interface{ Do(func() error) error }

// Tap logs until Stop.
type Tap struct {
	ns   Namespace
	conn *netlink.Conn
	done chan struct{}
	stop sync.Once
	last atomic.Bool // the rule is gone: read what there is, then end
	err  error       // of the reader, set before done is closed

	trace capture.Trace
	next  uint32 // sequence number that the kernel should give the next message
}

// Start logs every TCP segment to the advertised address that is handed to the host's kernel
// from now on. The times are those at the hook. group is an NFLOG group that nobody else on
// the host uses.
func Start(ns Namespace, advertised netip.AddrPort, group uint16) (*Tap, error) {
	t := &Tap{ns: ns, done: make(chan struct{}), trace: capture.Trace{Interface: "input hook"}}
	err := ns.Do(func() (err error) {
		if t.conn, err = netlink.Dial(unix.NETLINK_NETFILTER, nil); err != nil {
			return err
		}
		if err := t.bind(group); err != nil {
			return errors.Join(err, t.conn.Close())
		}
		if err := addTap(advertised, group); err != nil {
			return errors.Join(err, t.conn.Close())
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("tap the input of %v: %w (the kernel needs nfnetlink_log)", advertised, err)
	}
	go t.run()
	return t, nil
}

// Stop removes the rule and returns what was logged; Dropped counts messages that were lost
// on their way here. Stopping twice returns the same.
func (t *Tap) Stop() (capture.Trace, error) {
	t.stop.Do(func() {
		// The rule goes first; what it logged before is in the socket by then and is read.
		err := t.ns.Do(func() error { return delTable(tapTable) })
		t.last.Store(true)
		err = errors.Join(err, t.drain())
		<-t.done
		t.err = errors.Join(t.err, err, t.conn.Close())
	})
	if t.err != nil {
		return t.trace, fmt.Errorf("tap: %w", t.err)
	}
	return t.trace, nil
}

// run reads messages until drain's deadline finds the socket empty.
func (t *Tap) run() {
	defer close(t.done)
	for {
		messages, err := t.conn.Receive()
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return
		case errors.Is(err, unix.ENOBUFS):
			continue // shows as a gap in the sequence numbers
		case err != nil:
			t.err = err
			return
		}
		for _, m := range messages {
			t.add(m)
		}
		if t.last.Load() {
			if t.err = t.drain(); t.err != nil {
				return
			}
		}
	}
}
