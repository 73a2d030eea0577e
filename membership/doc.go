// Package membership tells which nodes' daemons are heard by gossip, on
// hashicorp/memberlist.
//
// What it says is evidence, never a verdict: "dead" here means that the peer's process did
// not answer for about 100 ms, which a process with a few busy threads does too. Whoever
// acts on it needs a second, independent sign (package takeover).
//
// Three things memberlist does not do by itself are added. A partition between two nodes
// heals only by joining again, so the configured peers that are not alive are joined anew
// every RejoinEvery. A restart that is faster than detection shows only in the node's Meta,
// so that holds a boot ID. And a node that leaves looks like one that dies, so it says
// "leaving" in a message of its own first.
package membership
