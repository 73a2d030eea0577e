package rules

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"slices"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
)

// table is one of a bundle's tables in the kernel. Commands go to a connection, which its
// caller flushes.
type table struct {
	kernel *nftables.Table
	sets   map[string]*nftables.Set // by name
}

func newTable(name string, l layout) *table {
	t := &table{&nftables.Table{Name: name, Family: l.family}, map[string]*nftables.Set{}}
	for _, set := range l.sets {
		set.Table = t.kernel
		t.sets[set.Name] = set
	}
	return t
}

func (t *table) make(conn *nftables.Conn, l layout) error {
	conn.AddTable(t.kernel)
	for _, set := range l.sets {
		if err := conn.AddSet(t.sets[set.Name], nil); err != nil {
			return err
		}
	}
	for i := range l.chains {
		conn.AddChain(t.chain(&l.chains[i]))
	}
	for i := range l.chains {
		t.addRules(conn, &l.chains[i])
	}
	return nil
}

// forget takes all leases away.
func (t *table) forget(conn *nftables.Conn) {
	for _, set := range t.sets {
		conn.FlushSet(set)
	}
}

// refill replaces the rules of a chain.
func (t *table) refill(conn *nftables.Conn, c *chain) {
	conn.FlushChain(t.chain(c))
	t.addRules(conn, c)
}

func (t *table) chain(c *chain) *nftables.Chain {
	k := &nftables.Chain{Name: c.name, Table: t.kernel}
	if c.hook != nil {
		policy := nftables.ChainPolicyAccept
		k.Hooknum, k.Priority, k.Type, k.Policy = c.hook, c.priority, nftables.ChainTypeFilter, &policy
		k.Device = c.device
	}
	return k
}

func (t *table) addRules(conn *nftables.Conn, c *chain) {
	for i := range c.rules {
		r := &nftables.Rule{Table: t.kernel, Chain: t.chain(c), UserData: c.label(i)}
		for _, p := range c.rules[i].parts {
			r.Exprs = append(r.Exprs, p.exprs...)
		}
		conn.AddRule(r)
	}
}

// label is rule i's comment in the kernel: the reason, if it drops, and a digest of the
// device and the text, by which the rule is known again.
func (c *chain) label(i int) []byte {
	r := &c.rules[i]
	sum := sha256.Sum256([]byte(c.device + r.text()))
	return userdata.AppendString(nil, userdata.TypeComment, fmt.Sprintf("%s#%x", r.reason, sum[:6]))
}

// difference names what the kernel's table has otherwise than wanted, or nothing.
func (t *table) difference(conn *nftables.Conn, want []chain, lease time.Duration) (string, error) {
	chains, err := conn.ListChainsOfTableFamily(t.kernel.Family)
	if err != nil {
		return "", err
	}
	have := map[string]*nftables.Chain{}
	for _, c := range chains {
		if c.Table.Name == t.kernel.Name {
			have[c.Name] = c
		}
	}
	for i := range want {
		c := &want[i]
		same, err := t.sameChain(conn, c, have[c.name])
		if !same || err != nil {
			return "chain " + c.name, err
		}
		delete(have, c.name)
	}
	for name := range have {
		return "chain " + name, nil
	}
	return t.setDifference(conn, lease)
}

func (t *table) sameChain(conn *nftables.Conn, want *chain, have *nftables.Chain) (bool, error) {
	if have == nil || (want.hook == nil) != (have.Hooknum == nil) {
		return false, nil
	}
	if want.hook != nil && (*want.hook != *have.Hooknum || have.Priority == nil || *want.priority != *have.Priority ||
		have.Policy == nil || *have.Policy != nftables.ChainPolicyAccept) {
		return false, nil
	}
	rules, err := conn.GetRules(t.kernel, have)
	if err != nil || len(rules) != len(want.rules) {
		return false, err
	}
	for i, r := range rules {
		if !bytes.Equal(r.UserData, want.label(i)) {
			return false, nil
		}
	}
	return true, nil
}

// setDifference names a set that is not as wanted, or holds what is no lease: one that lasts
// longer would let a dead daemon's host speak.
func (t *table) setDifference(conn *nftables.Conn, lease time.Duration) (string, error) {
	const tick = 20 * time.Millisecond // the kernel counts in ticks of its own
	sets, err := conn.GetSets(t.kernel)
	if err != nil {
		return "the sets", err
	}
	have := map[string]*nftables.Set{}
	for _, s := range sets {
		have[s.Name] = s
	}
	for name, want := range t.sets {
		s := have[name]
		if s == nil || want.Timeout != s.Timeout || want.KeyType.Name != s.KeyType.Name {
			return "set " + name, nil
		}
		elements, err := conn.GetSetElements(s)
		if err != nil || slices.ContainsFunc(elements, func(e nftables.SetElement) bool { return e.Expires > lease+tick }) {
			return "set " + name, err
		}
		delete(have, name)
	}
	for name := range have {
		return "set " + name, nil
	}
	return "", nil
}

// count adds to drops how many packets the chain's rules have dropped, by reason.
func (t *table) count(conn *nftables.Conn, c *chain, drops map[string]uint64) error {
	rules, err := conn.GetRules(t.kernel, t.chain(c))
	if err != nil {
		return err
	}
	for i, r := range rules {
		if i < len(c.rules) && c.rules[i].reason != "" {
			drops[c.rules[i].reason] += packets(r)
		}
	}
	return nil
}

// packets returns what the rule's counter shows.
func packets(r *nftables.Rule) uint64 {
	for _, e := range r.Exprs {
		if c, ok := e.(*expr.Counter); ok {
			return c.Packets
		}
	}
	return 0
}
