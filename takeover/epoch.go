package takeover

// Epoch numbers the claims of one advertised address (I5). The zero Epoch is the time before
// the first claim.
type Epoch uint64

// Next returns the lowest epoch above e that node index of nodes may claim: its numbers are
// those ≡ index modulo nodes, so two nodes never claim the same one. 0 <= index < nodes.
func (e Epoch) Next(index, nodes int) Epoch {
	n := Epoch(nodes)
	next := e - e%n + Epoch(index)
	if next <= e {
		next += n
	}
	return next
}
