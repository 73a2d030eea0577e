package web

import (
	"errors"
	"net"
	"sync"
)

// limit returns a listener that has at most n connections; more are closed at once. Only its end is
// an error that lasts.
func limit(l net.Listener, n int) net.Listener {
	return &limited{Listener: l, tokens: make(chan struct{}, n)}
}

type limited struct {
	net.Listener
	tokens chan struct{}
}

func (l *limited) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil, err
		}
		if err != nil {
			return nil, passing{err}
		}
		select {
		case l.tokens <- struct{}{}:
			return &counted{Conn: c, back: sync.OnceFunc(func() { <-l.tokens })}, nil
		default:
			c.Close()
		}
	}
}

// passing is an error of accept(2) after which http.Server pauses and goes on. Of its own accord it
// does so for want of files only, and a kernel that is short of memory (ENOBUFS, ENOMEM) for a moment
// would end the port, and with it the node.
type passing struct{ error }

func (passing) Temporary() bool { return true }
func (passing) Timeout() bool   { return false }
func (p passing) Unwrap() error { return p.error }

type counted struct {
	net.Conn
	back func()
}

func (c *counted) Close() error {
	c.back()
	return c.Conn.Close()
}
