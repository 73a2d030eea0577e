package upstream

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// LocalPreface is the header of the PROXY protocol, version 2, on a connection that a proxy makes
// for itself, as to check health (HAProxy's proxy-protocol.txt, §2.2: LOCAL, UNSPEC).
func LocalPreface() []byte { return []byte("\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00") }

const (
	maxProbeReply = 64 << 10 // bytes of a health page; what follows is not read
	maxInterims   = 8        // replies 1xx before it
)

// probe is one check of health by connection or by request.
type probe struct {
	address Address
	timeout time.Duration
	preface []byte
	request []byte // empty: to connect is enough
}

func newProbe(cfg HealthConfig) (*probe, error) {
	p := &probe{address: cfg.Address, timeout: cfg.Timeout, preface: cfg.Preface}
	odd := func(r rune) bool { return r <= ' ' || r >= 0x7f }
	switch {
	case cfg.Path == "":
		return p, nil
	case !strings.HasPrefix(cfg.Path, "/") || strings.ContainsFunc(cfg.Path, odd) || strings.Contains(cfg.Path, "#"):
		return nil, fmt.Errorf(`health check of the upstream: path %q cannot be asked for; write it as in "/health", percent-encoded`, cfg.Path)
	case strings.ContainsFunc(cfg.Host, odd) || strings.Contains(cfg.Host, "/"):
		return nil, fmt.Errorf("health check of the upstream: %q cannot be a field Host; write the name of the site", cfg.Host)
	}
	p.request = fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: ftgw-health\r\nAccept: */*\r\nConnection: close\r\n\r\n", cfg.Path, cfg.Host)
	return p, nil
}

// check returns nil from a healthy upstream, else the reason.
func (p *probe) check(ctx context.Context) error {
	conn, err := p.address.Dial(ctx, p.timeout)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if len(p.preface)+len(p.request) > 0 {
		if _, err := (&net.Buffers{p.preface, p.request}).WriteTo(conn); err != nil {
			return fmt.Errorf("asking it failed: %w", err)
		}
	}
	if len(p.request) == 0 {
		return nil
	}
	return judgeReply(conn)
}

// judgeReply reads the reply, at most maxProbeReply bytes of it.
func judgeReply(r io.Reader) error {
	limited := &io.LimitedReader{R: r, N: maxProbeReply}
	br := bufio.NewReaderSize(limited, 4096)
	for range maxInterims {
		reply, err := http.ReadResponse(br, &http.Request{Method: http.MethodGet})
		switch {
		case err != nil:
			return unread(err, limited.N == 0)
		case reply.StatusCode < 200 && reply.StatusCode != http.StatusSwitchingProtocols:
			continue
		case reply.StatusCode < 200 || reply.StatusCode > 399:
			return errors.New(strings.TrimSpace(fmt.Sprintf("it said %d %s", reply.StatusCode, http.StatusText(reply.StatusCode))))
		}
		if n, err := io.Copy(io.Discard, reply.Body); err != nil && limited.N > 0 {
			return fmt.Errorf("its reply broke off after %d bytes", n)
		}
		return nil
	}
	return errors.New("it sent interim replies only")
}

// unread says why there is no head of a reply.
func unread(err error, long bool) error {
	var broken net.Error
	switch {
	case long:
		return errors.New("the head of its reply is too long")
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("it closed the connection without a reply")
	case errors.As(err, &broken):
		return fmt.Errorf("reading its reply failed: %w", err)
	}
	return errors.New("its reply is not HTTP")
}
