package rules

import (
	"errors"
	"fmt"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// ProbeNative reports whether the kernel has nftables' own queue expression. It tries one in
// a transaction that takes its table away again, so that nothing is left.
func ProbeNative() (bool, error) {
	conn, err := connect()
	if err != nil {
		return false, fmt.Errorf("probe for the queue expression: %w", err)
	}
	defer conn.CloseLasting()
	table := conn.AddTable(&nftables.Table{Name: "ftgw-probe", Family: nftables.TableFamilyINet})
	chain := conn.AddChain(&nftables.Chain{Name: "probe", Table: table})
	conn.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{&expr.Queue{Total: 1}}})
	conn.DelTable(table)
	switch err := conn.Flush(); {
	case err == nil:
		return true, nil
	case errors.Is(err, unix.ENOENT):
		return false, nil
	default:
		return false, fmt.Errorf("probe for the queue expression: %w", explain(err))
	}
}
