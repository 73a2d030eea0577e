package shim

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// bareLength is the length of the longest IPv4 packet that is only an acknowledgment, with all
// the options that TCP has room for. What is longer bears data; data of so few bytes that it
// is not longer counts as none.
const bareLength = 20 + 60

// Kind is a kind of IPv4 TCP segment.
type Kind int

// The kinds.
const (
	Frame Kind = iota // every frame, IP or not
	TCP               // every segment
	UDP               // every datagram
	Data              // segments with data
	Bare              // pure acknowledgments: neither data nor SYN, FIN or RST
)

// Match says which frames. What is zero matches all; addresses and ports need a kind of IP.
type Match struct {
	Kind             Kind
	FromMAC          net.HardwareAddr
	From, To         netip.Addr
	FromPort, ToPort uint16
}

// Share says how many of the frames that match are lost, of each Of: any, at random, or those
// that come first, in a row.
type Share struct {
	Lost, Of uint32
	Row      bool
}

// All loses everything.
func All() Share { return Share{Lost: 1, Of: 1} }

// Loss is in force until End.
type Loss struct {
	ns    namespace
	table *nftables.Table
	chain *nftables.Chain
}

// Lose loses a share of what comes in by an interface and matches one of the lot, in front of
// everything else that the namespace does with it. The name tells the losses of one namespace
// apart. Captures on the interface still see what is lost.
func Lose(ns namespace, name, device string, share Share, lot ...Match) (*Loss, error) {
	l := &Loss{ns: ns, table: &nftables.Table{Name: "lab_lose_" + name, Family: nftables.TableFamilyNetdev}}
	l.chain = &nftables.Chain{Name: "ingress", Table: l.table, Type: nftables.ChainTypeFilter, Device: device,
		Hooknum: nftables.ChainHookIngress, Priority: nftables.ChainPriorityFilter}
	err := ns.Do(func() error {
		c, err := nftables.New()
		if err != nil {
			return err
		}
		c.AddTable(l.table)
		c.AddChain(l.chain)
		for _, m := range lot {
			c.AddRule(&nftables.Rule{Table: l.table, Chain: l.chain, Exprs: append(m.exprs(), share.exprs()...)})
		}
		return c.Flush()
	})
	if err != nil {
		return nil, fmt.Errorf("lose frames on %s: %w (the kernel needs nftables' ingress hook)", device, err)
	}
	return l, nil
}

// Lost returns how many frames were lost so far.
func (l *Loss) Lost() (n uint64, err error) {
	err = l.ns.Do(func() error {
		c, err := nftables.New()
		if err != nil {
			return err
		}
		rules, err := c.GetRules(l.table, l.chain)
		for _, r := range rules {
			for _, e := range r.Exprs {
				if counter, ok := e.(*expr.Counter); ok {
					n += counter.Packets
				}
			}
		}
		return err
	})
	return n, err
}

// End ends the loss.
func (l *Loss) End() error {
	return l.ns.Do(func() error {
		c, err := nftables.New()
		if err != nil {
			return err
		}
		c.DelTable(l.table)
		return c.Flush()
	})
}

func (s Share) exprs() []expr.Any {
	drop := []expr.Any{&expr.Counter{}, &expr.Verdict{Kind: expr.VerdictDrop}}
	if s.Lost >= s.Of {
		return drop
	}
	kind := uint32(unix.NFT_NG_RANDOM)
	if s.Row {
		kind = unix.NFT_NG_INCREMENTAL
	}
	return append([]expr.Any{
		&expr.Numgen{Register: 1, Modulus: s.Of, Type: kind},
		// The number is in the host's byte order, the comparison byte by byte.
		&expr.Byteorder{SourceRegister: 1, DestRegister: 1, Op: expr.ByteorderHton, Len: 4, Size: 4},
		&expr.Cmp{Op: expr.CmpOpLt, Register: 1, Data: binary.BigEndian.AppendUint32(nil, s.Lost)},
	}, drop...)
}

func (m Match) exprs() (e []expr.Any) {
	payload := func(base expr.PayloadBase, offset uint32, op expr.CmpOp, data []byte) {
		e = append(e, &expr.Payload{DestRegister: 1, Base: base, Offset: offset, Len: uint32(len(data))},
			&expr.Cmp{Op: op, Register: 1, Data: data})
	}
	if m.FromMAC != nil {
		payload(expr.PayloadBaseLLHeader, 6, expr.CmpOpEq, m.FromMAC)
	}
	if m.Kind == Frame {
		return e
	}
	protocol := byte(unix.IPPROTO_TCP)
	if m.Kind == UDP {
		protocol = unix.IPPROTO_UDP
	}
	e = append(e, &expr.Meta{Key: expr.MetaKeyPROTOCOL, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{0x08, 0x00}},
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{protocol}})
	for _, a := range []struct {
		addr   netip.Addr
		offset uint32
	}{{m.From, 12}, {m.To, 16}} {
		if a.addr.IsValid() {
			payload(expr.PayloadBaseNetworkHeader, a.offset, expr.CmpOpEq, a.addr.AsSlice())
		}
	}
	for offset, port := range []uint16{m.FromPort, m.ToPort} {
		if port != 0 {
			payload(expr.PayloadBaseTransportHeader, 2*uint32(offset), expr.CmpOpEq, binary.BigEndian.AppendUint16(nil, port))
		}
	}
	const ending = 0x07 // FIN, SYN, RST
	switch m.Kind {
	case Data:
		payload(expr.PayloadBaseNetworkHeader, 2, expr.CmpOpGt, binary.BigEndian.AppendUint16(nil, bareLength))
	case Bare:
		payload(expr.PayloadBaseNetworkHeader, 2, expr.CmpOpLte, binary.BigEndian.AppendUint16(nil, bareLength))
		e = append(e, &expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 13, Len: 1},
			&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 1, Mask: []byte{ending}, Xor: []byte{0}},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{0}})
	}
	return e
}
