package proxy

import (
	"context"
	"fmt"
	"time"

	"github.com/ftgw/ftgw/internal/defect"
	"github.com/ftgw/ftgw/replication"
)

// standby holds what the client sends and writes what was stored, until a record closes the
// connection, this host is promoted, or the connection is lost.
func (f *flow) standby(ctx context.Context) ending {
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer defect.Guard()
		f.receive()
		f.awaitReset()
	}()
	var stop func() // ends the shadow, which begins when the service has routes for it
	end := f.replay(ctx, func() {
		if stop == nil {
			stop = f.mirror(ctx)
		}
	})
	if end == reset {
		abort(f.conn)
	} else {
		f.conn.SetReadDeadline(time.Unix(1, 0)) // ends the reader, losing nothing
	}
	<-done
	if stop != nil {
		stop()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.lost {
		return reset
	}
	if f.taken {
		f.duty = Executor
		if !f.silent {
			setRTO(f.conn, rtoMinSpeaking)
		}
	}
	return end
}

// receive reads the client's stream into the held suffix. The buffer is small while the client
// is quiet: most connections idle here.
func (f *flow) receive() {
	small := make([]byte, 2<<10)
	large := []byte(nil)
	defer func() {
		if large != nil {
			f.s.depot.pool.putLarge(large)
		}
	}()
	buf := small
	for {
		n, err := f.conn.Read(buf)
		f.mu.Lock()
		spilled := f.hold(buf[:n])
		f.eof = isEOF(err)
		total, shadow := f.held.end, f.shadow
		f.mu.Unlock()
		shadow.poke()
		if n > 0 || isEOF(err) {
			f.s.flows.Received(f.id, total, isEOF(err))
		}
		switch {
		case spilled != nil:
			f.s.cfg().Log.Error("standby cannot hold a request; the flow is unprotected", "flow", f.id, "error", spilled)
			f.lose()
			abort(f.conn)
			return
		case isEOF(err) || isTimeout(err):
			return
		case err != nil:
			f.lose()
			return
		}
		if n == len(buf) && large == nil {
			large = f.s.depot.pool.getLarge()
			buf = large
		} else if n < len(small) && large != nil {
			f.s.depot.pool.putLarge(large)
			buf, large = small, nil
		}
	}
}

// awaitReset waits, once the client has ended its side, for the connection's reset, which no read would
// show: nothing may ever be written here that could fail instead.
func (f *flow) awaitReset() {
	raw, err := f.conn.SyscallConn()
	if err == nil && raw.Read(func(fd uintptr) bool { return happened(int(fd), 0) }) == nil {
		f.lose()
	}
}

// hold appends to the held suffix. The caller holds f.mu, which is let go during a write to disk: that
// may take long, and a claim waits for the lock of each flow. Nobody else appends.
func (f *flow) hold(p []byte) error {
	h := &f.held
	disk := h.disk
	if disk == nil || h.start > h.end {
		return h.append(p)
	}
	at := int64(h.end - h.diskBase)
	f.mu.Unlock()
	_, err := disk.WriteAt(p, at)
	f.mu.Lock()
	switch {
	case h.disk != disk: // a record ran ahead of p meanwhile, and the file was closed
		return h.append(p)
	case err != nil:
		return h.depot.fail("write", err)
	}
	h.end += uint64(len(p))
	return nil
}

// replay writes stored records in order. It calls awake at first and whenever something may have
// changed.
func (f *flow) replay(ctx context.Context, awake func()) ending {
	for {
		awake()
		f.mu.Lock()
		rec, ok := f.out.take()
		if ok && rec.Kind.Gives() {
			f.taken, f.given = true, false
			if f.silent = rec.Kind == replication.KindMove; f.silent {
				f.was = attempts{rec.Index, rec.Attempt, true}
			}
		}
		promoted, lost, hole := f.promoted || f.taken, f.lost, len(f.out.waiting) > 0
		f.mu.Unlock()
		switch {
		case lost || ctx.Err() != nil:
			rec.body.release()
			return reset
		case ok:
			if err := f.deliver(rec); err != nil {
				return reset
			}
			if rec.Close || rec.Kind == replication.KindClose {
				return orderly
			}
		case promoted && hole:
			// A later reply was stored but not this one: the log did not wait.
			f.s.count.failed.Add(1)
			f.s.cfg().Log.Error("stored replies have a hole; dropping the flow", "flow", f.id)
			return reset
		case promoted:
			return proceed
		default:
			select {
			case <-f.wake:
			case <-ctx.Done():
			}
		}
	}
}

// deliver writes one stored record and frees it.
func (f *flow) deliver(rec stored) error {
	defer rec.body.release()
	deferred, err := f.prefix.deferred(), f.filled(rec)
	if err == nil && rec.body != nil && rec.Kind != replication.KindDigest {
		err = f.client.spill(rec.body)
	}
	if err != nil {
		f.lose()
		return err
	}
	switch rec.Kind {
	case replication.KindPart:
		f.prefix = f.prefix.add(rec.body)
	case replication.KindReply:
		f.prefix = nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case rec.Kind != replication.KindReply || deferred: // of such a one the client has all
	case f.promoted:
		f.replayed(rec.body.row)
	default:
		f.ends[f.nends%len(f.ends)] = f.client.written
		f.tickets[f.nends%len(f.ends)] = rec.body.row
		f.nends++
	}
	return nil
}

// commit stores one record of the flow.
func (f *flow) commit(rec stored) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.out.has(rec.Record):
		rec.body.release()
		return nil
	case f.lost || f.promoted || f.taken || f.duty == Executor:
		return fmt.Errorf("proxy: store record %d of %v: %w", rec.Index, f.id, ErrNotHeld)
	}
	switch rec.Kind {
	case replication.KindPart, replication.KindDigest:
		f.parted(rec)
	case replication.KindReply:
		f.s.ledger.keep(f, rec)
		f.held.trim(rec.RequestEnd)
		f.replied(rec.Record)
		f.settled = time.Now()
	case replication.KindHandOver, replication.KindMove:
		f.held.trim(rec.RequestEnd)
	}
	f.out.put(rec)
	f.signal()
	return nil
}
