package upstream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ftgw/ftgw/config"
)

// Address is where a web server listens: a TCP port or a unix socket. The zero value is no
// address. Addresses can be compared.
type Address struct{ network, address string }

// ParseAddress reads "host:port", "unix:/path" or "/path", as config.SplitUpstream does. A host
// name is looked up at each Dial.
func ParseAddress(text string) (Address, error) {
	network, address, err := config.SplitUpstream(text)
	if err != nil {
		return Address{}, fmt.Errorf(`upstream %q %w; write it as in "127.0.0.1:8080" or "unix:/run/app.sock"`, text, err)
	}
	return Address{network, address}, nil
}

// String returns a text that ParseAddress reads as the same address.
func (a Address) String() string {
	if a.network == "unix" {
		return "unix:" + a.address
	}
	return a.address
}

// Host is what a request made here says in its Host field: a unix socket has no name of its own.
func (a Address) Host() string {
	if a.network == "unix" {
		return "localhost"
	}
	return a.address
}

// Dial connects within timeout. TCP connections have TCP_NODELAY and are never MPTCP. The error
// names the address and wraps the cause, a timeout's too.
func (a Address) Dial(ctx context.Context, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var d net.Dialer
	d.SetMultipathTCP(false)
	full := false
	for pause := time.Millisecond; ; pause = min(2*pause, 20*time.Millisecond) {
		conn, err := d.DialContext(ctx, a.network, a.address)
		// A full backlog: the kernel does not let a non-blocking connect wait on a unix socket.
		now := a.network == "unix" && errors.Is(err, unix.EAGAIN)
		full = full || now
		switch {
		case err == nil:
			return conn, nil // TCP_NODELAY is what package net starts with
		case full && (ctx.Err() != nil || errors.Is(err, context.DeadlineExceeded)): // the dialer has a timer of its own
			return nil, fmt.Errorf("connect to the upstream %s: its backlog is full: %w; does it accept?", a, cmp.Or(context.Cause(ctx), err))
		case !now:
			return nil, fmt.Errorf("connect to the upstream: %w; is it running?", err)
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}
