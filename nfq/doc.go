// Package nfq carries packets between the kernel's NFQUEUE and a handler, in batches, and
// sends packets of its own making through raw sockets. It decides nothing: every packet goes
// to the handler, and what the handler leaves undecided is dropped (invariant I7).
//
// The socket is opened by go-nfqueue; the settings, the reading and the verdicts are done
// here, for three reasons: the rules outlive the daemon, so a queue is often opened while
// packets already wait for it, and then the copy mode must be set last or replies to the
// settings drown in packets; batches need one system call for many packets; and a verdict
// must cost no allocation.
package nfq
