// Package sockdiag looks at the kernel's own TCP sockets on the advertised address, and
// destroys those that an earlier run left behind.
//
// A flow lives as long as some socket of the kernel does: one that no process holds any more
// (an orphan in FIN_WAIT, a TIME_WAIT) still answers the client and still needs translating.
// No process lists these; NETLINK_SOCK_DIAG does (sock_diag(7)). The kernel does the
// filtering, because a busy host has many times more sockets than the address has.
//
// All functions act on the network namespace of the calling thread, need no more than
// CAP_NET_ADMIN in the user namespace that owns it (List needs nothing), and are safe for
// concurrent use.
package sockdiag
