package web

import (
	"net"
	"sync"
)

// limit returns a listener that has at most n connections; more are closed at once.
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

type counted struct {
	net.Conn
	back func()
}

func (c *counted) Close() error {
	c.back()
	return c.Conn.Close()
}
