package rules

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Bundle is what Install has put in force: one table, or two where the kernel has the egress
// hook. It is safe for concurrent use and works in the network namespace in which it was
// installed, on whatever thread it is called.
type Bundle struct {
	mu     sync.Mutex
	spec   Spec
	kernel Kernel
	conn   *nftables.Conn // keeps unsent commands, so only under mu
	tables []*table       // Invariant: as layouts has them
}

// Install puts the rules of spec in force. If they are in force already, from an earlier run
// too, it changes nothing but takes all leases away; older tables are replaced in one
// transaction, so that no packet passes in between. Bind the queues first: packets for a
// queue that nobody holds are dropped. It needs what Open needs.
func Install(spec Spec) (*Bundle, error) {
	b, err := Open(spec)
	if err != nil {
		return nil, err
	}
	if err := b.install(); err != nil {
		b.conn.CloseLasting()
		return nil, fmt.Errorf("install table %s: %w", spec.table(), explain(err))
	}
	return b, nil
}

// Open looks after the rules of spec without touching what is in force: see Present, Restore
// and Remove. It needs CAP_NET_ADMIN; call it early in the process, because the library cannot
// work on a descriptor of 1024 or more.
func Open(spec Spec) (*Bundle, error) {
	if err := spec.check(); err != nil {
		return nil, err
	}
	spec.Services = slices.Clone(spec.Services)
	for i := range spec.Services {
		spec.Services[i].Peers = slices.Clone(spec.Services[i].Peers)
	}
	spec.MACs = maps.Clone(spec.MACs)
	if spec.Interface != "" {
		if _, err := net.InterfaceByName(spec.Interface); err != nil {
			return nil, fmt.Errorf("table %s: interface %s: %w (name one that exists)", spec.table(), spec.Interface, err)
		}
	}
	kernel, err := Probe()
	if err != nil {
		return nil, err
	}
	conn, err := connect()
	if err != nil {
		return nil, err
	}
	b := &Bundle{spec: spec, kernel: kernel, conn: conn}
	for _, l := range layouts(spec, kernel) {
		b.tables = append(b.tables, newTable(spec.table(), l))
	}
	return b, nil
}

// Restore puts the rules back in force where somebody took them away or changed them. Then
// it says what it found, and there is no lease until the next Renew; else the text is empty.
func (b *Bundle) Restore() (found string, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	found, err = b.difference()
	if err == nil && found != "" {
		err = b.install()
	}
	if err != nil {
		return "", fmt.Errorf("restore table %s: %w", b.spec.table(), explain(err))
	}
	return found, nil
}

// Egress reports whether the lease is asked for at the interface's egress hook too. If not,
// because the kernel lacks it or the specification an interface, packets that already wait in
// the kernel when the lease ends can still leave, after seconds even; say so in the log.
func (b *Bundle) Egress() bool { return len(b.tables) > 1 }

// Socket buffers in bytes; a transaction of some thousand rules fits.
const socketBuffer = 2 << 20

func connect() (*nftables.Conn, error) {
	conn, err := nftables.New(nftables.AsLasting(), nftables.WithSockOptions(func(c *netlink.Conn) error {
		raw, err := c.SyscallConn()
		if err != nil {
			return err
		}
		high := false
		if err := raw.Control(func(fd uintptr) { high = fd >= 1024 }); err != nil {
			return err
		}
		if high {
			return errors.New("descriptor is 1024 or higher (install the rules before opening many files)")
		}
		return errors.Join(c.SetReadBuffer(socketBuffer), c.SetWriteBuffer(socketBuffer))
	}))
	if err != nil {
		return nil, fmt.Errorf("connect to nftables: %w", explain(err))
	}
	return conn, nil
}

// explain adds the remedy to the errors that have one.
func explain(err error) error {
	switch {
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("%w (needs CAP_NET_ADMIN: run as root or grant it)", err)
	case errors.Is(err, unix.EPROTONOSUPPORT), errors.Is(err, unix.EOPNOTSUPP):
		return fmt.Errorf("%w (the kernel lacks part of nf_tables: load or build nf_tables, nft_hash, nft_compat or nft_queue)", err)
	}
	return err
}

func (b *Bundle) install() error {
	found, err := b.difference()
	if err != nil {
		return err
	}
	if found == "" {
		for _, t := range b.tables {
			t.forget(b.conn)
		}
		return b.conn.Flush()
	}
	b.clear()
	for i, l := range layouts(b.spec, b.kernel) {
		if err := b.tables[i].make(b.conn, l); err != nil {
			return err
		}
	}
	return b.conn.Flush()
}

// clear deletes the tables, and the one of an interface that is not wanted any more.
func (b *Bundle) clear() {
	for _, family := range b.families() {
		t := &nftables.Table{Name: b.spec.table(), Family: family}
		b.conn.AddTable(t) // so that there is one to delete
		b.conn.DelTable(t)
	}
}

// families are those in which there may be a table of ours.
func (b *Bundle) families() []nftables.TableFamily {
	if !b.kernel.Egress {
		return []nftables.TableFamily{nftables.TableFamilyINet}
	}
	return []nftables.TableFamily{nftables.TableFamilyINet, nftables.TableFamilyNetdev}
}

// Present reports whether everything is still there as installed: every chain on its hook
// and every rule in its place.
func (b *Bundle) Present() (bool, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	found, err := b.difference()
	if err != nil {
		return false, fmt.Errorf("look at table %s: %w", b.spec.table(), err)
	}
	return found == "", nil
}

// Any reports whether there is a table of the name, whatever is in it.
func (b *Bundle) Any() (bool, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, family := range b.families() {
		t, err := b.find(family)
		if err != nil {
			return false, fmt.Errorf("look for table %s: %w", b.spec.table(), err)
		}
		if t != nil {
			return true, nil
		}
	}
	return false, nil
}

// find returns the kernel's table of the name, or nil.
func (b *Bundle) find(family nftables.TableFamily) (*nftables.Table, error) {
	tables, err := b.conn.ListTablesOfFamily(family)
	i := slices.IndexFunc(tables, func(t *nftables.Table) bool { return t.Name == b.spec.table() })
	if err != nil || i < 0 {
		return nil, err
	}
	return tables[i], nil
}

// difference says in which way the kernel's tables are not as installed; empty: they are.
func (b *Bundle) difference() (string, error) {
	want := layouts(b.spec, b.kernel)
	for i, family := range b.families() {
		t, err := b.find(family)
		if err != nil {
			return "", err
		}
		name := fmt.Sprintf("table %s %s", familyName(family), b.spec.table())
		switch wanted := i < len(want); {
		case !wanted && t == nil:
			continue
		case !wanted:
			return name + " should not be there", nil
		case t == nil:
			return name + " was gone", nil
		case t.Flags != 0:
			return name + " was switched off", nil
		}
		if found, err := b.tables[i].difference(b.conn, want[i].chains, b.spec.Lease); found != "" || err != nil {
			return found + " of " + name + " was changed", err
		}
	}
	return "", nil
}

// UpdatePeerMAC tells the Ethernet address of a peer, in the place of what was known of it
// (see Spec.MACs). nil goes back to not knowing. Leases and rules that do not depend on it
// stay; an address that is no service's peer changes nothing.
func (b *Bundle) UpdatePeerMAC(peer netip.Addr, mac net.HardwareAddr) error {
	if mac != nil && len(mac) != 6 {
		return fmt.Errorf("set MAC of peer %v to %v: want 6 bytes", peer, mac)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	before := b.spec.MACs
	after := map[netip.Addr]net.HardwareAddr{}
	maps.Copy(after, before)
	delete(after, peer)
	if mac != nil {
		after[peer] = slices.Clone(mac)
	}
	b.spec.MACs = after
	for i, v := range b.spec.groups() {
		if !slices.Contains(v.Peers, peer) {
			continue
		}
		for _, c := range peerChains(b.spec, i, v, b.kernel.Queue) {
			b.tables[0].refill(b.conn, &c)
		}
	}
	if err := b.conn.Flush(); err != nil {
		b.spec.MACs = before
		return fmt.Errorf("set MAC of peer %v to %v: %w", peer, mac, explain(err))
	}
	return nil
}

// Drops returns how many packets the rules have dropped since they were installed, by reason
// (the constants Drop...). Packets that found no daemon at their queue are not among them.
func (b *Bundle) Drops() (map[string]uint64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	drops := map[string]uint64{}
	for i, l := range layouts(b.spec, b.kernel) {
		for _, c := range l.chains {
			if err := b.tables[i].count(b.conn, &c, drops); err != nil {
				return nil, fmt.Errorf("read counters of table %s: %w", b.spec.table(), err)
			}
		}
	}
	return drops, nil
}

// Remove takes the tables away. What is gone already is no error.
func (b *Bundle) Remove() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.clear()
	if err := b.conn.Flush(); err != nil {
		return fmt.Errorf("remove table %s: %w", b.spec.table(), explain(err))
	}
	return nil
}

// Close gives up the connection to the kernel and leaves the tables in force.
func (b *Bundle) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.conn.CloseLasting()
}
