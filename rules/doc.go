// Package rules puts the packets of advertised addresses under ftgw's hand: an nftables
// table that queues them, drops what nobody speaks for, and keeps the lease; and a routing
// rule as a second fence, for the day somebody flushes the table (DESIGN §3, "Rules and
// fences").
//
//	            prerouting -300            output -300           postrouting 300
//	client ──► to V:port ─► in queue      from V ─► out queue ─► from V, no lease ─► dropped
//	peer ────► to own:F ──► in queue        (mark Send passes)      (mark or not)
//	self ────► mark Local passes
//
// Between postrouting and the wire a packet may still wait, for the neighbour's MAC address,
// until the lease is over. So a second table asks for the lease once more at the egress hook
// of the service's interface, where the kernel has one. Behind it are only the interface's
// queueing discipline, which the kernel empties when the carrier is lost but which delays by
// as much as it shapes, and the hardware.
//
// The table outlives the daemon on purpose: with nobody to answer the queues and to renew the
// lease it drops everything from and to V, instead of letting the kernel answer on its own.
package rules
