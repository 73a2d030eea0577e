package proxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ftgw/ftgw/internal/defect"
	"github.com/ftgw/ftgw/rewrite"
)

// Server is the proxy of one service on one host.
type Server struct {
	flows  Flows
	log    Log
	clock  clock
	depot  depot
	count  counters
	ledger ledger

	present atomic.Pointer[settings]
	behind  atomic.Int64 // replies that are out, or about to be, and that the peer may not have
	sulking atomic.Int64 // until when no sync-static likeness is sent, Unix nanoseconds
	heard   atomic.Int64 // when one was answered last, likewise

	mu       sync.Mutex
	table    map[rewrite.FlowID]*flow
	early    int // flows of the table without a connection
	gone     graves
	handlers map[*handler]struct{}
	promoted uint64                    // how many times Promote was called
	moved    uint64                    // how many times the executor's part of flows was asked to move
	lately   func(rewrite.FlowID) bool // which flows the last Promote was for
	since    time.Time                 // when that was
	then     *settings                 // of that time
}

// acceptDelay is how long a connection may have waited in the accept queue: one that is accepted
// within it after a takeover may have been the lost host's before.
const acceptDelay = time.Second

// handler is one connection's goroutine.
type handler struct {
	conn   *net.TCPConn
	ctx    context.Context
	cancel context.CancelFunc
	done   chan struct{}
}

// New returns a server; it starts nothing.
func New(cfg Config, flows Flows, log Log) *Server {
	cfg = cfg.withDefaults()
	s := &Server{
		flows: flows, log: log,
		ledger:   ledger{size: cfg.Ledger},
		depot:    depot{dir: cfg.SpillDir, budget: cfg.Buffers},
		table:    make(map[rewrite.FlowID]*flow),
		handlers: make(map[*handler]struct{}),
	}
	s.depot.memory.Store(cfg.Memory)
	s.present.Store(newSettings(cfg, nil))
	return s
}

// cfg returns the present settings. An executor keeps its own to the end of an exchange.
func (s *Server) cfg() *settings { return s.present.Load() }

// Serve accepts connections from l until ctx ends, then ends them all as Abort does, closes l
// and returns nil. It may run for several listeners at once.
func (s *Server) Serve(ctx context.Context, l *net.TCPListener) error {
	ctx, cancel := context.WithCancel(ctx)
	var owned sync.WaitGroup
	defer func() {
		cancel()
		s.Abort()
		owned.Wait()
	}()
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	owned.Go(func() { defer defect.Guard(); s.janitor(ctx) })
	for {
		conn, err := l.AcceptTCP()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				abort(conn)
			}
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("proxy: accept on %v: %w", l.Addr(), err)
		case err != nil: // most often out of file descriptors
			s.cfg().Log.Error("cannot accept a connection; raise the limit of open files", "error", err)
			select {
			case <-ctx.Done():
			case <-time.After(50 * time.Millisecond):
			}
			continue
		}
		h := s.admit(ctx, conn)
		owned.Go(func() {
			defer defect.Guard()
			defer close(h.done)
			s.handle(h)
		})
	}
}

func (s *Server) janitor(ctx context.Context) {
	t := time.NewTicker(janitorTick)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-t.C:
			s.expire(now)
		}
	}
}

func (s *Server) admit(ctx context.Context, conn *net.TCPConn) *handler {
	h := &handler{conn: conn, done: make(chan struct{})}
	h.ctx, h.cancel = context.WithCancel(ctx)
	s.mu.Lock()
	s.handlers[h] = struct{}{}
	s.mu.Unlock()
	return h
}

// handle serves one connection to its end.
func (s *Server) handle(h *handler) {
	defer func() {
		h.cancel()
		h.conn.Close()
		s.mu.Lock()
		delete(s.handlers, h)
		s.mu.Unlock()
	}()
	client, local := addrPort(h.conn.RemoteAddr()), addrPort(h.conn.LocalAddr())
	s.mu.Lock()
	before := turns{s.promoted, s.moved}
	s.mu.Unlock()
	id, duty, ok := s.flows.Accepted(client, local)
	if !ok {
		s.count.unknown.Add(1)
		abort(h.conn)
		return
	}
	defer s.flows.Closed(id)
	if duty != Executor && duty != Standby {
		s.count.unknown.Add(1)
		abort(h.conn)
		return
	}
	f := s.enter(id, h.conn, duty, before)
	if f == nil {
		s.cfg().Log.Error("a flow was accepted twice", "flow", id)
		abort(h.conn)
		return
	}
	guarded(func() { f.run(h.ctx) })
	s.leave(f)
}

// guarded runs a connection. A panic ends the process right here: on its way up it would close the
// connection first, and to the client that is the end of a reply.
func guarded(run func()) {
	defer defect.Guard()
	run()
}

// turns says how many times executors have moved, by takeover or by agreement.
type turns struct{ promoted, moved uint64 }

// enter puts an accepted connection into the table, joining the records that came before it.
// before is from before the packet layer was asked for the duty: a Promote since then holds for
// this flow as well, and a Yield or Take has passed it by.
func (s *Server) enter(id rewrite.FlowID, conn *net.TCPConn, duty Duty, before turns) *flow {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.moved != before.moved {
		duty = s.flows.Duty(id)
	}
	f := s.table[id]
	switch {
	case f == nil:
		f = s.newFlow(id)
		s.table[id] = f
	case f.conn != nil:
		return nil
	default:
		s.early--
	}
	// Records that came for a flow which is now ours to execute go out first.
	late := duty == Executor && f.hasRecords() || s.promoted != before.promoted && s.lately(id)
	if late {
		duty = Standby
	}
	if f.heir, f.since = time.Since(s.since) < acceptDelay && s.flows.Survived(id), s.since; f.heir {
		f.then = s.then
	}
	f.attach(conn, duty)
	if late {
		f.promote(s.since)
		f.rouse()
	}
	return f
}

func (s *Server) leave(f *flow) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.table, f.id)
	if f.duty == Standby {
		s.gone.add(f.id, f.out.index)
	}
}

// Promote makes this host the executor of all flows that ids names, while it runs: records
// committed later for them are refused. Each goes on when rouse is called, which takes longer and
// is for when the claim is through; it first finishes its stored replies. ids is called with a
// lock held and must not call back into the Server.
func (s *Server) Promote(ids func(rewrite.FlowID) bool) (rouse func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.promoted++
	s.lately, s.since, s.then = ids, time.Now(), s.cfg()
	s.ledger.takeover(s.cfg().Epoch(), s.since)
	var first, then []*flow
	for id, f := range s.table {
		switch {
		case !ids(id) || !f.promote(s.since):
		case f.busy():
			first = append(first, f)
		default:
			then = append(then, f)
		}
	}
	return func() {
		for _, f := range first {
			f.rouse()
		}
		for _, f := range then {
			f.rouse()
		}
	}
}

// Abort ends all connections by RST, which the packet layer keeps from leaving, cancels work
// at the upstream, drops all stored records and returns when all of it has ended. The server
// goes on accepting.
func (s *Server) Abort() {
	s.mu.Lock()
	waits := make([]*handler, 0, len(s.handlers))
	for h := range s.handlers {
		h.cancel()
		abort(h.conn)
		waits = append(waits, h)
	}
	for id, f := range s.table {
		f.lose()
		f.mu.Lock()
		if f.conn == nil {
			f.out.free()
			delete(s.table, id)
			s.early--
		}
		f.mu.Unlock()
	}
	s.mu.Unlock()
	for _, h := range waits {
		<-h.done
	}
}

func addrPort(a net.Addr) netip.AddrPort {
	ap := a.(*net.TCPAddr).AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap().WithZone(""), ap.Port())
}
