// Package replication is what two hosts say to each other about their flows: the wire format
// of the session, the queues of what is still to be said, and the keys that let only the
// holders of the shared secret say it (DESIGN §4, "Sessions").
//
// The package is pure over io: it opens no socket, reads no clock and starts no goroutine.
// replication/link carries it over TCP.
//
// # Session
//
// A session is two TCP connections, control and bulk, both TLS 1.3 with the cluster key on
// either side. Records travel on bulk, all else on control, so that heartbeats and
// confirmations never stand behind a reply of 100 MB. Each connection begins with one Hello
// in each direction; both name the group of nodes that the session is about, for two hosts have
// a session for each group that they share. A third kind of connection, a query, ends there. All
// integers are big endian.
//
// # Frames
//
// docs/protocol.md has the header and the table of all frames, which a test holds against this
// package. A body that is too long, too short, has bytes left over or holds a value out of range
// is ErrFrame, a header of another version ErrVersion; either ends the connection.
//
// # Resuming
//
// Types 3 to 7 carry a number that grows by one from frame to frame for the life of the
// sending process. The sender keeps each until a Heartbeat or Hello of the peer says "got":
// all below that number arrived. After a reconnect the rest is sent again, and the receiver
// passes over what it has. Streams are numbered likewise; a record that has no Stored when
// the connection breaks is sent again whole under its old stream number, which is harmless
// because storing is idempotent by the record's key. A new boot ID forgets all numbers.
package replication
