package proxy

import (
	"io"
	"math"
	"net"
	"time"
)

// outlet is the way to a client. It ends the connection of one that takes nothing: its reply would
// be kept here, and a connection to the upstream with it, for as long as it likes. Only the host
// that answers the client does that; a standby waits. It belongs to the connection's goroutine.
type outlet struct {
	flow    *flow
	written uint64    // bytes of the connection's stream so far
	until   time.Time // the deadline of writes
	queued  int       // bytes without acknowledgment when a write timed out last
}

// Write implements io.Writer.
func (o *outlet) Write(b []byte) (n int, err error) {
	err = o.try(func() (int64, error) {
		k, err := o.flow.conn.Write(b[n:])
		n += k
		return int64(k), err
	})
	return n, err
}

// buffers writes all of them at once.
func (o *outlet) buffers(all net.Buffers) error {
	return o.try(func() (int64, error) { return all.WriteTo(o.flow.conn) }) // what was written is taken off
}

// spill writes a body, by sendfile if it is on disk.
func (o *outlet) spill(s *spill) error {
	if s.disk == nil {
		_, err := o.Write(s.mem)
		return err
	}
	at := int64(0)
	return o.try(func() (int64, error) {
		if _, err := s.disk.Seek(at, io.SeekStart); err != nil {
			return 0, s.depot.fail("seek", err)
		}
		n, err := o.flow.conn.ReadFrom(io.LimitReader(s.disk, s.size-at))
		if at += n; err == nil && at < s.size {
			err = s.depot.fail("read", io.ErrUnexpectedEOF)
		}
		return n, err
	})
}

// try calls write until all is written, an error other than a timeout comes, or the client has
// taken nothing for WriteTimeout; that is found out within twice the time.
func (o *outlet) try(write func() (int64, error)) error {
	conn, patience := o.flow.conn, o.flow.s.cfg().WriteTimeout
	o.queued = math.MaxInt
	for {
		if now := time.Now(); o.until.Sub(now) < patience-patience/16 { // not at each call: it costs
			o.until = now.Add(patience)
			conn.SetWriteDeadline(o.until) // fails on a closed connection only
		}
		n, err := write()
		o.written += uint64(n)
		if !isTimeout(err) {
			return err
		}
		before := o.queued
		if o.queued = outQueue(conn); n == 0 && o.queued >= before && o.flow.answers() {
			o.flow.s.cfg().Log.Info("a client takes nothing; its connection is ended", "flow", o.flow.id, "for", patience)
			return err
		}
	}
}

// answers reports whether the client's replies are this host's to give, not only to keep.
func (f *flow) answers() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.duty == Executor || f.promoted || f.taken
}
