package tap

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/ftgw/ftgw/internal/lab/capture"
)

// Numbers of the kernel's nfnetlink_log interface (linux/netfilter/nfnetlink_log.h).
const (
	msgPacket = 0
	msgConfig = 1

	cfgCommand  = 1 // attributes of a config message
	cfgMode     = 2
	cfgTimeout  = 4 // hundredths of a second
	cfgQThresh  = 5
	cfgFlags    = 6
	commandBind = 1
	copyPacket  = 2
	flagSeq     = 1

	attrTimestamp = 3 // attributes of a packet message
	attrPayload   = 9
	attrSeq       = 12

	snapLength = 128      // bytes of each packet, any header fits
	readBuffer = 32 << 20 // bytes
	drainTime  = 200 * time.Millisecond
)

// bind asks for the packets of the group, each at once and numbered.
func (t *Tap) bind(group uint16) error {
	// Forced where allowed, else what the system permits: losses show in the sequence numbers.
	if raw, err := t.conn.SyscallConn(); err == nil {
		raw.Control(func(fd uintptr) {
			if unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, readBuffer) != nil {
				unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, readBuffer)
			}
		})
	}
	mode := make([]byte, 6) // big-endian length, mode, padding
	binary.BigEndian.PutUint32(mode, snapLength)
	mode[4] = copyPacket
	for _, a := range []netlink.Attribute{
		{Type: cfgCommand, Data: []byte{commandBind}},
		{Type: cfgMode, Data: mode},
		{Type: cfgQThresh, Data: binary.BigEndian.AppendUint32(nil, 1)},
		{Type: cfgTimeout, Data: binary.BigEndian.AppendUint32(nil, 1)},
		{Type: cfgFlags, Data: binary.BigEndian.AppendUint16(nil, flagSeq)},
	} {
		data, err := netlink.MarshalAttributes([]netlink.Attribute{a})
		if err != nil {
			return err
		}
		_, err = t.conn.Execute(netlink.Message{
			Header: netlink.Header{Type: unix.NFNL_SUBSYS_ULOG<<8 | msgConfig, Flags: netlink.Request | netlink.Acknowledge},
			Data:   append([]byte{unix.AF_UNSPEC, unix.NFNETLINK_V0, byte(group >> 8), byte(group)}, data...),
		})
		if err != nil {
			return fmt.Errorf("configure NFLOG group %d, attribute %d: %w", group, a.Type, err)
		}
	}
	return nil
}

// drain lets the reader end when nothing has come for a while.
func (t *Tap) drain() error { return t.conn.SetReadDeadline(time.Now().Add(drainTime)) }

// add takes in one packet message.
func (t *Tap) add(m netlink.Message) {
	const head = 4 // struct nfgenmsg
	if m.Header.Type != unix.NFNL_SUBSYS_ULOG<<8|msgPacket || len(m.Data) < head {
		return
	}
	ad, err := netlink.NewAttributeDecoder(m.Data[head:])
	if err != nil {
		t.trace.Other++
		return
	}
	ad.ByteOrder = binary.BigEndian
	var segment capture.Segment
	var at time.Time
	whole := false
	for ad.Next() {
		switch ad.Type() {
		case attrTimestamp:
			if b := ad.Bytes(); len(b) == 16 {
				at = time.Unix(int64(binary.BigEndian.Uint64(b)), int64(binary.BigEndian.Uint64(b[8:]))*1000)
			}
		case attrSeq:
			seq := ad.Uint32()
			t.trace.Dropped += int(seq - t.next)
			t.next = seq + 1
		case attrPayload:
			segment, whole = capture.ParsePacket(ad.Bytes())
		}
	}
	if ad.Err() != nil || !whole || at.IsZero() {
		t.trace.Other++
		return
	}
	segment.Time = at
	t.trace.Segments = append(t.trace.Segments, segment)
}
