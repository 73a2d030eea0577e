// Package firewall finds out what other people's nftables rules would do to ftgw's packets: it
// reads the ruleset, which changes nothing, and follows each kind of packet through it.
//
// Of a packet only some things are known: a client's address, say, is not. So a comparison has
// three outcomes, yes, no and perhaps. Rules that perhaps match and drop are a blocklist's
// business; what counts is that a packet of which nothing else is known reaches no verdict but
// drop, or only perhaps another one.
//
//	packet ──► base chain ──► rule: matches? ──no──► next rule … end: the chain's policy
//	                            │yes: its verdict     (jump, goto and return as in nft)
//	                            └perhaps: note an accept, go on
//
// Matches that are not understood, among them most of iptables' extensions, are perhaps. Chains of
// type nat, other families than IPv4's, rules of iptables-legacy and of eBPF are not followed.
package firewall
