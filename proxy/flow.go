package proxy

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/ftgw/ftgw/rewrite"
)

// flow is one client connection on this host, or, before it was accepted here, only its stored
// records.
type flow struct {
	s    *Server
	id   rewrite.FlowID
	born time.Time
	wake chan struct{} // holds one token when something under mu changed

	idleness idleness // of its executor

	mu          sync.Mutex
	conn        *net.TCPConn // nil until accepted
	duty        Duty         // 0 until accepted
	heir        bool         // accepted right after a takeover that it survived: the lost host may have executed for it
	promoted    bool         // this host became executor; nothing is committed any more
	taken       bool         // likewise, since the peer handed over
	given       bool         // the peer executes: it was handed the flow, and has not handed it back
	offered     bool         // the peer is being handed the flow, and has not yet said that it has it
	yielding    bool         // this host is to hand over at the next exchange boundary
	lost        bool         // the connection is gone or cannot be held; nothing is committed any more
	unprotected bool         // its replies are not stored any more
	held        held         // the executor's own once its loop runs
	eof         bool         // the client's stream ends at held.end
	out         outbox
	ends        [16]uint64 // where the latest replies that were written as standby ended, a ring
	tickets     [16]uint64 // and their rows in the ledger
	nends       int
	mark        uint64    // bytes of the client's stream in this kernel when promoted
	since       time.Time // this host has gone on alone, if it has
	released    released  // parts of the next reply, for the ledger
	settled     time.Time // when a whole reply was last stored here, else born: none of an earlier exchange is out unstored

	then *settings // the settings when it was promoted: what the lost host had begun it did by these

	next   place   // the first exchange without a reply here
	shadow *shadow // nil until the service has routes for it

	prefix *prefix // of the next reply; belongs to the flow's goroutine
	client outlet  // likewise

	pending *pending // the exchange that the peer executes because the upstream here failed
	was     attempts // at the exchange that the peer has moved here
	silent  bool     // taken because of that: the peer goes on to speak
}

func (s *Server) newFlow(id rewrite.FlowID) *flow {
	now := time.Now()
	f := &flow{s: s, id: id, born: now, settled: now, wake: make(chan struct{}, 1), held: held{depot: &s.depot}}
	f.client.flow = f
	if s.cfg().Shadow {
		f.shadow = newShadow(f)
	}
	return f
}

func (f *flow) signal() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// attach gives the flow its connection.
func (f *flow) attach(conn *net.TCPConn, duty Duty) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.conn, f.duty = conn, duty
	setUnheard(conn)
	if duty == Standby && !f.promoted {
		setRTO(conn, rtoMinStandby)
	} else {
		setRTO(conn, rtoMinSpeaking)
	}
	if f.promoted {
		f.mark = tcpInfo(conn).Bytes_received
	}
}

// promote makes this host the flow's executor as of now, and reports whether it was not. It asks nothing
// of the kernel: all flows together delay a claim.
func (f *flow) promote(now time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.yielding = false // there is nobody to hand over to
	if f.promoted || f.duty == Executor {
		return false
	}
	f.promoted, f.mark, f.since, f.then = true, f.held.end, now, f.s.cfg()
	return true
}

// rouse makes a promoted flow go on.
func (f *flow) rouse() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.conn != nil {
		setRTO(f.conn, rtoMinSpeaking)
		if f.nends > 0 {
			acked := tcpInfo(f.conn).Bytes_acked
			for i, end := range f.ends[:min(f.nends, len(f.ends))] {
				if end > acked {
					f.replayed(f.tickets[i])
				}
			}
		}
	}
	f.signal()
}

// busy reports whether the client waits for something.
func (f *flow) busy() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.held.end > f.held.start || len(f.out.waiting) > 0 || f.pending != nil
}

// lose ends the flow's part as standby: its records are refused from now on.
func (f *flow) lose() {
	f.mu.Lock()
	f.lost = true
	f.mu.Unlock()
	f.signal()
}

// hasRecords reports whether anything was stored for the flow here, or it was promoted.
func (f *flow) hasRecords() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.promoted || f.out.waiting != nil
}

// run serves an accepted connection to its end, as standby and executor in turn.
func (f *flow) run(ctx context.Context) {
	end := proceed
	var total uint64
	var eof bool
	for end == proceed {
		if f.isStandby() {
			end = f.standby(ctx)
			total, eof = f.held.end, f.eof
		}
		if end == proceed {
			x := newExecutor(ctx, f)
			end = x.loop()
			total, eof = x.src.total, x.src.eof
		}
	}
	if end == orderly {
		f.closing(ctx, total, eof)
	} else {
		abort(f.conn)
	}
	f.conn.Close()
	f.mu.Lock()
	f.lost = true
	f.held.free()
	f.out.free()
	f.pending.free()
	f.pending = nil
	f.mu.Unlock()
}

func (f *flow) isStandby() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.duty == Standby
}

// ending says how a part of a connection's life ended.
type ending uint8

const (
	reset   ending = iota // gone, or to be dropped in silence
	orderly               // the end is logged: shut down and drain
	proceed               // go on in the other part: standby as executor, executor as standby
)
