// Package inspect judges whether a host, its network and the other nodes are as ftgw needs them:
// facts go in, findings with remedies come out. It looks at nothing itself; package host and other
// adapters do, and ftgw check puts the facts together.
//
// What was not looked at, for want of rights above all, is a nil in the facts and a finding of
// the level skipped, never ok.
package inspect
