package proxy

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"sync"

	"github.com/ftgw/ftgw/config"
	"github.com/ftgw/ftgw/internal/defect"
)

// shadow executes a standby's requests on routes in mode sync-static, one at a time, in step with
// the peer; see same.go. It reads the held suffix and takes nothing from it. Where an exchange ends
// the peer's record says, so that of other routes it reads no more than the head, and whatever it
// does not understand costs no more than that the reply is stored:
//
//	waiting ──bytes of the next exchange──► reading ──sync-static──► asking the upstream
//	   ▲                                      │ other, or a fault         │ reply, or none
//	   │                                      ▼                           ▼
//	   └── the exchange has a reply here ─── settling: likenesses are compared, or refused
type shadow struct {
	flow *flow
	wake chan struct{} // holds one token when something below, or the held suffix, changed

	// Under the flow's mu.
	claim *claim             // a likeness that was not answered
	at    uint64             // the exchange under way
	halt  context.CancelFunc // ends the work on it; nil: there is none
}

// place is where an exchange begins in the client's stream.
type place struct{ index, offset uint64 }

// claim is a likeness that the peer waits for an answer to.
type claim struct {
	Record
	likeness
	answer func(error)
}

// errOvertaken ends the work on an exchange whose reply has come from the peer.
var errOvertaken = errors.New("the peer's reply has come")

// mirrored is the shadow's own reply, or says why there is none.
type mirrored struct {
	end   uint64 // of the request
	cfg   *settings
	mode  config.Mode
	route *route
	w     *wire // with a head in mode static only
	sum   [sha256.Size]byte
	why   error // there is none
}

func newShadow(f *flow) *shadow { return &shadow{flow: f, wake: make(chan struct{}, 1)} }

// poke makes the shadow look again; h may be nil.
func (h *shadow) poke() {
	if h == nil {
		return
	}
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// mirror runs the flow's shadow until stop is called, which waits for its end; it returns nil
// while the service has no routes for it.
func (f *flow) mirror(ctx context.Context) (stop func()) {
	if !f.s.cfg().Shadow {
		return nil
	}
	f.mu.Lock()
	if f.shadow == nil {
		f.shadow = newShadow(f)
	}
	h := f.shadow
	f.mu.Unlock()
	ctx, cancel := context.WithCancel(ctx)
	var owned sync.WaitGroup
	owned.Go(func() { defer defect.Guard(); h.run(ctx) })
	return func() {
		cancel()
		owned.Wait()
		if c := h.take(nil); c != nil {
			c.answer(ErrNotHeld)
		}
	}
}

// replied notes that an exchange has its reply here. The caller holds f.mu.
func (f *flow) replied(r Record) {
	if r.Index < f.next.index {
		return
	}
	f.next = place{r.Index + 1, r.RequestEnd}
	h := f.shadow
	if h != nil && h.halt != nil && h.at <= r.Index {
		h.halt()
	}
	h.poke()
}

// claimed takes a likeness of the peer's.
func (f *flow) claimed(c *claim) {
	f.mu.Lock()
	var err error
	switch h := f.shadow; {
	case f.out.has(c.Record):
	case f.lost || f.promoted || f.taken || f.duty == Executor || h == nil:
		err = ErrNotHeld
	default:
		old := h.claim
		h.claim = c
		h.poke()
		f.mu.Unlock()
		if old != nil && old.Index != c.Index { // else it has come again, with another session
			old.answer(ErrUnlike)
		}
		return
	}
	f.mu.Unlock()
	c.answer(err)
}

// take returns the claim, if there is one and it is wanted; nil wants any.
func (h *shadow) take(wanted func(*claim) bool) *claim {
	h.flow.mu.Lock()
	defer h.flow.mu.Unlock()
	c := h.claim
	if c != nil && (wanted == nil || wanted(c)) {
		h.claim = nil
		return c
	}
	return nil
}

func (h *shadow) run(ctx context.Context) {
	x := &executor{flow: h.flow}
	defer func() {
		if c := x.takeOwn(); c != nil {
			c.Discard()
		}
	}()
	for {
		at, ok := h.await(ctx)
		if !ok {
			return
		}
		work, cancel := context.WithCancel(ctx)
		h.flow.mu.Lock()
		h.at, h.halt = at.index, cancel
		h.flow.mu.Unlock()
		x.ctx, x.index = work, at.index
		own := h.make(x, at)
		h.settle(ctx, at, &own)
		if own.w != nil {
			own.w.free()
		}
		h.flow.mu.Lock()
		h.halt = nil
		h.flow.mu.Unlock()
		cancel()
	}
}

// await waits for the first byte of the next exchange.
func (h *shadow) await(ctx context.Context) (place, bool) {
	f := h.flow
	for {
		if c := h.take(func(c *claim) bool { return c.Index < f.next.index }); c != nil {
			c.answer(ErrUnlike)
		}
		f.mu.Lock()
		at, here := f.next, f.held.end > f.next.offset
		f.mu.Unlock()
		if here {
			return at, ctx.Err() == nil
		}
		select {
		case <-h.wake:
		case <-ctx.Done():
			return at, false
		}
	}
}

// make reads the request and has the upstream execute it, if its route is in the mode.
func (h *shadow) make(x *executor, at place) mirrored {
	cfg := h.flow.s.cfg()
	x.cfg = cfg
	src := &heldReader{shadow: h, ctx: x.ctx, index: at.index, pos: at.offset}
	if x.br == nil {
		x.br = bufio.NewReaderSize(src, 4<<10)
	} else {
		x.br.Reset(src)
	}
	var err error
	if x.head, err = readHead(x.br, x.head[:0], cfg.MaxLine, cfg.MaxHeader); err != nil {
		return mirrored{why: err}
	}
	r, err := parseRequest(string(x.head), cfg.MaxFields)
	own := mirrored{cfg: cfg}
	if err == nil {
		own.mode, own.route = x.mode(r)
	}
	switch {
	case err != nil:
		return mirrored{why: err}
	case own.mode != config.SyncStatic && own.mode != config.Static || r.here:
		return mirrored{why: errors.New("the request's route is in another mode")}
	case cfg.MaxBody >= 0 && r.length > cfg.MaxBody:
		return mirrored{why: errBodySize}
	}
	defer r.free()
	if err := readBody(x.br, r, &h.flow.s.depot, &cfg.Config); err != nil {
		return mirrored{why: err}
	}
	own.end = src.pos - uint64(x.br.Buffered())
	x.row.mode = own.mode
	x.interim.next = maxInterims // they are the peer's to pass on
	w, err := x.ask(r, 1, x.mirror)
	switch {
	case err != nil:
		own.why = err
	case w == nil:
		own.why = errors.New("the reply is longer than max_reply")
	case w.bare == 0 && own.mode == config.Static:
		w.free()
		own.why = errors.New("the reply has trailers")
	default:
		own.w = w
		own.sum, own.why = digest(w.content())
	}
	return own
}

// mirror reads a reply whole, or not at all if it is too long; see taker.
func (x *executor) mirror(c UpstreamConn, r *request, p *response) (*wire, error) {
	limit := x.cfg.MaxReply
	body, err := x.some(p.body(c.Reader()), limit)
	if err != nil {
		return nil, err
	}
	if body.Len() >= limit {
		body.release()
		p.options.close = true // the rest is unread
		return nil, nil
	}
	if x.row.mode == config.Static {
		return x.makeWire(r, p, body), nil
	}
	return &wire{body: body, status: p.status}, nil
}

// settle answers what the peer says of its reply, until the exchange has one here.
func (h *shadow) settle(ctx context.Context, at place, own *mirrored) {
	f := h.flow
	for {
		f.mu.Lock()
		over := f.next.index > at.index
		f.mu.Unlock()
		c := h.take(func(c *claim) bool { return c.Index <= at.index })
		switch {
		case c != nil && (over || c.Index < at.index):
			c.answer(ErrUnlike)
		case c != nil:
			c.answer(h.judge(c, own))
		case over:
			return
		default:
			select {
			case <-h.wake:
			case <-ctx.Done():
				return
			}
		}
	}
}

// heldReader reads the client's stream where the standby holds it, and waits for what is not there
// yet.
type heldReader struct {
	shadow *shadow
	ctx    context.Context
	index  uint64 // of the exchange that it is for
	pos    uint64
}

func (r *heldReader) Read(p []byte) (int, error) {
	f := r.shadow.flow
	for {
		f.mu.Lock()
		n, err := f.held.readAt(p, r.pos)
		over, eof := f.next.index > r.index, f.eof
		f.mu.Unlock()
		switch {
		case over:
			return 0, errOvertaken
		case !errors.Is(err, io.EOF):
			r.pos += uint64(n)
			return n, err
		case eof:
			return 0, io.EOF
		}
		select {
		case <-r.shadow.wake:
		case <-r.ctx.Done():
			return 0, r.ctx.Err()
		}
	}
}
