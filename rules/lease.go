package rules

import (
	"fmt"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

// Renew lets this host speak for addr, which must be an advertised address of the
// specification, for Spec.Lease from now on. It fails if the table is gone.
func (b *Bundle) Renew(addr netip.Addr) error {
	return b.lease("renew", addr, func(set *nftables.Set, with, without []nftables.SetElement) error {
		// Adding does not prolong what is there, deleting fails where nothing is.
		if err := b.conn.SetAddElements(set, with); err != nil {
			return err
		}
		if err := b.conn.SetDeleteElements(set, without); err != nil {
			return err
		}
		return b.conn.SetAddElements(set, with)
	})
}

// Revoke silences this host for addr at once. Without a lease it changes nothing.
func (b *Bundle) Revoke(addr netip.Addr) error {
	return b.lease("revoke", addr, func(set *nftables.Set, with, without []nftables.SetElement) error {
		if err := b.conn.SetAddElements(set, with); err != nil {
			return err
		}
		return b.conn.SetDeleteElements(set, without)
	})
}

func (b *Bundle) lease(what string, addr netip.Addr, change func(set *nftables.Set, with, without []nftables.SetElement) error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	set := b.sets[leaseSet(addr)]
	if set == nil || !addr.IsValid() {
		return fmt.Errorf("%s lease of %v: not an advertised address of table %s", what, addr, b.table.Name)
	}
	key := addr.AsSlice()
	err := change(set, []nftables.SetElement{{Key: key, Timeout: b.spec.Lease}}, []nftables.SetElement{{Key: key}})
	// Send also after an error, which the connection remembers and thereby forgets.
	if sent := b.conn.Flush(); err == nil {
		err = sent
	}
	if err != nil {
		return fmt.Errorf("%s lease of %v in table %s: %w", what, addr, b.table.Name, explain(err))
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
