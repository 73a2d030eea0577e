// Package rules puts the packets of advertised addresses under ftgw's hand: one nftables
// table that queues them, drops what nobody speaks for, and keeps the lease; and a routing
// rule as a second fence, for the day somebody flushes the table (DESIGN §3, "Rules and
// fences").
//
//	            prerouting -300            output -300           postrouting 300
//	client ──► to V:port ─► in queue      from V ─► out queue ─► from V, no lease ─► dropped
//	peer ────► to own:F ──► in queue        (mark Send passes)      (mark or not)
//	self ────► mark Local passes
//
// The table outlives the daemon on purpose: with nobody to answer the queues and to renew the
// lease it drops everything from and to V, instead of letting the kernel answer on its own.
package rules
