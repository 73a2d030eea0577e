package rewrite

// Unshare asks the peer to let go of a duplex flow for which this host speaks, so that what comes
// from now on need not be shared (DESIGN §4, "unprotected"). The flow is simplex here once the
// peer has said that it did, and no sooner: until then it would go on with the flow as if it knew
// all. It may be asked again. Unshare reports whether this host speaks for such a flow.
func (t *Table) Unshare(id FlowID, o *Outcome) bool {
	o.reset()
	f := t.find(id)
	if f == nil || f.mode != Duplex || !f.speaker {
		return false
	}
	f.asked, f.lone = true, OnRequest
	o.Notes = append(o.Notes, Note{Flow: id, Kind: NoteSimplex})
	return true
}
