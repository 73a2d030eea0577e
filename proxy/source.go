package proxy

import (
	"io"
	"net"
	"time"
)

// source is the client's stream as the executor reads it: first what the standby held, then the
// live socket. Bytes that a stored reply answered are left out wherever they come from.
type source struct {
	flow  *flow
	conn  *net.TCPConn
	held  *held  // nil once read to its end
	pos   uint64 // offset of the next byte that Read returns
	total uint64 // bytes read from the socket in all
	eof   bool   // the socket's end was read

	live     bool          // reads last until somebody else ends them
	deadline time.Time     // of the next socket reads; zero: patience after each call
	patience time.Duration // longest silence

	rate  int64     // of a body, bytes per second after the first patience; 0: any
	since time.Time // when the body began
	from  uint64    // and where
}

func newSource(f *flow) *source {
	return &source{flow: f, conn: f.conn, held: &f.held,
		pos: f.held.start, total: f.held.end, eof: f.eof}
}

func (s *source) Read(p []byte) (int, error) {
	if s.held != nil {
		n, err := s.held.readAt(p, s.pos)
		s.pos += uint64(n)
		if err != io.EOF {
			return n, err
		}
		s.held.free()
		s.held = nil
	}
	for {
		n, err := s.receive(p)
		if s.total <= s.pos { // answered before it arrived
			if err != nil {
				return 0, err
			}
			continue
		}
		fresh := min(uint64(n), s.total-s.pos)
		copy(p, p[uint64(n)-fresh:n])
		s.pos += fresh
		return int(fresh), err
	}
}

// receive reads from the socket and tells the packet layer.
func (s *source) receive(p []byte) (int, error) {
	if s.eof {
		return 0, io.EOF
	}
	if !s.live {
		until := s.deadline
		if until.IsZero() {
			until = s.until(time.Now())
		}
		if err := s.flow.idleness.bound(s.conn, until); err != nil {
			return 0, err
		}
	}
	n, err := s.conn.Read(p)
	s.total += uint64(n)
	s.eof = isEOF(err)
	if n > 0 || s.eof {
		s.flow.s.flows.Received(s.flow.id, s.total, s.eof)
	}
	return n, err
}

// body begins to read a body, which may be silent for patience and must come at the rate at
// least.
func (s *source) body(patience time.Duration, rate int64) {
	s.deadline, s.patience = time.Time{}, patience
	s.rate, s.since, s.from = max(0, rate), time.Now(), s.pos
}

// idle begins to wait for a request.
func (s *source) idle() { s.deadline, s.rate = time.Time{}, 0 }

// until returns when the next read must have ended.
func (s *source) until(now time.Time) time.Time {
	until := now.Add(s.patience)
	if s.rate > 0 {
		seconds := min(float64(s.pos-s.from)/float64(s.rate), 1e9)
		earned := time.Duration(seconds * float64(time.Second))
		if end := s.since.Add(s.patience + earned); end.Before(until) {
			return end
		}
	}
	return until
}
