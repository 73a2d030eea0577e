package firewall

import (
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

// Block is a base chain that drops a packet.
type Block struct {
	// Chain is its name as nft takes it: family, table, chain.
	Chain string
	// Policy reports that no rule drops it: the chain's policy does.
	Policy bool
	// Some reports that a packet may pass in spite of it, if something is as a rule wants it of
	// which nothing is known here, such as the sender's address.
	Some bool
}

// Blocks returns the chains that drop packets of a kind, in the order in which a packet meets
// them.
func (r *Ruleset) Blocks(p Packet) []Block {
	var blocks []Block
	for _, c := range r.path(p.In) {
		f := &follower{packet: p}
		end := f.chain(c, 0)
		policy := end != accepts && end != drops
		if policy && c.Policy != nil && *c.Policy == nftables.ChainPolicyDrop {
			end = drops
		}
		if end == drops {
			blocks = append(blocks, Block{name(c.Chain), policy, f.perhaps})
		}
	}
	return blocks
}

// path returns the chains that filter on a packet's way.
func (r *Ruleset) path(in bool) []*chain {
	hooks := []*nftables.ChainHook{nftables.ChainHookOutput, nftables.ChainHookPostrouting}
	if in {
		hooks = []*nftables.ChainHook{nftables.ChainHookPrerouting, nftables.ChainHookInput}
	}
	var path []*chain
	for _, hook := range hooks {
		var at []*chain
		for _, c := range r.chains {
			if *c.Hooknum == *hook && c.Type != nftables.ChainTypeNAT {
				at = append(at, c)
			}
		}
		slices.SortStableFunc(at, func(a, b *chain) int { return priority(a) - priority(b) })
		path = append(path, at...)
	}
	return path
}

func priority(c *chain) int {
	if c.Priority == nil {
		return 0
	}
	return int(*c.Priority)
}

// ending is how a chain or a rule ends for a packet.
type ending uint8

const (
	goesOn  ending = iota // with the next rule, or in the chain that jumped here
	returns               // to the chain that jumped here
	accepts
	drops
)

// depth bounds the jumps, of which the kernel allows 16.
const depth = 16

// follower takes a packet through a base chain.
type follower struct {
	packet  Packet
	perhaps bool // another verdict than the certain one may have been accept
}

// chain returns how it certainly ends, should none of the rules match that perhaps do.
func (f *follower) chain(c *chain, deep int) ending {
	if c == nil || deep > depth {
		return goesOn
	}
	for _, r := range c.rules {
		for _, o := range f.rule(c.table, r) {
			switch end := f.verdict(c.table, o.verdict, deep); {
			case o.matches == perhaps && end != drops && end != goesOn:
				f.perhaps = true
			case o.matches == yes && end != goesOn:
				return end
			}
		}
	}
	return goesOn
}

// verdict carries a verdict out; nil goes on.
func (f *follower) verdict(t *table, v *expr.Verdict, deep int) ending {
	if v == nil {
		return goesOn
	}
	switch v.Kind {
	case expr.VerdictAccept, expr.VerdictQueue, expr.VerdictStolen:
		return accepts
	case expr.VerdictDrop:
		return drops
	case expr.VerdictReturn:
		return returns
	case expr.VerdictJump:
		if end := f.chain(t.chains[v.Chain], deep+1); end != returns {
			return end
		}
	case expr.VerdictGoto:
		if end := f.chain(t.chains[v.Chain], deep+1); end == accepts || end == drops {
			return end
		}
		return returns
	}
	return goesOn
}
