package proxy

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/ftgw/ftgw/replication"
	"github.com/ftgw/ftgw/rewrite"
)

// ErrNotHeld refuses a record: this host does not hold its flow as standby (any more), so the
// flow is simplex on the peer.
var ErrNotHeld = errors.New("flow is not held as standby here")

const (
	maxEarly    = 4096             // flows with records but no connection yet
	earlyFor    = 30 * time.Second // longer than a handshake's last segment takes
	maxGone     = 16384            // closed flows remembered, so that a repeated record finds its answer
	janitorTick = 5 * time.Second
)

// OpenRecord begins to store a record of the peer: its bytes are written to the sink, then
// committed. Records may come before their connection is accepted here. A record that is
// stored already is taken and forgotten. It is safe for concurrent use.
func (s *Server) OpenRecord(r Record) (Sink, error) {
	within := r.Kind == replication.KindInterim || r.Kind.Partial()
	counted := within || r.Kind.Gives()
	if r.Kind < replication.KindReply || r.Kind > replication.KindDigest || r.Kind == replication.KindSame && r.Size > maxSame ||
		r.Kind == replication.KindDigest && r.Size != passedSize || r.Size < 0 || !counted && r.Interim != 0 {
		return nil, fmt.Errorf("proxy: record %d of %v: kind %d, interim %d, size %d make no record",
			r.Index, r.Flow, r.Kind, r.Interim, r.Size)
	}
	f, repeated, err := s.flowOf(r)
	if err != nil {
		return nil, err
	}
	if repeated {
		return &sink{record: r}, nil
	}
	k := &sink{flow: f, record: r}
	if r.Kind == replication.KindReply || within {
		k.body = s.depot.newPiece(r.Size)
	}
	return k, nil
}

// flowOf finds the flow of a record, or makes it when it is the flow's first. repeated means
// that the record was stored before.
func (s *Server) flowOf(r Record) (f *flow, repeated bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f = s.table[r.Flow]
	if f == nil {
		last, ended := s.gone.find(r.Flow)
		if ended && r.Index < last {
			return nil, true, nil
		}
		if ended || r.Index > 0 || r.Interim > 0 && !r.Kind.Gives() || s.early >= maxEarly {
			s.count.refused.Add(1)
			return nil, false, fmt.Errorf("proxy: open record %d of %v: %w", r.Index, r.Flow, ErrNotHeld)
		}
		f = s.newFlow(r.Flow)
		s.table[r.Flow] = f
		s.early++
		return f, false, nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f, f.out.has(r), nil
}

// expire drops records whose connection never came.
func (s *Server) expire(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.early == 0 {
		return
	}
	for id, f := range s.table {
		f.mu.Lock()
		if f.conn == nil && now.Sub(f.born) > earlyFor {
			f.lost = true
			f.out.free()
			delete(s.table, id)
			s.early--
			s.count.refused.Add(1)
		}
		f.mu.Unlock()
	}
}

// sink implements Sink. Without a flow it forgets everything and commits.
type sink struct {
	flow   *flow
	record Record
	body   *spill
	like   []byte // of a likeness
	n      int64
	failed error
}

var errSize = errors.New("size differs from the record's")

func (k *sink) Write(p []byte) (int, error) {
	if k.failed != nil {
		return 0, k.failed
	}
	k.n += int64(len(p))
	if k.record.Kind == replication.KindSame && k.flow != nil && k.n <= k.record.Size {
		k.like = append(k.like, p...)
	}
	if k.n > k.record.Size {
		k.failed = fmt.Errorf("proxy: write record %d of %v: %w", k.record.Index, k.record.Flow, errSize)
		return 0, k.failed
	}
	if k.body == nil {
		return len(p), nil
	}
	n, err := k.body.Write(p)
	k.failed = err
	return n, err
}

// Later implements replication.LateSink.
func (k *sink) Later(answer func(error)) bool {
	if k.record.Kind != replication.KindSame || k.flow == nil || k.failed != nil || k.n != k.record.Size {
		return false
	}
	l, err := parseLikeness(k.like)
	if k.failed = err; err != nil {
		return false
	}
	k.flow.claimed(&claim{k.record, l, answer})
	k.flow = nil
	return true
}

func (k *sink) Commit() error {
	if k.failed == nil && k.n != k.record.Size {
		k.failed = fmt.Errorf("proxy: commit record %d of %v: %d of %d bytes: %w",
			k.record.Index, k.record.Flow, k.n, k.record.Size, errSize)
	}
	if k.failed != nil || k.flow == nil {
		return k.failed
	}
	if k.record.Kind == replication.KindSame {
		return ErrUnlike // nobody waits for it
	}
	err := k.flow.commit(stored{Record: k.record, body: k.body})
	if err == nil {
		k.body, k.flow = nil, nil
	}
	return err
}

func (k *sink) Abort() {
	k.body.release()
	k.body, k.failed = nil, io.ErrClosedPipe
}

// graves remembers the latest closed flows and how far their records had come.
type graves struct {
	next map[rewrite.FlowID]uint64
	ring []rewrite.FlowID
	at   int
}

func (g *graves) add(id rewrite.FlowID, next uint64) {
	if g.next == nil {
		g.next = make(map[rewrite.FlowID]uint64)
	}
	if len(g.ring) < maxGone {
		g.ring = append(g.ring, id)
	} else {
		delete(g.next, g.ring[g.at])
		g.ring[g.at] = id
		g.at = (g.at + 1) % maxGone
	}
	g.next[id] = next
}

func (g *graves) find(id rewrite.FlowID) (uint64, bool) {
	next, ok := g.next[id]
	return next, ok
}
