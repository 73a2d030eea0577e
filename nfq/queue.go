package nfq

import (
	"context"
	"log/slog"
)

// MaxPacket is the largest packet in bytes that the kernel can hand over whole and take back
// changed: a netlink attribute of 65,535 bytes with its header of four.
const MaxPacket = 65531

// Packet is one packet that waits in the kernel for a verdict.
type Packet struct {
	// ID is the kernel's number of the packet within its queue.
	ID uint32
	// Data is the packet from its IP header on. It is writable and belongs to the handler
	// until the handler returns; then the memory is used again. Changes take effect only when
	// the verdict's Data names them.
	Data []byte
	// Mark is the packet's firewall mark.
	Mark uint32
	// HWAddr is the source MAC address of an inbound packet; valid if HasHW.
	HWAddr [6]byte
	// HasHW says that HWAddr is set. Packets over the loopback have a zero address.
	HasHW bool
	// In is true for packets from prerouting or input, false for those from output.
	In bool
	// PartialChecksum (CSUMNOTREADY) says that the transport checksum covers only the pseudo
	// header so far. Unchanged packets are completed by the kernel; a changed one needs a full
	// checksum from the handler.
	PartialChecksum bool
	// GSO says that the packet is larger than the MTU and is cut into segments later.
	GSO bool
	// Unverified (CSUM_NOTVERIFIED) says that nobody has checked the transport checksum of
	// this inbound packet yet.
	Unverified bool
	// Truncated says that Data lacks the packet's end (it was longer than MaxPacket). It can
	// be accepted unchanged or dropped, not changed.
	Truncated bool
}

// Verdict is the handler's decision about one packet. The zero Verdict drops.
type Verdict struct {
	// Accept lets the packet go on; false drops it.
	Accept bool
	// Data, if not nil, replaces the whole packet; it may be Packet.Data itself. Its length is
	// the new packet's, at most MaxPacket.
	Data []byte
	// Mark, if not 0, becomes the packet's mark; on output the kernel then routes it anew.
	Mark uint32
}

// Handler decides a batch of packets, which are in the order of their arrival. It calls
// verdict(i, v) for packets[i]; the kernel has acted on it when the call returns. A second
// verdict for the same packet is ignored and counted; packets without one are dropped and
// counted when the handler returns or panics. verdict is for the handler's own goroutine and
// invalid after it has returned. packets, too, is used again. A small socket buffer (see
// Stats.ReadBuffer) is emptied at each verdict, so verdicts should come one by one.
type Handler func(packets []Packet, verdict func(i int, v Verdict))

// Config describes a queue. The zero values of GSO, MaxLen and Log are usable.
type Config struct {
	// Number is the queue's number, as the rules have it.
	Number uint16
	// GSO asks for packets larger than the MTU as they are, instead of in segments.
	GSO bool
	// MaxLen is how many packets may wait in the kernel; 0 means 4096. Those beyond are
	// dropped by the kernel and counted.
	MaxLen uint32
	// Log receives what the operator should know; nil is silence.
	Log *slog.Logger
}

// Queue is one bound NFQUEUE.
type Queue interface {
	// Run hands packets to h until ctx ends or the queue is closed (it returns nil) or reading
	// fails (it returns an error); a panic of h is its own. One Run at a time. Packets wait in the kernel
	// while nobody runs.
	Run(ctx context.Context, h Handler) error
	// Close ends Run, waits for it and unbinds the queue; the kernel drops what waits. It
	// must not be called from the handler. Closing twice changes nothing.
	Close() error
	// Stats returns the counts since the queue was opened. It may be called at any time.
	Stats() Stats
}

// Stats counts packets since a queue was opened.
type Stats struct {
	Packets    uint64 // handed to the handler
	Batches    uint64 // calls of the handler
	Accepted   uint64 // accept verdicts, changed or not
	Changed    uint64 // accept verdicts with new data
	Dropped    uint64 // drop verdicts by the handler
	Unanswered uint64 // dropped because the handler gave no verdict
	Repeated   uint64 // second verdicts, ignored
	Unfit      uint64 // dropped because the verdict's data could not be taken (see Verdict.Data)
	Refused    uint64 // verdicts that the kernel refused: the packet was gone already
	Malformed  uint64 // netlink messages that could not be read; dropped if they had an id
	Overruns   uint64 // times the kernel reported a full socket buffer (ENOBUFS)

	// As the kernel counts, zero when its table cannot be read.
	Waiting     uint64 // packets without a verdict now
	QueueFull   uint64 // dropped by the kernel: MaxLen packets waited
	SocketFull  uint64 // dropped by the kernel: socket buffer full
	ReadBuffer  int    // socket's receive buffer in bytes, as the kernel granted it
	WriteBuffer int    // socket's send buffer in bytes, as the kernel granted it
}
