package proxy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/ftgw/ftgw/internal/defect"
)

const syncBody = 64 << 10 // bodies up to here are sent before the reply is read

// taker does what is to be done with a reply of which the head was read, and returns what is left
// to deliver, or nil.
type taker func(c UpstreamConn, r *request, p *response) (*wire, error)

// ask has the upstream execute r and returns what take makes of its reply, or a *fault that tells
// the failure.
func (x *executor) ask(r *request, attempt uint8, take taker) (*wire, error) {
	begin := time.Now()
	defer func() { x.asked += time.Since(begin) }()
	for fresh := false; ; fresh = true {
		x.was.tried = attempt
		c, err := x.connect(fresh)
		if err != nil {
			return nil, x.upstreamFault("connecting to", err)
		}
		w, err := x.converse(c, r, attempt, take)
		if err == nil {
			return w, nil
		}
		again := x.ctx.Err() == nil && c.MayRetry(r.method, err)
		c.Discard()
		if !again {
			return nil, x.upstreamFault("asking", err)
		}
		attempt++ // it closed an idle connection just then, or executed the request
		x.row.attempt = attempt
	}
}

// converse carries out one exchange on c and then keeps c, or has closed it. After an error c is
// the caller's.
func (x *executor) converse(c UpstreamConn, r *request, attempt uint8, take taker) (*wire, error) {
	stop := context.AfterFunc(x.ctx, c.Abort)
	defer stop()
	var failed error
	sent := make(chan struct{})
	send := func() { defer defect.Guard(); failed = x.send(c, r, attempt); close(sent) }
	if r.body.small() {
		send()
	} else {
		go send()
	}
	finish := func() (whole bool) {
		if whole = done(sent); !whole { // the reply came first: the rest is of no use
			c.Abort()
			<-sent
		}
		return whole
	}
	p, err := x.receive(c, r)
	if err != nil {
		finish()
		return nil, err
	}
	w, err := take(c, r, p)
	whole := finish()
	if err != nil {
		return nil, err
	}
	if whole && failed == nil && p.lasts() && c.Reader().Buffered() == 0 && stop() {
		x.release(c)
	} else {
		c.Discard()
	}
	return w, nil
}

func done(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// small reports whether the body is sent at once; s may be nil.
func (s *spill) small() bool { return s == nil || s.disk == nil && s.size <= syncBody }

// send sends the request whole. An error is of interest only if no reply comes.
func (x *executor) send(c UpstreamConn, r *request, attempt uint8) error {
	p := &x.flow.s.depot.pool
	head := bytes.NewBuffer(p.getSmall())
	x.outgoing(head, r, attempt)
	defer func() { p.putSmall(head.Bytes()[:0]) }()
	var after []byte
	if len(r.trailer) > 0 {
		var before []byte
		before, after = chunkEnds(r.body.Len(), r.trailer)
		head.Write(before)
	}
	if r.body != nil && r.body.small() {
		head.Write(r.body.mem)
		head.Write(after)
	}
	if _, err := c.Write(head.Bytes()); err != nil || r.body.small() {
		return err
	}
	buf := p.getLarge()
	defer p.putLarge(buf)
	for at := int64(0); at < r.body.Len(); {
		n, err := r.body.ReadAt(buf, at)
		if n == 0 && err != nil {
			c.Abort()
			return err
		}
		if _, err := c.Write(buf[:n]); err != nil {
			return err
		}
		at += int64(n)
	}
	_, err := c.Write(after)
	return err
}

const maxUpstreamInterims = 1000 // an upstream that sends more is taken for broken

// receive reads the head of the reply and passes on the interim replies before it.
func (x *executor) receive(c UpstreamConn, r *request) (*response, error) {
	for range maxUpstreamInterims {
		p, err := x.readResponse(c.Reader(), r.method)
		if err != nil {
			return nil, err
		}
		switch {
		case p.status == http.StatusSwitchingProtocols && r.upgrade != "":
			return p, nil
		case p.status == http.StatusSwitchingProtocols:
			return nil, bad("it switched protocols unasked")
		case p.status >= 200:
			return p, nil
		case r.minor == 0 || x.interim.next >= maxInterims || x.prefix != nil:
		case p.status == http.StatusContinue && r.expect: // said already
		default:
			if err := x.sendInterim(p, true); err != nil {
				return nil, err
			}
		}
	}
	return nil, bad("too many interim replies")
}

// upstreamFault says to the log what failed and returns what the client gets.
func (x *executor) upstreamFault(doing string, err error) error {
	switch {
	case x.ctx.Err() != nil || errors.Is(err, errDropped):
		return errDropped
	case errors.Is(err, errCut):
		x.cfg.UpstreamFailed(err)
		return err
	}
	s := x.flow.s
	var f *fault
	var late net.Error
	if errors.As(err, &f) {
		err = errors.New("its reply is malformed: " + f.why)
	}
	s.cfg().Log.Warn(doing+" the upstream failed; is it running?",
		"upstream", s.cfg().Upstream, "flow", x.flow.id, "index", x.index, "error", err)
	if errors.Is(err, errSpill) {
		return fmt.Errorf("reply: %w", err)
	}
	s.cfg().UpstreamFailed(err)
	told := &fault{status: http.StatusBadGateway, why: "the web server did not answer", upstream: true}
	switch {
	case errors.As(err, &late) && late.Timeout():
		told.status, told.why = http.StatusGatewayTimeout, "the web server did not answer in time"
	case f != nil:
		told.why = "the web server's answer is malformed"
	}
	return told
}
