// Package address carries an advertised address on one Ethernet interface: it makes the
// kernel hold the address without ever answering for it, answers ARP for it from the daemon
// while this host owns it, announces it, and asks who else is there. It decides nothing;
// package takeover does.
//
// Why the daemon answers and not the kernel: a host whose daemon has died would go on
// answering for an address that it can no longer serve. Answered by the daemon, and only
// while its lease holds, a reply for the advertised address proves a live owner.
//
// A stopped process that is continued finds old frames in its socket. The kernel's receive
// time tells them: whatever is older than MaxAge is neither answered nor taken as a sign of
// anything, except a claim of an address that this host owns, which is news however old.
//
// Probes are ARP requests of this package's own and answers are read by it too, so the
// kernel's neighbour cache, which may believe in a dead host for a minute, plays no part.
//
// Everything here acts on the network namespace of the thread that calls Setup, Open or the
// look-ups; what Open returned may then be used from anywhere. ARP only: IPv6 addresses can
// be set up, but are not yet answered for.
package address
