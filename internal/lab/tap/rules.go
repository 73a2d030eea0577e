package tap

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// The tables of this package. Loss comes before the tap, both behind every other chain of the
// input hook, and far behind prerouting where ftgw's queue is.
const (
	tapTable  = "lab_tap"
	lossTable = "lab_loss"

	lossPriority = 1 << 20
	tapPriority  = 1 << 21
)

// Loss drops the given share of the TCP segments to the advertised address in the host's
// input hook, at random: what a handler passed and the kernel loses all the same. undo ends
// it; one Loss at a time on a host.
func Loss(ns Namespace, advertised netip.AddrPort, perThousand int) (undo func() error, err error) {
	if perThousand < 0 || perThousand > 1000 {
		return nil, fmt.Errorf("lose input of %v: %d of a thousand, want 0 to 1000", advertised, perThousand)
	}
	drop := []expr.Any{
		&expr.Numgen{Register: 1, Modulus: 1000, Type: unix.NFT_NG_RANDOM},
		// The number is in the host's byte order, the comparison byte by byte.
		&expr.Byteorder{SourceRegister: 1, DestRegister: 1, Op: expr.ByteorderHton, Len: 4, Size: 4},
		&expr.Cmp{Op: expr.CmpOpLt, Register: 1, Data: binary.BigEndian.AppendUint32(nil, uint32(perThousand))},
		&expr.Counter{},
		&expr.Verdict{Kind: expr.VerdictDrop},
	}
	if err := ns.Do(func() error { return addInputRule(lossTable, lossPriority, advertised, drop) }); err != nil {
		return nil, fmt.Errorf("lose input of %v: %w", advertised, err)
	}
	return func() error { return ns.Do(func() error { return delTable(lossTable) }) }, nil
}

// Lost returns how many segments Loss has dropped so far on the host.
func Lost(ns Namespace) (n uint64, err error) {
	err = ns.Do(func() error {
		c, err := nftables.New()
		if err != nil {
			return err
		}
		table := &nftables.Table{Name: lossTable, Family: nftables.TableFamilyINet}
		rules, err := c.GetRules(table, &nftables.Chain{Name: "input", Table: table})
		if err != nil {
			return err
		}
		for _, r := range rules {
			for _, e := range r.Exprs {
				if counter, ok := e.(*expr.Counter); ok {
					n += counter.Packets
				}
			}
		}
		return nil
	})
	return n, err
}

func addTap(advertised netip.AddrPort, group uint16) error {
	return addInputRule(tapTable, tapPriority, advertised, []expr.Any{&expr.Log{
		Key:        1<<unix.NFTA_LOG_GROUP | 1<<unix.NFTA_LOG_QTHRESHOLD | 1<<unix.NFTA_LOG_SNAPLEN,
		Group:      group,
		QThreshold: 1,
		Snaplen:    snapLength,
	}})
}

// addInputRule makes a table with one chain and one rule in the calling thread's namespace.
func addInputRule(table string, priority int32, advertised netip.AddrPort, action []expr.Any) error {
	c, err := nftables.New()
	if err != nil {
		return err
	}
	t := c.AddTable(&nftables.Table{Name: table, Family: nftables.TableFamilyINet})
	chain := c.AddChain(&nftables.Chain{
		Name: "input", Table: t, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookInput, Priority: nftables.ChainPriorityRef(nftables.ChainPriority(priority)),
	})
	c.AddRule(&nftables.Rule{Table: t, Chain: chain, Exprs: append(toAdvertised(advertised), action...)})
	return c.Flush()
}

// toAdvertised matches TCP segments to the address and port.
func toAdvertised(a netip.AddrPort) []expr.Any {
	family, offset := byte(unix.NFPROTO_IPV4), uint32(16)
	if a.Addr().Is6() {
		family, offset = unix.NFPROTO_IPV6, 24
	}
	ip := a.Addr().AsSlice()
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{family}},
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_TCP}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: uint32(len(ip))},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: ip},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binary.BigEndian.AppendUint16(nil, a.Port())},
	}
}

func delTable(name string) error {
	c, err := nftables.New()
	if err != nil {
		return err
	}
	c.DelTable(&nftables.Table{Name: name, Family: nftables.TableFamilyINet})
	return c.Flush()
}
