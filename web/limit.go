package web

import (
	"errors"
	"net"
	"sync"
)

// limit returns a listener that has at most n connections; more are closed at once. It lasts.
func limit(l net.Listener, n int) net.Listener {
	return &limited{Listener: Lasting(l), tokens: make(chan struct{}, n)}
}

type limited struct {
	net.Listener
	tokens chan struct{}
}

func (l *limited) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		select {
		case l.tokens <- struct{}{}:
			return &counted{Conn: c, back: sync.OnceFunc(func() { <-l.tokens })}, nil
		default:
			c.Close()
		}
	}
}

// Lasting returns l so that an http.Server goes on, after a pause, whatever accept(2) says; only the
// listener's end is an error that lasts. It owns l.
func Lasting(l net.Listener) net.Listener { return lasting{l} }

type lasting struct{ net.Listener }

func (l lasting) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil && !errors.Is(err, net.ErrClosed) {
		err = passing{err}
	}
	return c, err
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
