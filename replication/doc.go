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
// # Frame
//
// A frame is a header of 8 bytes and a body of at most MaxBody bytes:
//
//	offset  size  field
//	0       1     version (Version); any other is ErrVersion
//	1       1     type
//	2       2     flags, zero in this version
//	4       4     length of the body
//
// A body that is too long, too short, has bytes left over or holds a value out of range is
// ErrFrame, and ends the connection.
//
// # Shared forms
//
//	flow     family u8 (4 or 6), client address, client port u16, advertised address,
//	         advertised port u16, ISN u32
//	record   flow, index u64, kind u8 (1..7), interim u16   (which record: the key of idempotence)
//	string   length u8, bytes
//	name     length u16 (0..4096), bytes
//	bool     u8, 0 or 1
//
// # Types
//
//	type  name         conn     body
//	1     Hello        all      node string, boot 16 bytes, epoch u64, role u8, in sync bool,
//	                            config digest 32 bytes, timestamps u8, sack u8, scaling u8,
//	                            ecn u8, mtu u32, group name, wall i64, channel u8,
//	                            session u64, got u64, got boot 16 bytes
//	2     Heartbeat    control  seq u64, sent i64, echo i64, echo delay i64, epoch u64,
//	                            role u8, flags u8, got u64
//	3     Confirm      control  number u64, then each: flow, RcvNxt u32, edge u32, n u8 (0..3),
//	                            n times start u32, end u32
//	4     Stored       control  number u64, then each: stream u64, record, result u8,
//	                            RcvNxt u32, edge u32
//	5     Note         control  number u64, then each: flow, kind u8, reason u8
//	6     Epoch        control  number u64, epoch u64, against bool, owner string
//	7     Leave        control  number u64
//	16    RecordBegin  bulk     stream u64, epoch u64, record, request end u64, size u63,
//	                            close bool, attempt u8
//	17    RecordPart   bulk     stream u64, bytes (at least one)
//	18    RecordEnd    bulk     stream u64, CRC-32C u32 of all parts
//	19    RecordAbort  bulk     stream u64
//	32    GrantRequest witness  pair name, epoch u64, base u64, empty bool,
//	                            echo i64
//	33    GrantAnswer  witness  pair name, epoch u64, held u64, granted bool, against bool,
//	                            why string
//	34    Notice       witness  pair name, epoch u64
//	35    Silence      witness  pair name, epoch u64
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
