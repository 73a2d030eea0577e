package rules

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/google/nftables"
)

// Renew lets this host speak for addr, which must be an advertised address of the
// specification, for Spec.Lease from now on. It fails if the table is gone.
func (b *Bundle) Renew(addr netip.Addr) error {
	return b.lease("renew", addr, func(set *nftables.Set, with, without []nftables.SetElement) error {
		// Adding does not prolong what is there, deleting fails where nothing is.
		return errors.Join(b.conn.SetAddElements(set, with),
			b.conn.SetDeleteElements(set, without), b.conn.SetAddElements(set, with))
	})
}

// Revoke silences this host for addr at once. Without a lease it changes nothing.
func (b *Bundle) Revoke(addr netip.Addr) error {
	return b.lease("revoke", addr, func(set *nftables.Set, with, without []nftables.SetElement) error {
		return errors.Join(b.conn.SetAddElements(set, with), b.conn.SetDeleteElements(set, without))
	})
}

// lease changes the sets of all tables in one transaction.
func (b *Bundle) lease(what string, addr netip.Addr, change func(set *nftables.Set, with, without []nftables.SetElement) error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !slices.Contains(b.spec.addresses(), addr) {
		return fmt.Errorf("%s lease of %v: not an advertised address of table %s", what, addr, b.spec.table())
	}
	with := []nftables.SetElement{{Key: addr.AsSlice(), Timeout: b.spec.Lease}}
	without := []nftables.SetElement{{Key: addr.AsSlice()}}
	var err error
	for _, t := range b.tables {
		err = errors.Join(err, change(t.sets[leaseSet(addr)], with, without))
	}
	// Send also after an error, which the connection remembers and thereby forgets.
	if sent := b.conn.Flush(); err == nil {
		err = sent
	}
	if err != nil {
		return fmt.Errorf("%s lease of %v in table %s: %w", what, addr, b.spec.table(), explain(err))
	}
	return nil
}
