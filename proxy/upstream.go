package proxy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"
)

const syncBody = 64 << 10 // bodies up to here are sent before the reply is read

// ask has the upstream execute r and returns its whole reply, or a *fault that tells the failure.
func (x *executor) ask(r *request, attempt uint8) (*wire, error) {
	for {
		c, err := x.connect()
		if err != nil {
			return nil, x.upstreamFault("connecting to", err)
		}
		w, err := x.converse(c, r, attempt)
		if err == nil {
			return w, nil
		}
		c.Close()
		if c.reused && !c.began && r.safe() && x.ctx.Err() == nil && !isTimeout(err) {
			attempt = max(attempt, 2) // it closed an idle connection just then, or executed the request
			continue
		}
		return nil, x.upstreamFault("asking", err)
	}
}

// connect returns a connection to the upstream.
func (x *executor) connect() (*upconn, error) {
	s := x.flow.s
	if c := x.own; c != nil {
		x.own = nil
		if c.expiry.Stop() && c.alive() {
			return c, nil
		}
		c.Close()
	} else if !s.cfg.ProxyProtocol {
		if c := s.upstreams.get(); c != nil {
			return c, nil
		}
	}
	return dialUpstream(x.ctx, &s.cfg, x.flow.id.Key)
}

// release keeps a connection for the next exchange.
func (x *executor) release(c *upconn) {
	if x.flow.s.cfg.ProxyProtocol {
		c.reused, c.began = true, false
		c.expiry = time.AfterFunc(idleUpstream, func() { c.Close() }) // most clients idle
		x.own = c
	} else {
		x.flow.s.upstreams.put(c)
	}
}

// converse carries out one exchange on c and then keeps c, or has closed it. After an error c is
// the caller's.
func (x *executor) converse(c *upconn, r *request, attempt uint8) (*wire, error) {
	stop := context.AfterFunc(x.ctx, func() { c.Close() })
	defer stop()
	var failed error
	sent := make(chan struct{})
	send := func() { failed = x.send(c, r, attempt); close(sent) }
	if r.body.small() {
		send()
	} else {
		go send()
		defer func() {
			if !done(sent) { // the reply came first: the rest is of no use
				c.Close()
				<-sent
			}
		}()
	}
	p, err := x.receive(c, r)
	if err != nil {
		return nil, err
	}
	body := x.flow.s.depot.newSpill()
	if err := c.readReply(p, body); err != nil {
		body.release()
		return nil, err
	}
	if done(sent) && failed == nil && p.lasts() && c.br.Buffered() == 0 && stop() {
		x.release(c)
	} else {
		c.Close()
	}
	return x.makeWire(r, p, body), nil
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
func (x *executor) send(c *upconn, r *request, attempt uint8) error {
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
	c.extend()
	if _, err := c.Conn.Write(head.Bytes()); err != nil || r.body.small() {
		return err
	}
	buf := p.getLarge()
	defer p.putLarge(buf)
	for at := int64(0); at < r.body.Len(); {
		n, err := r.body.ReadAt(buf, at)
		if n == 0 && err != nil {
			c.Close()
			return err
		}
		c.extend()
		if _, err := c.Conn.Write(buf[:n]); err != nil {
			return err
		}
		at += int64(n)
	}
	c.extend()
	_, err := c.Conn.Write(after)
	return err
}

const maxUpstreamInterims = 1000 // an upstream that sends more is taken for broken

// receive reads the head of the reply and passes on the interim replies before it.
func (x *executor) receive(c *upconn, r *request) (*response, error) {
	for range maxUpstreamInterims {
		p, err := c.readResponse(r.method)
		if err != nil {
			return nil, err
		}
		switch {
		case p.status == http.StatusSwitchingProtocols:
			return nil, bad("it switched protocols unasked")
		case p.status >= 200:
			return p, nil
		case r.minor == 0 || x.interim.next >= maxInterims:
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
	if x.ctx.Err() != nil || errors.Is(err, errDropped) {
		return errDropped
	}
	s := x.flow.s
	var f *fault
	var late net.Error
	if errors.As(err, &f) {
		err = errors.New("its reply is malformed: " + f.why)
	}
	s.cfg.Log.Warn(doing+" the upstream failed; is it running?",
		"upstream", s.cfg.Upstream, "flow", x.flow.id, "index", x.index, "err", err)
	switch {
	case errors.Is(err, errSpill):
		return fmt.Errorf("reply: %w", err)
	case errors.As(err, &late) && late.Timeout():
		return &fault{status: http.StatusGatewayTimeout, why: "the web server did not answer in time"}
	case f != nil:
		return &fault{status: http.StatusBadGateway, why: "the web server's answer is malformed"}
	default:
		return &fault{status: http.StatusBadGateway, why: "the web server did not answer"}
	}
}
