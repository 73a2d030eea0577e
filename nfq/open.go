package nfq

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"

	nfqueue "github.com/florianl/go-nfqueue/v2"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

const (
	defaultMaxLen = 4096     // packets
	readBuffer    = 32 << 20 // bytes asked for; unprivileged user namespaces get less
	writeBuffer   = 4 << 20  // bytes; a verdict larger than the buffer fails with EMSGSIZE
)

// Open binds the queue at once, so that packets wait for Run instead of being lost. It must
// run in the network namespace of the queue (later calls may run anywhere) and needs
// CAP_NET_ADMIN there.
func Open(cfg Config) (Queue, error) { return open(cfg, readBuffer) }

// open asks for a read buffer of the given size in bytes.
func open(cfg Config, readBuffer int) (Queue, error) {
	if cfg.MaxLen == 0 {
		cfg.MaxLen = defaultMaxLen
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	lib, err := nfqueue.Open(&nfqueue.Config{NfQueue: cfg.Number, MaxQueueLen: cfg.MaxLen})
	if err != nil {
		return nil, fmt.Errorf("open queue %d: netlink socket: %w (needs a kernel with NFNETLINK_QUEUE)", cfg.Number, err)
	}
	q := &queue{cfg: cfg, con: lib.Con, batch: newBatch()}
	if err := q.setUp(readBuffer); err != nil {
		q.Close()
		return nil, fmt.Errorf("open queue %d: %w", cfg.Number, err)
	}
	return q, nil
}

func (q *queue) setUp(readBuffer int) error {
	raw, err := q.con.SyscallConn()
	if err != nil {
		return fmt.Errorf("descriptor: %w", err)
	}
	q.raw = raw
	if err := raw.Control(func(fd uintptr) { q.fd = int(fd) }); err != nil {
		return fmt.Errorf("descriptor: %w", err)
	}
	// Opened here, because the file shows the namespace of the thread that opens it.
	q.table, err = os.Open("/proc/thread-self/net/netfilter/nfnetlink_queue")
	if err != nil {
		q.cfg.Log.Warn("kernel's queue counters cannot be read", "queue", q.cfg.Number, "error", err)
	}
	if err := q.setBuffers(readBuffer); err != nil {
		return err
	}
	return q.bind()
}

// setBuffers asks for large buffers and makes do with what the kernel grants. Half a dozen
// packets of 64 KiB fill the usual default; then a batch in our own memory is added to it.
func (q *queue) setBuffers(readBuffer int) error {
	err := errors.Join(q.con.SetReadBuffer(readBuffer), q.con.SetWriteBuffer(writeBuffer))
	if err != nil {
		return fmt.Errorf("set socket buffers: %w", err)
	}
	if err := q.con.SetOption(netlink.NoENOBUFS, true); err != nil {
		return fmt.Errorf("set NETLINK_NO_ENOBUFS: %w", err)
	}
	if q.granted.read, err = q.con.ReadBuffer(); err != nil {
		return fmt.Errorf("read back SO_RCVBUF: %w", err)
	}
	if q.granted.write, err = q.con.WriteBuffer(); err != nil {
		return fmt.Errorf("read back SO_SNDBUF: %w", err)
	}
	if q.granted.write < MaxPacket+slotHeadroom {
		return fmt.Errorf("send buffer of %d bytes cannot carry a verdict (raise net.core.wmem_max to %d)", q.granted.write, writeBuffer)
	}
	if q.granted.read < batchSize*slotSize {
		q.ahead = newBatch()
	}
	if q.granted.read < readBuffer {
		q.cfg.Log.Info("receive buffer is smaller than asked for", "queue", q.cfg.Number,
			"bytes", q.granted.read, "asked", readBuffer, "remedy", "raise net.core.rmem_max or grant CAP_NET_ADMIN in the initial user namespace")
	}
	return nil
}

// bind takes the queue and sets it up, the copy mode last: from then on packets arrive on
// the same socket, so that message asks for no acknowledgement.
func (q *queue) bind() error {
	err := q.execute([]netlink.Attribute{{Type: cfgCmd, Data: []byte{cfgCmdBind, 0, 0, unix.AF_UNSPEC}}})
	switch {
	case errors.Is(err, unix.EPERM) && q.listed():
		// The kernel says EPERM for both; its table tells them apart.
		return fmt.Errorf("bind: another process holds queue %d (stop it: another ftgw, or a program that uses the same NFQUEUE number): %w", q.cfg.Number, unix.EBUSY)
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("bind: %w (needs CAP_NET_ADMIN: run as root or grant it)", err)
	case err != nil:
		return fmt.Errorf("bind: %w", err)
	}
	flags := uint32(0)
	if q.cfg.GSO {
		flags |= nfqueue.NfQaCfgFlagGSO
	}
	err = q.execute([]netlink.Attribute{
		{Type: cfgFlags, Data: be32(flags)},
		{Type: cfgMask, Data: be32(nfqueue.NfQaCfgFlagGSO | nfqueue.NfQaCfgFlagFailOpen)},
		{Type: cfgMaxLen, Data: be32(q.cfg.MaxLen)},
	})
	if err != nil {
		return fmt.Errorf("set flags and length: %w", err)
	}
	copyAll := append(be32(0xffff), nfqueue.NfQnlCopyPacket)
	m, err := q.configMessage([]netlink.Attribute{{Type: cfgParams, Data: copyAll}})
	if err != nil {
		return err
	}
	if _, err := q.con.Send(m); err != nil {
		return fmt.Errorf("set copy mode: %w", err)
	}
	return nil
}

func (q *queue) execute(attrs []netlink.Attribute) error {
	m, err := q.configMessage(attrs)
	if err != nil {
		return err
	}
	m.Header.Flags |= netlink.Acknowledge
	_, err = q.con.Execute(m)
	return err
}

func (q *queue) configMessage(attrs []netlink.Attribute) (netlink.Message, error) {
	body, err := netlink.MarshalAttributes(attrs)
	if err != nil {
		return netlink.Message{}, fmt.Errorf("marshal settings: %w", err)
	}
	// struct nfgenmsg: family, version, queue number in network order.
	head := binary.BigEndian.AppendUint16([]byte{unix.AF_UNSPEC, 0}, q.cfg.Number)
	return netlink.Message{
		Header: netlink.Header{Type: msgConfig, Flags: netlink.Request},
		Data:   append(head, body...),
	}, nil
}

func be32(v uint32) []byte { return binary.BigEndian.AppendUint32(nil, v) }
