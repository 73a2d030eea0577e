// Package takeover decides who serves an advertised address: one Machine for one group of
// services on one node. It knows no clock, socket or goroutine: events carry the time, Step
// returns what is to be done, in the order in which it must be done, and the same events always
// give the same actions (DESIGN §5; invariants I3, I5, I6 of §2).
//
// # Roles
//
//	                     both joining: agree
//	            ┌────────────────────────────────────────┐
//	            │  the peer serves alone: become its     │
//	            │  missing half, as backup               ▼
//	start ─► joining ─────────────────────────► primary | backup
//	            │  ▲                                 │    ▲
//	 start_wait │  │ flows are dead                  │    │ a newcomer reports itself
//	 + evidence │  │ (FenceDone)               claim │    │ paired: primary, and
//	  (empty)   │  │                     on evidence │    │ still the owner
//	            │  └──────── fenced ◄─────────┐      ▼    │
//	            │              a higher epoch ├───── sole ┘
//	            └─────────────────────────────┼───────▲
//	                                          └─ primary | backup
//
// The primary speaks; in a pair formed by two joining nodes the backup answers for the address
// (is its owner), in a pair formed with a survivor the survivor goes on doing both. Sole
// speaks and answers. Joining and fenced nodes do neither.
//
// # More than two nodes
//
// A group may list more. Two of them are the pair; the rest are spares, joining, with sessions
// to everyone. A survivor chooses the next in the list that waits, and that node joins it; so
// the pair is whole again while the dead node is still dead. Two joining nodes form a pair, and
// a node alone claims empty, only when every other node has said that it serves nothing, or was
// not heard for StartWait. Where one is not heard, the first of the two claims and the other joins
// it: the absent one may serve at the number that they would agree on. Of several that wait none
// claims but two form a pair, or, if their kernels differ, the first in the list claims. Who hears
// of anyone that serves at a higher epoch fences itself, by whatever way it hears, and so does a
// half whose peer is in a pair with another one. A number that only lies on the disk of a node
// which serves nothing is history, except to the peer of that node; and to the peer as well, if
// that serves alone and none of its flows was ever shared with that node.
//
// # Evidence
//
// S is any event that only the peer's living daemon can cause, younger than SuspectAfter. R is
// a fresh connect refused, a hello with a new boot ID, or the peer's farewell. A and G are
// answers in one round of ARP probes, begun after S was missed, so an answer never counts for
// a later suspicion. What is missed in one round counts only if every probe of it had
// ProbeEvery to be answered, however late the ticks came. Half a pair that has had no session
// for HangTimeout counts as silent, though its gossip be heard: the pair cannot work without.
//
// A claim is: WriteEpoch, and once that is on disk AbandonPeer, Publish, Promote, OpenGate, Own,
// Announce, ReleaseHeld (I6). A sign of life that arrives before the write is done calls off a
// claim, unless it rests on R. Numbers are claimed by residue, so that two claims never tie (I5),
// and a number once tried is never tried again by the same process.
//
// # Voice
//
// Two times bound what a node may do without hearing anything more: RenewUntil (the lease of
// the voice) and AnswerUntil (who-has for the address). Both end when the machine itself is not
// stepped, so a daemon that stands still loses them. A primary's also ends with the echo: the
// peer claims against a hung speaker no sooner than HangTimeout after it heard it, and the echo
// proves when that was at the earliest. So the lease lapses at 0.7 HangTimeout after the stamp
// that was echoed, whatever is still queued in some buffer.
//
// One gap is left on purpose. Against a host that answers nothing the claim does not wait for
// the lease, and so a link that returns in the very moment of the claim, before its host saw
// that it was dead, lets two speak until the higher epoch arrives, a few milliseconds later (or,
// if the daemon was stopped just then as well, for what is left of the lease). The bytes stay
// whole, for a backup's claim makes it refuse the old epoch's records.
//
// A node that stood still, or whose link was dead, withholds voice and answers ("held") until
// an echo younger than that shows that its epoch is still the highest. If the peer is dead
// instead, it claims; but after HangTimeout or more of not looking, the peer may have served and
// died meanwhile, so the flows are given up rather than continued with other bytes (I4).
//
// # A network of their own
//
// Sessions may go by a network of the nodes' own (Config.Apart, "duplex-mi" in paper 004 §IV). Then
// a peer that is heard by them says nothing of the clients' network, neither of its link nor of
// this node's own; gossip, clones and ARP do. Who hears nothing there for SuspectAfter asks the
// peer's host and the gateway, all the time. What a half of a pair does with the session up:
//
//	neither A nor G for a while            falls silent, and says so: LinkDead
//	the same, though the peer is heard     the same after HangTimeout: what goes out is lost
//	the same, on both halves               both wait: nobody can be served, and nothing is lost
//	A, no G                                nothing: the gateway is out
//	G, the peer says LinkDead              claims, but for a moment after its own link is back
//	G, no A, for HangTimeout               falls silent and says so, if the peer answers for the
//	                                       address: its clones do not come, so the pair cannot work
//
// LinkDead is said with the gate closed and the address disowned, so the claim waits for nothing
// and needs no fence command. It is called off when the peer takes its word back, and the peer
// stays held until an echo shows that it was heard. A gateway that never answered condemns no
// link of a node that serves; one without flows that has seen nobody there leaves the start to a
// node that may have. R that the nodes' own network tells is acted upon when the clients' one shows life, too;
// a refused connect is R by the network of the latest session only.
// Without the session all is as above, but that a host is not dead whose kernel takes a connect:
// where a session could be, a daemon that stands still is told from a host that is gone.
//
// # Witness and fence command
//
// Without either, two hosts that both reach the gateway but not each other cannot be told from
// two deaths: both claim, and on heal the lower epoch fences itself. With them a claim goes
// through up to three gates, and is called off by a sign of life before the first is passed:
//
//	decided ─► AskGrant ─► Granted ─► FencePeer ─► PeerFenced ─► WriteEpoch ─► EpochWritten ─► carried out
//	              │ no answer in time,     │ fails
//	              ▼ Denied                 ▼
//	          called off, tried anew with another number
//
// The witness grants a number only above all that it granted, and only to a node that knows of
// the latest claim: in a pair, whose epoch is not below it. So of the two halves of a pair one
// is granted the next claim, and the other is told (Superseded) and fences itself. The witness
// answers when the other one has reported that it is silent, or is not heard by the witness
// either; so no two speak at a time, and a crash costs no waiting. With the grant in hand it no
// longer says that it is in the pair, so that a half whose link comes back stays held. A node
// that was granted a number and died before it used it costs the other one its flows, for it
// may have used it; where both form a pair again, the witness sees that it was not used, and
// forgets it.
//
// A node without flows is denied while any other one serves as far as the witness has heard.
// One gap is left: a host that serves alone, and is cut off from the other and from the witness
// but not from the clients, goes on; the witness takes it for dead then, and lets the other one
// serve new connections. Falling silent instead would make the witness' death one of the service.
//
// A fence command is run where a claim rests on silence, not on R: what is dead need not be
// powered off. Without a witness the owner is ahead by HangTimeout, so that two healthy hosts do
// not power each other off.
package takeover
