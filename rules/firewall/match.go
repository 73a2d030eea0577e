package firewall

import (
	"bytes"
	"encoding/binary"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// answer is whether a packet has what a rule asks for.
type answer uint8

const (
	no answer = iota
	perhaps
	yes
)

func not(a answer) answer { return yes - a }

func both(a, b answer) answer { return min(a, b) }

func certain(b bool) answer {
	if b {
		return yes
	}
	return no
}

// outcome is a verdict and whether it is this packet's.
type outcome struct {
	matches answer
	verdict *expr.Verdict
}

// registers are the kernel's: 16 of 4 bytes, or 4 of 16 bytes which are the same.
type registers struct{ value }

func newRegisters() registers { return registers{unknown(64 + 256)} } // room for what runs over

func place(register uint32) int {
	if register >= unix.NFT_REG32_00 {
		return int(register-unix.NFT_REG32_00) * 4 % 64
	}
	return int(register-unix.NFT_REG_1) * 16 % 64
}

func (r registers) get(register uint32, n int) value {
	at := max(0, place(register))
	n = min(n, len(r.data)-at)
	return value{r.data[at : at+n], r.known[at : at+n]}
}

func (r registers) set(register uint32, v value) {
	at := max(0, place(register))
	copy(r.data[at:], v.data)
	copy(r.known[at:], v.known)
}

// rule returns the verdicts of a rule, more than one where a verdict map has to say. Without
// one it goes on.
func (f *follower) rule(t *table, r *nftables.Rule) []outcome {
	regs, all := newRegisters(), yes
	for _, e := range r.Exprs {
		switch e := e.(type) {
		case *expr.Verdict:
			return []outcome{{all, e}}
		case *expr.Reject:
			return []outcome{{all, &expr.Verdict{Kind: expr.VerdictDrop}}}
		case *expr.Queue, *expr.NAT, *expr.Masq, *expr.Redir, *expr.SynProxy:
			return []outcome{{all, &expr.Verdict{Kind: expr.VerdictAccept}}}
		case *expr.Target:
			if v := targetVerdict(e.Name); v != nil {
				return []outcome{{all, v}}
			}
		case *expr.Lookup:
			if s := t.sets[e.SetName]; s != nil && s.IsMap && e.IsDestRegSet && e.DestRegister == unix.NFT_REG_VERDICT {
				return s.verdicts(regs, e.SourceRegister, all)
			}
			all = both(all, t.lookup(regs, e))
		default:
			all = both(all, f.expression(regs, e))
		}
		if all == no {
			return nil
		}
	}
	return nil
}

// targetVerdict returns what a target of iptables does to a packet, or nil if it goes on.
func targetVerdict(name string) *expr.Verdict {
	switch name {
	case "REJECT", "DROP":
		return &expr.Verdict{Kind: expr.VerdictDrop}
	case "NFQUEUE", "ACCEPT", "SYNPROXY":
		return &expr.Verdict{Kind: expr.VerdictAccept}
	}
	return nil
}

// expression carries out one that has no verdict.
func (f *follower) expression(regs registers, e expr.Any) answer {
	switch e := e.(type) {
	case *expr.Meta:
		return regs.load(e.Register, e.SourceRegister, func() (value, bool) { return f.packet.meta(e.Key) })
	case *expr.Ct:
		return regs.load(e.Register, e.SourceRegister, func() (value, bool) { return f.packet.ct(e.Key) })
	case *expr.Payload:
		return regs.load(e.DestRegister, e.OperationType == expr.PayloadWrite, func() (value, bool) {
			return f.packet.payload(e.Base, e.Offset, min(e.Len, 64)), true
		})
	case *expr.Immediate:
		regs.set(e.Register, exactly(bytes.Clone(e.Data)))
	case *expr.Bitwise:
		regs.set(e.DestRegister, masked(regs.get(e.SourceRegister, int(min(e.Len, 64))), e.Mask, e.Xor))
	case *expr.Byteorder:
		regs.set(e.DestRegister, swapped(regs.get(e.SourceRegister, int(min(e.Len, 64))), int(e.Size)))
	case *expr.Cmp:
		return compare(regs.get(e.Register, len(e.Data)), e.Op, e.Data)
	case *expr.Range:
		v := regs.get(e.Register, len(e.FromData))
		inside := both(compare(v, expr.CmpOpGte, e.FromData), compare(v, expr.CmpOpLte, e.ToData))
		if e.Op == expr.CmpOpNeq {
			return not(inside)
		}
		return inside
	case *expr.Match:
		return f.match(e)
	case *expr.Fib:
		regs.set(e.Register, unknown(16))
	case *expr.Exthdr:
		regs.set(e.DestRegister, unknown(16))
		return perhaps
	case *expr.Hash:
		regs.set(e.DestRegister, unknown(4))
	case *expr.Numgen:
		regs.set(e.Register, unknown(4))
	case *expr.Counter, *expr.Log, *expr.Notrack, *expr.Objref, *expr.FlowOffload, *expr.Dynset:
	default: // limit, quota, connlimit and what is yet to come
		return perhaps
	}
	return yes
}

// load fills a register; setting something of the packet changes nothing that is known here.
func (r registers) load(register uint32, sets bool, from func() (value, bool)) answer {
	if sets {
		return yes
	}
	v, there := from()
	r.set(register, v)
	return certain(there)
}

func masked(v value, mask, xor []byte) value {
	if len(mask) < len(v.data) || len(xor) < len(v.data) {
		return unknown(uint32(len(v.data))) // a shift
	}
	out := unknown(uint32(len(v.data)))
	for i := range out.data {
		out.data[i] = v.data[i]&mask[i] ^ xor[i]
		out.known[i] = v.known[i] | ^mask[i]
	}
	return out
}

// swapped turns the byte order of numbers of so many bytes.
func swapped(v value, size int) value {
	out := value{bytes.Clone(v.data), bytes.Clone(v.known)}
	if size <= 0 || binary.NativeEndian.Uint16([]byte{0, 1}) == 1 {
		return out
	}
	for at := 0; at+size <= len(out.data); at += size {
		slices.Reverse(out.data[at : at+size])
		slices.Reverse(out.known[at : at+size])
	}
	return out
}

// compare says how a value stands to data, which is as long. Where not all bits are known, two
// values can only be told to differ.
func compare(v value, op expr.CmpOp, data []byte) answer {
	if len(v.data) < len(data) {
		return perhaps
	}
	if op != expr.CmpOpEq && op != expr.CmpOpNeq {
		if !v.complete() {
			return perhaps
		}
		switch c := bytes.Compare(v.data, data); op {
		case expr.CmpOpLt:
			return certain(c < 0)
		case expr.CmpOpLte:
			return certain(c <= 0)
		case expr.CmpOpGt:
			return certain(c > 0)
		default:
			return certain(c >= 0)
		}
	}
	same := certain(v.complete())
	if same == no {
		same = perhaps
	}
	for i := range data {
		if (v.data[i]^data[i])&v.known[i] != 0 {
			same = no
		}
	}
	if op == expr.CmpOpNeq {
		return not(same)
	}
	return same
}
