package rules

import (
	"errors"
	"fmt"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Kernel says which of the things that can be done without the running kernel has.
type Kernel struct {
	// Queue is nftables' own queue expression; without it the xt target does the same.
	Queue bool
	// Egress is the hook where packets are handed to a device (Linux 5.16 or later, built
	// with CONFIG_NETFILTER_EGRESS and CONFIG_NF_TABLES_NETDEV). Without it packets that wait
	// in the kernel for the neighbour's MAC address may outlive the lease.
	Egress bool
}

// Probe finds out by transactions that take away again what they make, so that nothing is
// left. It needs CAP_NET_ADMIN.
func Probe() (Kernel, error) {
	conn, err := connect()
	if err != nil {
		return Kernel{}, fmt.Errorf("probe the kernel: %w", err)
	}
	defer conn.CloseLasting()
	var k Kernel
	if k.Queue, err = probe(conn, nftables.TableFamilyINet, &nftables.Chain{}, &expr.Queue{Total: 1}); err != nil {
		return Kernel{}, fmt.Errorf("probe for the queue expression: %w", explain(err))
	}
	hook := &nftables.Chain{Type: nftables.ChainTypeFilter, Device: "lo",
		Hooknum: nftables.ChainHookEgress, Priority: nftables.ChainPriorityFilter}
	if k.Egress, err = probe(conn, nftables.TableFamilyNetdev, hook); err != nil {
		return Kernel{}, fmt.Errorf("probe for the egress hook: %w", explain(err))
	}
	return k, nil
}

// probe reports whether the kernel takes the chain with a rule of the given expressions.
func probe(conn *nftables.Conn, family nftables.TableFamily, c *nftables.Chain, rule ...expr.Any) (bool, error) {
	table := conn.AddTable(&nftables.Table{Name: "ftgw-probe", Family: family})
	c.Name, c.Table = "probe", table
	conn.AddChain(c)
	if len(rule) > 0 {
		conn.AddRule(&nftables.Rule{Table: table, Chain: c, Exprs: rule})
	}
	conn.DelTable(table)
	err := conn.Flush()
	for _, missing := range []error{unix.ENOENT, unix.EOPNOTSUPP, unix.EAFNOSUPPORT} {
		if errors.Is(err, missing) {
			return false, nil
		}
	}
	return err == nil, err
}

// Try has the kernel look at the rules of spec, and returns why it does not take them. As with
// Probe they are taken away in the transaction that makes them, under another name, so that they
// are never in force. It needs CAP_NET_ADMIN.
func Try(spec Spec, k Kernel) error {
	if err := spec.check(); err != nil {
		return err
	}
	spec.Table = "ftgw-try"
	conn, err := connect()
	if err != nil {
		return fmt.Errorf("try the rules: %w", err)
	}
	defer conn.CloseLasting()
	for _, l := range layouts(spec, k) {
		t := newTable(spec.table(), l)
		if err := t.make(conn, l); err != nil {
			return fmt.Errorf("try the rules: %w", err)
		}
		conn.DelTable(t.kernel)
	}
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("try the rules: %w", explain(err))
	}
	return nil
}
