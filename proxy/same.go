package proxy

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/ftgw/ftgw/config"
	"github.com/ftgw/ftgw/replication"
)

// Routes in mode sync-static: both hosts ask their own upstream, and of a reply only the head and
// the body's digest go to the peer (DESIGN §4, "Modes per route").
//
//	executor                       peer                      peer's shadow (shadow.go)
//	request ─────────────────────────────────────────────── request
//	reply, body B                                            reply, body B'
//	     │── KindSame: head, SHA-256 of B, size ───►│◄────────────┘
//	     │◄── stored ── status, sizes, digests and the request's end are equal: the peer writes
//	     │              that head and B' to its own socket
//	     │◄── refused ─ they are not, or the peer's upstream failed
//	     │    (or nothing within AgreeWithin)
//	     ▼
//	refused, or late: KindReply, as on a logged route; then the reply goes out
//
// So all that is in a head is the executor's: Date, Server, Via, ETag, Connection, and it cannot
// differ. What the peer has is what the executor would have stored, byte by byte, however their
// web servers differ. A client that asks with an ETag which only one web server knows gets
// replies that are not alike, and they are stored.

// ErrUnlike says that the peer has no such reply of its own: it is to be stored.
var ErrUnlike = errors.New("the peer has no such reply of its own")

// ErrDiffers says that the peer has made another reply.
var ErrDiffers = replication.ErrDiffers

const (
	sameFixed = sha256.Size + 8 // bytes of a likeness before the head
	maxSame   = sameFixed + 2*maxReplyHead
	sulk      = time.Second // so long nobody is asked after an answer was late, if none came for as long
)

// likeness is what a record of KindSame says of a reply.
type likeness struct {
	sum  [sha256.Size]byte // of the body
	size int64             // of the body
	head []byte
}

// parseLikeness reads such a record, of which it keeps the bytes.
func parseLikeness(b []byte) (l likeness, err error) {
	if len(b) < sameFixed {
		return l, io.ErrUnexpectedEOF
	}
	copy(l.sum[:], b)
	l.size, l.head = int64(binary.BigEndian.Uint64(b[sha256.Size:])), b[sameFixed:]
	if l.size < 0 || !bytes.HasSuffix(l.head, []byte("\r\n\r\n")) || statusOf(l.head) == 0 {
		return l, fmt.Errorf("proxy: a likeness of %d bytes is none", len(b))
	}
	return l, nil
}

// likened is the likeness of a reply as io.ReaderAt.
type likened struct {
	w    *wire
	text []byte // made when it is first read: a host that is alone needs none
}

func (s *likened) ReadAt(p []byte, off int64) (int, error) {
	if s.text == nil {
		sum, err := digest(s.w.content())
		if err != nil {
			return 0, err
		}
		s.text = binary.BigEndian.AppendUint64(sum[:], uint64(s.w.carries()))
		s.text = append(s.text, s.w.head[:s.w.bare]...)
	}
	return bytes.NewReader(s.text).ReadAt(p, off)
}

// content returns the reply's body.
func (w *wire) content() io.Reader {
	if w.body != nil {
		return io.NewSectionReader(w.body, 0, w.body.Len())
	}
	return bytes.NewReader(w.head[w.bare:])
}

func digest(r io.Reader) (sum [sha256.Size]byte, err error) {
	h := sha256.New()
	_, err = io.Copy(h, r)
	return [sha256.Size]byte(h.Sum(nil)), err
}

// mode returns the mode that a request has now, and its route. While the peer has other settings, what
// leans on its web server is stored.
func (x *executor) mode(r *request) (config.Mode, *route) {
	mode, route := x.cfg.inForce(r.method, r.path())
	if (mode == config.Static || mode == config.SyncStatic) && !x.inherited() && !x.flow.s.mayLean(x.cfg) {
		mode = config.Logged
	}
	return mode, route
}

// path is what routes are chosen by.
func (r *request) path() string {
	path, _, _ := strings.Cut(r.target, "?")
	return path
}

// inherited reports whether the lost host may have begun with the exchange: what it may have let out is
// made again as it was.
func (x *executor) inherited() bool {
	return x.first || x.start < x.doubt
}

// agreed reports whether the peer has the reply that rec is about, having made it itself. An error
// ends the flow.
func (x *executor) agreed(rec Record, w *wire) (bool, error) {
	s := x.flow.s
	if x.row.mode != config.SyncStatic {
		return false, nil
	}
	if err := x.caughtUp(); err != nil {
		return false, x.silenced(rec, err)
	}
	x.row.mode = config.Logged // unless it is agreed
	if w.bare == 0 || time.Now().UnixNano() < s.sulking.Load() {
		s.count.unlike.Add(1)
		return false, nil
	}
	rec.Kind, rec.Size = replication.KindSame, int64(sameFixed+w.bare)
	ctx, cancel := context.WithTimeout(x.ctx, s.cfg().AgreeWithin)
	defer cancel()
	err := s.log.Store(ctx, rec, &likened{w: w})
	now := time.Now().UnixNano()
	if err == nil || errors.Is(err, ErrUnlike) || errors.Is(err, ErrDiffers) {
		s.heard.Store(now)
	}
	switch {
	case err == nil:
		x.row.mode = config.SyncStatic
		return true, nil
	case x.ctx.Err() == nil && ctx.Err() != nil:
		if now-s.heard.Load() > int64(sulk) {
			s.sulking.Store(now + int64(sulk))
		}
	case !errors.Is(err, ErrUnlike) && !errors.Is(err, ErrDiffers):
		return false, x.silenced(rec, err)
	}
	s.count.unlike.Add(1)
	return false, nil
}
