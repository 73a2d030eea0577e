package proxy

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"hash"
	"io"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ftgw/ftgw/config"
	"github.com/ftgw/ftgw/replication"
)

// Routes in mode deferred: of a long reply the peer gets the head and, before each piece goes out, the
// digest of the body up to that piece's end. It executes the request only if it must go on with the
// reply (paper 004 §III.B, at its end).
//
//	executor                                 peer's standby
//	head      ── KindPart ────────────────►  writes it to its own socket
//	piece     ── KindDigest ──────────────►  notes length and SHA-256; up to where the client has
//	  └─► client                             acknowledged, writes zeros to its own socket
//	... and once the client has all:
//	          ── KindReply, empty ────────►  the last zeros; only that answers the request
//
// So both kernels are at the same place of the stream, and the zeros are for ever behind the client's
// acknowledgment: they are never sent. A host that takes over in between executes the request again. As
// after parts (prefix.go) it reads past what went out, which must have the digest that was noted, and
// what its socket has no byte of goes out then, from memory. So no client gets bytes of two replies; what
// rests on the operator's promise is that it gets the rest at all.
//
// Where the executor does not speak for the flow the peer needs the bytes, so the reply is logged. Nor
// is a reply deferred that has one piece only, or whose length the upstream does not say.

// passed is what a record of KindDigest says.
type passed struct {
	length uint64            // of the body that went out, or goes out now
	acked  uint64            // bytes of the connection's stream that the client has acknowledged
	sum    [sha256.Size]byte // of the body that far
}

const passedSize = 16 + sha256.Size

func (p passed) bytes() []byte {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, passedSize), p.length)
	return append(binary.BigEndian.AppendUint64(b, p.acked), p.sum[:]...)
}

func parsePassed(b []byte) (p passed, err error) {
	if len(b) != passedSize {
		return p, errors.New("proxy: a digest has another size")
	}
	p.length, p.acked = binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])
	copy(p.sum[:], b[16:])
	return p, nil
}

// deferring reports whether a reply goes out so. If it does, it is counted until it is over.
func (x *executor) deferring(r *request, p *response, framing int64) bool {
	if x.row.mode != config.Deferred || p.bodiless(r.method) || framing <= x.piece() {
		return false
	}
	s := x.flow.s
	s.count.deferring.Add(1) // before it is asked: who forbids it then looks at the number
	if !s.cfg().MayDefer(x.flow.id) {
		s.count.deferring.Add(-1)
		return false
	}
	return true
}

// outline sends a reply of which the peer gets the digests; see taker.
func (x *executor) outline(in io.Reader, r *request, p *response, framing int64) (*wire, error) {
	s := x.flow.s
	end := x.offset()
	head := bytes.NewBuffer(s.depot.pool.getSmall())
	x.streamHead(head, r, p, framing)
	err := x.part(&wire{pool: &s.depot.pool, head: head.Bytes(), status: p.status})
	for sum, length := sha256.New(), int64(0); err == nil && length < framing; {
		var body *spill
		if body, err = x.some(io.TeeReader(in, sum), min(x.piece(), framing-length)); err != nil {
			err = x.cut(framing, err)
			break
		}
		length += body.Len()
		err = x.passPiece(&wire{body: body, status: p.status}, uint64(length), sum)
	}
	switch {
	case err == nil:
		s.count.delivered.Add(1)
		s.count.deferred.Add(1)
		rec := Record{RecordKey: x.key(replication.KindReply), RequestEnd: end, Close: r.close}
		ctx := x.ctx
		x.lagAcked(func() error { return s.log.Store(ctx, rec, &wire{}) })
	case errors.Is(err, errCut): // the end of the connection is to stand at the same place on both hosts
		x.lagAcked(func() error { return nil })
	default:
		s.count.deferring.Add(-1)
	}
	return nil, err
}

// passPiece has the digest of a piece stored, then writes the piece, and frees it.
func (x *executor) passPiece(w *wire, length uint64, sum hash.Hash) error {
	note := passed{length: length, acked: tcpInfo(x.flow.conn).Bytes_acked}
	sum.Sum(note.sum[:0])
	rec := Record{RecordKey: x.key(replication.KindDigest), Size: passedSize}
	return x.letOut(rec, bytes.NewReader(note.bytes()), w)
}

// lagAcked has then done when the client has acknowledged all that was written, which ends a deferred
// reply.
func (x *executor) lagAcked(then func() error) {
	s, f, ctx, to := x.flow.s, x.flow, x.ctx, x.flow.client.written
	look := make(chan struct{}, 1)
	x.lag(look, func() error {
		if err := f.acknowledged(ctx, to, look); err != nil {
			return err
		}
		return then()
	}, func() { s.count.deferring.Add(-1) })
}

// acknowledged waits until the client has acknowledged that many bytes of the stream. A token in look
// says that somebody waits for it; else it looks rarely, for slow clients are many.
func (f *flow) acknowledged(ctx context.Context, to uint64, look <-chan struct{}) error {
	const least, soon = time.Millisecond, 10 * time.Millisecond
	var last uint64
	wait, most, since := least, 20*soon, time.Now()
	for {
		switch info := tcpInfo(f.conn); {
		case info.Bytes_acked >= to:
			return nil
		case info.State == 0 || info.State == unix.BPF_TCP_CLOSE:
			return errDropped
		case info.Bytes_acked > last:
			last, since = info.Bytes_acked, time.Now()
		case time.Since(since) > f.s.cfg().WriteTimeout:
			return errDropped
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-look:
			wait, most = least, soon
		case <-time.After(wait):
			wait = min(2*wait, most)
		}
	}
}

var filling [64 << 10]byte

// fill writes to the standby's socket, up to offset to of the stream, other bytes in the place of those
// of a deferred reply, which the client has acknowledged.
func (f *flow) fill(to uint64) error {
	p := f.prefix
	if p.wrong != nil {
		return p.wrong
	}
	for to = min(to, p.end()); f.client.written < to; {
		if _, err := f.client.Write(filling[:min(to-f.client.written, uint64(len(filling)))]); err != nil {
			return err
		}
	}
	return nil
}

// filled takes a record about a reply that may be deferred, as the standby, and brings its socket to the
// place where the executor's is, or to the client's acknowledgment.
func (f *flow) filled(rec stored) error {
	switch {
	case rec.Kind == replication.KindDigest:
		note, err := parsePassed(rec.body.first(passedSize))
		f.prefix = f.prefix.pass(note, err, f.client.written)
		return f.fill(note.acked)
	case f.prefix.deferred() && (rec.Kind == replication.KindReply || rec.Kind == replication.KindClose):
		return f.fill(f.prefix.end())
	}
	return nil
}
