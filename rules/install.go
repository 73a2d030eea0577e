package rules

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"

	"github.com/google/nftables"
	"github.com/google/nftables/userdata"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Bundle is an installed table. It is safe for concurrent use and works in the network
// namespace in which it was installed, on whatever thread it is called.
type Bundle struct {
	mu     sync.Mutex
	spec   Spec
	native bool
	conn   *nftables.Conn // keeps unsent commands, so only under mu
	table  *nftables.Table
	sets   map[string]*nftables.Set
}

// Install puts the rules of spec in force. If they are in force already, from an earlier run
// too, it changes nothing but takes all leases away; an older table is replaced in one
// transaction, so that no packet passes in between. Bind the queues first: packets for a
// queue that nobody holds are dropped. It needs CAP_NET_ADMIN; call it early in the process,
// because the library cannot work on a descriptor of 1024 or more.
func Install(spec Spec) (*Bundle, error) {
	if err := spec.check(); err != nil {
		return nil, err
	}
	spec.Services = slices.Clone(spec.Services)
	native, err := ProbeNative()
	if err != nil {
		return nil, err
	}
	conn, err := connect()
	if err != nil {
		return nil, err
	}
	b := &Bundle{spec: spec, native: native, conn: conn, sets: map[string]*nftables.Set{},
		table: &nftables.Table{Name: spec.table(), Family: nftables.TableFamilyINet}}
	for _, set := range leaseSets(spec) {
		set.Table = b.table
		b.sets[set.Name] = set
	}
	if err := b.install(); err != nil {
		conn.CloseLasting()
		return nil, fmt.Errorf("install table %s: %w", spec.table(), explain(err))
	}
	return b, nil
}

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
	present, err := b.present()
	if err != nil {
		return err
	}
	if present {
		for _, set := range b.sets {
			b.conn.FlushSet(set)
		}
		return b.conn.Flush()
	}
	b.conn.AddTable(b.table) // so that there is one to delete
	b.conn.DelTable(b.table)
	b.conn.AddTable(b.table)
	for _, set := range b.sets {
		if err := b.conn.AddSet(set, nil); err != nil {
			return err
		}
	}
	chains := ruleset(b.spec, b.native)
	for i := range chains {
		b.conn.AddChain(b.kernelChain(&chains[i]))
	}
	for i := range chains {
		b.addRules(&chains[i])
	}
	return b.conn.Flush()
}

func leaseSets(s Spec) []*nftables.Set {
	var sets []*nftables.Set
	for _, a := range s.addresses() {
		name, kind := leaseSet(a), nftables.TypeIP6Addr
		if a.Is4() {
			kind = nftables.TypeIPAddr
		}
		if !slices.ContainsFunc(sets, func(have *nftables.Set) bool { return have.Name == name }) {
			sets = append(sets, &nftables.Set{Name: name, KeyType: kind, HasTimeout: true, Timeout: s.Lease})
		}
	}
	return sets
}

func (b *Bundle) kernelChain(c *chain) *nftables.Chain {
	k := &nftables.Chain{Name: c.name, Table: b.table}
	if c.hook != nil {
		policy := nftables.ChainPolicyAccept
		k.Hooknum, k.Priority, k.Type, k.Policy = c.hook, c.priority, nftables.ChainTypeFilter, &policy
	}
	return k
}

func (b *Bundle) addRules(c *chain) {
	for i := range c.rules {
		r := &nftables.Rule{Table: b.table, Chain: b.kernelChain(c), UserData: c.rules[i].label()}
		for _, p := range c.rules[i].parts {
			r.Exprs = append(r.Exprs, p.exprs...)
		}
		b.conn.AddRule(r)
	}
}

// label is the rule's comment in the kernel: the reason, if it drops, and a digest of the
// text, by which the rule is known again.
func (r *rule) label() []byte {
	sum := sha256.Sum256([]byte(r.text()))
	return userdata.AppendString(nil, userdata.TypeComment, fmt.Sprintf("%s#%x", r.reason, sum[:6]))
}

// Present reports whether the whole table is still there as installed: every chain on its
// hook and every rule in its place.
func (b *Bundle) Present() (bool, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	ok, err := b.present()
	if err != nil {
		return false, fmt.Errorf("look at table %s: %w", b.table.Name, err)
	}
	return ok, nil
}

func (b *Bundle) present() (bool, error) {
	tables, err := b.conn.ListTablesOfFamily(nftables.TableFamilyINet)
	if err != nil {
		return false, err
	}
	if !slices.ContainsFunc(tables, func(t *nftables.Table) bool { return t.Name == b.table.Name && t.Flags == 0 }) {
		return false, nil
	}
	chains, err := b.conn.ListChainsOfTableFamily(nftables.TableFamilyINet)
	if err != nil {
		return false, err
	}
	have := map[string]*nftables.Chain{}
	for _, c := range chains {
		if c.Table.Name == b.table.Name {
			have[c.Name] = c
		}
	}
	want := ruleset(b.spec, b.native)
	if len(have) != len(want) {
		return false, nil
	}
	for i := range want {
		same, err := b.sameChain(&want[i], have[want[i].name])
		if !same || err != nil {
			return false, err
		}
	}
	return b.sameSets()
}

func (b *Bundle) sameChain(want *chain, have *nftables.Chain) (bool, error) {
	if have == nil || (want.hook == nil) != (have.Hooknum == nil) {
		return false, nil
	}
	if want.hook != nil && (*want.hook != *have.Hooknum || have.Priority == nil || *want.priority != *have.Priority) {
		return false, nil
	}
	rules, err := b.conn.GetRules(b.table, have)
	if err != nil || len(rules) != len(want.rules) {
		return false, err
	}
	for i, r := range rules {
		if !bytes.Equal(r.UserData, want.rules[i].label()) {
			return false, nil
		}
	}
	return true, nil
}

func (b *Bundle) sameSets() (bool, error) {
	sets, err := b.conn.GetSets(b.table)
	if err != nil || len(sets) != len(b.sets) {
		return false, err
	}
	for _, have := range sets {
		if want := b.sets[have.Name]; want == nil || want.Timeout != have.Timeout || want.KeyType.Name != have.KeyType.Name {
			return false, nil
		}
	}
	return true, nil
}

// UpdatePeerMAC tells the peer's Ethernet address: clones and ICMP errors are accepted from
// it alone from now on. nil goes back to not knowing. Leases stay.
func (b *Bundle) UpdatePeerMAC(peer netip.Addr, mac net.HardwareAddr) error {
	if mac != nil && len(mac) != 6 {
		return fmt.Errorf("set MAC of peer %v to %v: want 6 bytes", peer, mac)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	before := slices.Clone(b.spec.Services)
	for i := range b.spec.Services {
		if b.spec.Services[i].Peer == peer {
			b.spec.Services[i].PeerMAC = slices.Clone(mac)
		}
	}
	chains := peerChains(b.spec, b.native)
	for i := range chains {
		b.conn.FlushChain(b.kernelChain(&chains[i]))
		b.addRules(&chains[i])
	}
	if err := b.conn.Flush(); err != nil {
		b.spec.Services = before
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
	for _, c := range ruleset(b.spec, b.native) {
		rules, err := b.conn.GetRules(b.table, b.kernelChain(&c))
		if err != nil {
			return nil, fmt.Errorf("read counters of table %s: %w", b.table.Name, err)
		}
		for i, r := range rules {
			if i < len(c.rules) && c.rules[i].reason != "" {
				drops[c.rules[i].reason] += packets(r)
			}
		}
	}
	return drops, nil
}

// Remove takes the table away. A table that is gone already is no error.
func (b *Bundle) Remove() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.conn.AddTable(b.table)
	b.conn.DelTable(b.table)
	if err := b.conn.Flush(); err != nil {
		return fmt.Errorf("remove table %s: %w", b.table.Name, explain(err))
	}
	return nil
}

// Close gives up the connection to the kernel and leaves the table in force.
func (b *Bundle) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.conn.CloseLasting()
}
