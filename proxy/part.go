package proxy

import (
	"bytes"
	"errors"
	"io"
	"math"
	"strconv"

	"github.com/ftgw/ftgw/config"
	"github.com/ftgw/ftgw/replication"
)

// Replies beyond MaxReply are the one exception to I1: they go out in parts, each as soon as it is
// stored (DESIGN §4). The first part has the head and MaxReply of the body, the others are
// smaller; in chunked coding each is one chunk. What remains is the reply's own record, and only
// that answers the request. A host that takes over in between executes the request again and
// goes on where the parts end, if the new reply begins as they do; see prefix.

// partBody is how much of the body a part has at most, after the first one: with its frame it fits
// into memory on both hosts. It doubles every 8192 parts, so that their ordinals suffice for a reply
// of 1 TiB.
const partBody = 512 << 10

var errParts = errors.New("the reply is too long even for parts")

// whole reads the body to its end, and sends what is too long for that in parts; see taker.
func (x *executor) whole(c UpstreamConn, r *request, p *response) (*wire, error) {
	in, framing := p.body(c.Reader()), p.framing(r)
	if x.prefix != nil {
		return x.goOn(in, r, p, framing)
	}
	if x.deferring(r, p, framing) {
		return x.outline(in, r, p, framing)
	}
	limit := x.cfg.MaxReply
	if framing == unframed { // a client could not tell a part from the whole
		limit = math.MaxInt64
	}
	body, err := x.some(in, limit)
	switch {
	case err != nil:
		return nil, err
	case body.Len() < limit:
		return x.makeWire(r, p, body), nil
	}
	head := bytes.NewBuffer(x.flow.s.depot.pool.getSmall())
	x.streamHead(head, r, p, framing)
	w := &wire{pool: &x.flow.s.depot.pool, head: head.Bytes(), body: body, status: p.status}
	w.enclose(framing)
	if err := x.part(w); err != nil {
		return nil, err
	}
	return x.rest(in, r, p, framing)
}

// goOn sends what the client lacks of a reply of which it has, or may have, a part.
func (x *executor) goOn(in io.Reader, r *request, p *response, framing int64) (*wire, error) {
	rest := x.flow.s.depot.newSpill()
	err := x.prefix.skip(in, p, framing, x.flow.client.written, rest)
	if errors.Is(err, errDiffers) && x.row.mode == config.Deferred {
		x.flow.s.demote(x.route, err.Error())
	}
	if err != nil {
		rest.release()
		return nil, x.cut(framing, err)
	}
	if rest.Len() > 0 {
		if err := x.part(&wire{body: rest, status: p.status}); err != nil {
			return nil, err
		}
	}
	return x.rest(in, r, p, framing)
}

// rest sends what comes from in, in parts as long as there is more, and returns the last piece.
func (x *executor) rest(in io.Reader, r *request, p *response, framing int64) (*wire, error) {
	for {
		size := x.piece()
		body, err := x.some(in, size)
		if err != nil {
			return nil, x.cut(framing, err)
		}
		w := &wire{pool: &x.flow.s.depot.pool, head: x.flow.s.depot.pool.getSmall(), body: body, status: p.status}
		if body.Len() < size {
			w.close = r.close
			if framing == chunked {
				before, after := chunkEnds(body.Len(), p.trailer)
				w.head, w.tail = append(w.head, before...), after
			}
			return w, nil
		}
		w.enclose(framing)
		if err := x.part(w); err != nil {
			return nil, err
		}
	}
}

// piece is how much of the body the next part has at most.
func (x *executor) piece() int64 { return min(x.cfg.MaxReply, partBody) << (x.parts >> 13) }

// some reads a piece of a body: less than limit only at its end.
func (x *executor) some(in io.Reader, limit int64) (*spill, error) {
	if x.parts == math.MaxUint16 {
		return nil, errParts
	}
	body := x.flow.s.depot.newPiece(limit)
	if _, err := body.ReadFrom(io.LimitReader(in, limit)); err != nil {
		body.release()
		return nil, err
	}
	return body, nil
}

// enclose frames the body, which is not the last, where it goes out in chunks.
func (w *wire) enclose(framing int64) {
	if framing == chunked {
		w.head = append(strconv.AppendInt(w.head, w.body.Len(), 16), "\r\n"...)
		w.tail = []byte("\r\n")
	}
}

// part stores a part, then writes it, and frees it.
func (x *executor) part(w *wire) error {
	return x.letOut(Record{RecordKey: x.key(replication.KindPart), Size: w.Len()}, w, w)
}

// letOut stores what the peer is to have of a part, then writes the part, and frees it.
func (x *executor) letOut(rec Record, said io.ReaderAt, w *wire) error {
	defer w.free()
	rec.Interim = x.parts
	x.parts++
	x.row.status = int16(w.status)
	x.row.bytes += w.Len()
	x.payload += w.carries()
	if err := x.store(rec, said); err != nil {
		return err
	}
	if err := w.writeTo(&x.flow.client); err != nil {
		return errDropped
	}
	return nil
}

// unsplice sees to it that nothing but the rest of a reply follows its beginning: an error of
// another kind ends the connection.
func (x *executor) unsplice(w *wire, err error) (*wire, error) {
	if x.prefix == nil || err == nil || errors.Is(err, errDropped) || errors.Is(err, errCut) {
		return w, err
	}
	return nil, x.cut(x.prefix.framing, err)
}
