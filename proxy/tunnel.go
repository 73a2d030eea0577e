package proxy

import (
	"io"
	"net"
	"sync/atomic"
	"time"

	"github.com/ftgw/ftgw/internal/defect"
)

// tunnel carries the bytes of both sides after a 101 until both have ended, or one has failed.
// Either side may end first; the other then has IdleTimeout of silence left.
func (x *executor) tunnel(c UpstreamConn, raw net.Conn) error {
	conn := x.flow.conn
	if conn.SetReadDeadline(time.Time{}) != nil {
		return errDropped
	}
	x.src.live = true
	defer func() { x.src.live = false }()
	t := tunnel{patience: x.cfg.IdleTimeout}
	sent := make(chan error)
	go func() {
		defer defect.Guard()
		_, err := t.carry(patient{raw, x.cfg.WriteTimeout}, x.br, conn, raw)
		if err != nil {
			c.Abort()
		}
		sent <- err
	}()
	n, err := t.carry(&x.flow.client, c.Reader(), raw, conn)
	x.row.bytes += n
	x.payload += n
	if err != nil { // ends the other direction as well, which may wait for either
		abort(conn)
		c.Abort()
	}
	if other := <-sent; err != nil || other != nil {
		return errDropped
	}
	return nil
}

// patient is a connection to an upstream that must take something of each write within that time. Who waits
// for that for ever would not see the client go.
type patient struct {
	net.Conn
	within time.Duration
}

func (p patient) Write(b []byte) (int, error) {
	p.SetWriteDeadline(time.Now().Add(p.within)) // fails on a closed connection only
	return p.Conn.Write(b)
}

// tunnel is what its two directions share.
type tunnel struct {
	half     atomic.Bool // one direction has ended
	patience time.Duration
}

// carry copies from to to, whose connections are in and out, and passes the end on. The end comes
// too when one direction has ended and this one is silent.
func (t *tunnel) carry(to io.Writer, from io.Reader, in, out net.Conn) (total int64, err error) {
	buf := make([]byte, smallBuffer)
	for {
		if t.half.Load() {
			in.SetReadDeadline(time.Now().Add(t.patience)) // a closed connection tells by the read
		}
		n, err := from.Read(buf)
		if n > 0 {
			if _, err := to.Write(buf[:n]); err != nil {
				return total, err
			}
			total += int64(n)
		}
		if err == nil {
			continue
		}
		if !isEOF(err) && !(t.half.Load() && isTimeout(err)) {
			return total, err
		}
		t.half.Store(true)
		out.SetReadDeadline(time.Now().Add(t.patience)) // the other direction may be reading
		if w, ok := out.(interface{ CloseWrite() error }); ok {
			w.CloseWrite() // fails where the other side has ended the connection
		}
		return total, nil
	}
}
