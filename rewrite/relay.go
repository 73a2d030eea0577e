package rewrite

import "time"

// Relayed flows have no socket on this host that would tell when they end, so segments must.
const (
	closedLife = 2 * time.Minute // after the last segment, where the client has said FIN or RST
	relayLife  = 2 * time.Hour   // where it has not; longer than the usual keep-alive
)

// relay notes what a segment of a relayed flow tells: where an RST must stand, should the peer
// die, and whether the client is done.
func (f *flow) relay(s *Segment) {
	if s.Flags().Has(ACK) && s.Ack().After(f.maxAck) {
		f.maxAck = s.Ack()
	}
	if s.Flags().Has(FIN) || s.Flags().Has(RST) {
		f.closing = true
	}
}

// discard ends the local kernel's copy of a flow that the peer alone holds: nothing reaches it
// any more. The RST must stand exactly at the kernel's RcvNxt (RFC 5961 §3); where it does not,
// the kernel says where that is.
func (f *flow) discard(rcvNxt Seq, o *Outcome) {
	h := Header{Src: f.id.Client, Dst: f.id.Advertised, Seq: rcvNxt, Flags: RST}
	o.ToLocal = append(o.ToLocal, AppendSegment(o.room(maxHeader), h, nil))
}

// relayedOut reports whether a relayed flow seems over. If it is not, its segments go to the
// peer all the same; only the RST that its client would get at the peer's death waits for the
// client's next segment.
func (f *flow) relayedOut(now time.Duration) bool {
	return now-f.seen > relayLife || f.closing && now-f.seen > closedLife
}
