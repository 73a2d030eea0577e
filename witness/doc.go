// Package witness carries a third node's grants: the Server on the witness, around one
// takeover.Witness for each pair, and the Client on each node that serves.
//
// A node keeps one connection to the witness for each of its groups: TCP to its session port, TLS
// 1.3 with the cluster key on either side, a Hello in each direction that names the group, then
// frames of package replication, all about that group. The witness knows a group as a pair, for
// two of its nodes serve at a time; any of its nodes may ask. A query ends after the hellos. The node
// beats, the witness answers each beat, and so either knows within moments that the other is
// there. A grant costs one round trip and one fsync. The connection is only made anew when it
// breaks, so that no handshake stands between a death and the claim.
//
//	node                                   witness
//	 │ Hello, Heartbeat …  ───────────────►  │  listens to both nodes
//	 │  ◄───────────────  Hello, Heartbeat … │
//	 │ GrantRequest  ─────────────────────►  │  writes the grant to disk
//	 │              Notice to the other node │
//	 │       Silence from it, if it is heard │
//	 │  ◄──────────────────────  GrantAnswer │
package witness
