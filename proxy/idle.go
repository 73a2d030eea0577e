package proxy

import (
	"net"
	"sync"
	"time"
)

// idleness says whether an executor waits for the first byte of a request, when it may be
// interrupted: at any other time the read deadline belongs to the request.
type idleness struct {
	mu     sync.Mutex
	idle   bool
	nudged bool // since it last looked whether it should end
}

// set says whether the executor waits; it looks whether it should end after that.
func (i *idleness) set(idle bool) {
	i.mu.Lock()
	i.idle, i.nudged = idle, false
	i.mu.Unlock()
}

// bound sets the deadline of a read, at once where a nudge came before it.
func (i *idleness) bound(conn *net.TCPConn, until time.Time) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.idle && i.nudged {
		until = past
	}
	return conn.SetReadDeadline(until)
}

var past = time.Unix(1, 0)

// await waits for the first byte of the next request. Its errors are those of Peek; a timeout
// means that the connection has idled for long enough.
func (x *executor) await() error {
	if x.br.Buffered() > 0 {
		return nil
	}
	f := x.flow
	x.src.idle()
	begin := time.Now()
	defer f.idleness.set(false)
	for {
		f.idleness.set(true)
		cfg := f.s.cfg()
		limit := cfg.IdleTimeout
		if cfg.TurnOver(f.id) {
			limit = min(limit, cfg.TurnOverIdle)
		}
		if x.yields() {
			return errYield
		}
		x.src.patience = max(time.Millisecond, limit-time.Since(begin))
		_, err := x.br.Peek(1)
		if !isTimeout(err) || time.Since(begin) >= limit {
			return err
		}
	}
}

// TurnOver makes connections that idle look again whether they should end. The packet layer
// calls it when a pair is formed, and now and then while flows are simplex.
func (s *Server) TurnOver() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, f := range s.table {
		if f.conn != nil && s.cfg().TurnOver(id) {
			f.nudge()
		}
	}
}

// nudge ends an idle wait.
func (f *flow) nudge() {
	f.idleness.mu.Lock()
	defer f.idleness.mu.Unlock()
	if f.idleness.idle {
		f.idleness.nudged = true
		f.conn.SetReadDeadline(past) // fails on a closed connection only
	}
}
