package proxy

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

const (
	maxDrain      = 64 << 20 // bytes read from a client that has every reply
	drainPatience = 3        // times DrainTimeout in which it must acknowledge something, whatever it sends
)

// closing shuts the connection down and reads until the client has closed as well: a close with
// unread bytes, or bytes that arrive after it, would be answered by RST and take the unsent
// rest of a reply along. It is bounded by silence, by the time in which nothing is acknowledged and,
// once everything is, in bytes. total and eof say how far the client's stream was read.
//
// Then it waits until the client has acknowledged everything: the kernel gives up a connection that nobody
// holds any more after two seconds without an acknowledgment, since the timer's bound is low (setRTO).
func (f *flow) closing(ctx context.Context, total uint64, eof bool) {
	if f.conn.CloseWrite() == nil && (eof || f.drain(ctx, total)) {
		f.acknowledged(ctx, f.client.written, nil) // or it is gone, or silent for too long
	}
}

// drain reads to the client's end, and reports whether it has come to that.
func (f *flow) drain(ctx context.Context, total uint64) (eof bool) {
	buf := f.s.depot.pool.getLarge()
	defer f.s.depot.pool.putLarge(buf)
	budget, queued := int64(maxDrain), outQueue(f.conn)
	quiet := f.s.cfg().DrainTimeout
	for last := time.Now().Add(drainPatience * quiet); ctx.Err() == nil && time.Now().Before(last); {
		f.conn.SetReadDeadline(time.Now().Add(quiet))
		n, err := f.conn.Read(buf)
		total += uint64(n)
		if n > 0 || isEOF(err) {
			f.s.flows.Received(f.id, total, isEOF(err))
		}
		before := queued
		if queued = outQueue(f.conn); queued == 0 {
			budget -= int64(n)
		}
		if queued < before {
			last = time.Now().Add(drainPatience * quiet)
		}
		if isTimeout(err) && queued < before {
			continue // a slow client still reads
		}
		if err != nil || budget < 0 {
			return isEOF(err)
		}
	}
	return false
}

// abort makes the close an RST; the packet layer keeps it from leaving where it must not. A
// blocked read or write ends.
func abort(conn *net.TCPConn) {
	conn.SetLinger(0) // fails only on a closed connection
	conn.Close()
}

func isEOF(err error) bool     { return errors.Is(err, io.EOF) }
func isTimeout(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }

// outQueue returns how many bytes written to conn the client has not acknowledged, a FIN
// included; 0 when unknown.
func outQueue(conn *net.TCPConn) (n int) {
	control(conn, func(fd int) error {
		var err error
		n, err = unix.IoctlGetInt(fd, unix.SIOCOUTQ)
		return err
	})
	return n
}

// tcpInfo returns the kernel's view of conn; zero when the connection is gone.
func tcpInfo(conn *net.TCPConn) (info unix.TCPInfo) {
	control(conn, func(fd int) error {
		got, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
		if err == nil {
			info = *got
		}
		return err
	})
	return info
}
