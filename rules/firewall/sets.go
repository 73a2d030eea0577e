package firewall

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// lookup asks whether a set has what is in a register, or takes it from a map.
func (t *table) lookup(regs registers, e *expr.Lookup) answer {
	s := t.sets[e.SetName]
	if s == nil {
		return perhaps
	}
	in := s.has(regs, e.SourceRegister)
	if e.IsDestRegSet {
		regs.set(e.DestRegister, unknown(16))
	}
	if e.Invert {
		return not(in)
	}
	return in
}

// has is the surest answer of any element.
func (s *set) has(regs registers, register uint32) answer {
	in := no
	for _, o := range s.spans() {
		in = max(in, o.has(regs, register))
	}
	return in
}

// verdicts returns what a verdict map has for what is in a register.
func (s *set) verdicts(regs registers, register uint32, so answer) []outcome {
	var all []outcome
	for _, o := range s.spans() {
		if is := both(so, o.has(regs, register)); is != no {
			all = append(all, outcome{is, o.verdict})
		}
	}
	return all
}

// readVerdicts sets the verdicts of a verdict map's elements, which the library leaves as values.
func readVerdicts(elements []nftables.SetElement) error {
	var all error
	for i := range elements {
		e := &elements[i]
		if e.IntervalEnd {
			continue
		}
		var err error
		if e.VerdictData, err = parseVerdict(e.Val); err != nil {
			all = errors.Join(all, fmt.Errorf("a verdict map: %w", err))
		}
	}
	return all
}

// parseVerdict reads a verdict (linux/netfilter/nf_tables.h, nft_verdict_attributes).
func parseVerdict(b []byte) (*expr.Verdict, error) {
	d, err := netlink.NewAttributeDecoder(b)
	if err != nil {
		return nil, err
	}
	d.ByteOrder = binary.BigEndian
	v, there := &expr.Verdict{}, false
	for d.Next() {
		switch d.Type() {
		case unix.NFTA_VERDICT_CODE:
			v.Kind, there = expr.VerdictKind(d.Int32()), true
		case unix.NFTA_VERDICT_CHAIN:
			v.Chain = d.String()
		}
	}
	if err := d.Err(); err != nil {
		return nil, err
	}
	if !there {
		return nil, errors.New("an element without a verdict")
	}
	return v, nil
}

// span is a range of keys, of which last is nil if it has no end.
type span struct {
	first, last []byte
	within      bool // last is not part of it
	parts       bool // compared part by part, which is not done here
	verdict     *expr.Verdict
}

// spans returns the elements of the set. Those of an interval set are the keys where a range
// begins and, marked, where it has ended.
func (s *set) spans() []span {
	var all []span
	elements := slices.Clone(s.elements)
	if s.Interval {
		slices.SortStableFunc(elements, func(a, b nftables.SetElement) int { return bytes.Compare(a.Key, b.Key) })
	}
	for i, e := range elements {
		switch {
		case e.IntervalEnd:
		case len(e.KeyEnd) > 0:
			all = append(all, span{first: e.Key, last: e.KeyEnd, parts: true, verdict: e.VerdictData})
		case !s.Interval:
			all = append(all, span{first: e.Key, last: e.Key, verdict: e.VerdictData})
		default:
			o := span{first: e.Key, within: true, verdict: e.VerdictData}
			if i+1 < len(elements) {
				o.last = elements[i+1].Key
			}
			all = append(all, o)
		}
	}
	return all
}

func (o span) has(regs registers, register uint32) answer {
	v := regs.get(register, len(o.first))
	switch {
	case o.parts:
		return perhaps
	case bytes.Equal(o.first, o.last):
		return compare(v, expr.CmpOpEq, o.first)
	}
	in := compare(v, expr.CmpOpGte, o.first)
	if o.last == nil {
		return in
	}
	op := expr.CmpOp(expr.CmpOpLte)
	if o.within {
		op = expr.CmpOpLt
	}
	return both(in, compare(v, op, o.last))
}
