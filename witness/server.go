package witness

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/ftgw/ftgw/replication"
	"github.com/ftgw/ftgw/takeover"
)

const (
	tick          = 10 * time.Millisecond
	moreThanNodes = 64 // connections in their handshake, or of an earlier run of a node
)

// Config is what New needs.
type Config struct {
	Listen       netip.AddrPort
	Keys         replication.Keys
	Hello        func() replication.Hello
	Pairs        map[string][]string       // the nodes of each group, by replication.Hello's Group
	Grants       map[string]takeover.Grant // what the disk holds, by pair
	SuspectAfter time.Duration
	HangTimeout  time.Duration
	// Write puts the grants on disk, all pairs together, before it returns. Calls come one at
	// a time.
	Write func(map[string]takeover.Grant) error
	Log   *slog.Logger
}

// Server is the witness. Its methods are safe for concurrent use.
type Server struct {
	cfg    Config
	start  time.Time
	events chan event
	writes chan write

	pairs map[string]*takeover.Witness // Run's loop only, as is conns
	conns map[member]*conn

	mu     sync.Mutex
	grants map[string]takeover.Grant // on disk
	nodes  map[member]bool           // connected
}

// member is a node as one of a pair: each connection is of one.
type member struct{ pair, node string }

// event is what a connection or the disk has to say.
type event struct {
	pair string
	conn *conn // nil: the disk's
	ev   takeover.WitnessEvent
}

type write struct {
	pair  string
	grant takeover.Grant
}

// New returns a Server that does nothing until Run.
func New(cfg Config) *Server {
	s := &Server{cfg: cfg, start: time.Now(), events: make(chan event, 1024), writes: make(chan write, 64),
		pairs: map[string]*takeover.Witness{}, conns: map[member]*conn{}, grants: map[string]takeover.Grant{}, nodes: map[member]bool{}}
	maps.Copy(s.grants, cfg.Grants)
	for pair := range cfg.Pairs {
		s.pairs[pair] = takeover.NewWitness(takeover.WitnessConfig{SuspectAfter: cfg.SuspectAfter,
			HangTimeout: cfg.HangTimeout}, s.grants[pair])
	}
	return s
}

// Grant returns the latest grant of a pair that is on disk.
func (s *Server) Grant(pair string) takeover.Grant {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.grants[pair]
}

// Connected reports whether a node is connected as one of a group.
func (s *Server) Connected(group, node string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.nodes[member{group, node}]
}

func (s *Server) now() time.Duration { return time.Since(s.start) }

// Run listens and grants until ctx ends, and returns nil then. All its goroutines have ended
// when it returns.
func (s *Server) Run(ctx context.Context) error {
	var lc net.ListenConfig
	lc.SetMultipathTCP(false)
	ln, err := lc.Listen(ctx, "tcp", s.cfg.Listen.String())
	if err != nil {
		return fmt.Errorf("listen for the nodes on %v: %w (is the address this node's, and the port free?)", s.cfg.Listen, err)
	}
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer ln.Close()
	defer cancel()
	wg.Go(func() { s.accept(ctx, ln) })
	wg.Go(func() { s.keep(ctx) })
	s.loop(ctx)
	return nil
}

// loop steps the machines: one goroutine.
func (s *Server) loop(ctx context.Context) {
	t := time.NewTicker(tick)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-s.events:
			s.take(e)
		case <-t.C:
			for pair := range s.pairs {
				s.step(pair, takeover.WitnessEvent{Kind: takeover.WitnessTick})
			}
		}
	}
}

func (s *Server) take(e event) {
	m := member{e.pair, e.ev.Node}
	switch {
	case e.ev.Kind == takeover.NodeUp:
		if old := s.conns[m]; old != nil {
			old.raw.Close()
		}
		s.conns[m] = e.conn
		s.connected(m, true)
	case e.conn != nil && s.conns[m] != e.conn:
		return // of a connection that was replaced
	case e.ev.Kind == takeover.NodeDown:
		delete(s.conns, m)
		s.connected(m, false)
	}
	s.step(e.pair, e.ev)
}

func (s *Server) connected(m member, up bool) {
	s.mu.Lock()
	s.nodes[m] = up
	s.mu.Unlock()
	s.cfg.Log.Info("node", "group", m.pair, "peer", m.node, "connected", up)
}

func (s *Server) step(pair string, ev takeover.WitnessEvent) {
	ev.Now = s.now()
	for _, a := range s.pairs[pair].Step(ev) {
		switch a.Do {
		case takeover.WriteGrant:
			s.writes <- write{pair, a.Grant}
		case takeover.Answer:
			level := slog.LevelDebug // asked for again and again
			if a.Granted || a.Against {
				level = slog.LevelInfo
			}
			s.cfg.Log.Log(context.Background(), level, "claim", "pair", pair, "node", a.Node, "epoch", a.Epoch, "granted", a.Granted, "held", a.Held, "why", a.Why)
			s.send(pair, a, replication.GrantAnswer{Pair: pair, Epoch: uint64(a.Epoch), Held: uint64(a.Held),
				Granted: a.Granted, Against: a.Against, Why: a.Why}.Append(nil))
		case takeover.Notify:
			s.send(pair, a, replication.Notice{Pair: pair, Epoch: uint64(a.Epoch)}.Append(nil))
		}
	}
}

func (s *Server) send(pair string, a takeover.WitnessAction, frame []byte) {
	c := s.conns[member{pair, a.Node}]
	if c == nil || takeover.Boot(c.hello.Boot) != a.Boot {
		return // it asks again when it is back
	}
	if err := c.send(frame); err != nil {
		c.raw.Close()
	}
}

// keep writes the grants in the order in which the loop gave them.
func (s *Server) keep(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case w := <-s.writes:
			s.mu.Lock()
			all := maps.Clone(s.grants)
			s.mu.Unlock()
			all[w.pair] = w.grant
			ev := takeover.WitnessEvent{Kind: takeover.GrantWritten, Epoch: w.grant.Epoch}
			if err := s.cfg.Write(all); err != nil {
				s.cfg.Log.Error("cannot write the grant", "error", err)
				ev.Kind = takeover.GrantWriteFailed
			} else {
				s.mu.Lock()
				s.grants = all
				s.mu.Unlock()
			}
			s.post(ctx, event{pair: w.pair, ev: ev})
		}
	}
}

func (s *Server) post(ctx context.Context, e event) {
	select {
	case s.events <- e:
	case <-ctx.Done():
	}
}

// accept greets connections until ln is closed.
func (s *Server) accept(ctx context.Context, ln net.Listener) {
	var wg sync.WaitGroup
	defer wg.Wait()
	most := moreThanNodes
	for _, nodes := range s.cfg.Pairs {
		most += len(nodes)
	}
	slots := make(chan struct{}, most)
	for {
		nc, err := ln.Accept()
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return
			}
			s.cfg.Log.Error("accept a node", "error", err)
			select { // out of descriptors: not a reason to spin
			case <-time.After(redial):
			case <-ctx.Done():
			}
			continue
		}
		select {
		case slots <- struct{}{}:
		default:
			nc.Close()
			continue
		}
		wg.Go(func() {
			defer func() { <-slots }()
			s.serve(ctx, nc)
		})
	}
}

// serve takes what one node says of one group.
func (s *Server) serve(ctx context.Context, nc net.Conn) {
	c, err := greet(ctx, nc, s.cfg.Keys, s.cfg.Hello(), s.knows)
	if err != nil {
		level := slog.LevelDebug // a stranger, a probe, or a query
		if errors.Is(err, ErrConfig) || errors.Is(err, replication.ErrSecret) || errors.Is(err, replication.ErrVersion) {
			level = slog.LevelWarn
		}
		s.cfg.Log.Log(ctx, level, "connection turned away", "from", nc.RemoteAddr().String(), "error", err)
		return
	}
	defer context.AfterFunc(ctx, func() { nc.Close() })()
	defer nc.Close()
	say := func(ev takeover.WitnessEvent) {
		ev.Node, ev.Boot = c.hello.Node, takeover.Boot(c.hello.Boot)
		s.post(ctx, event{c.hello.Group, c, ev})
	}
	say(takeover.WitnessEvent{Kind: takeover.NodeUp})
	err = c.read(func(f replication.Frame) error { return s.frame(c, f, say) })
	s.cfg.Log.Debug("connection ended", "pair", c.hello.Group, "node", c.hello.Node, "error", err)
	say(takeover.WitnessEvent{Kind: takeover.NodeDown})
}

func (s *Server) knows(pair, node string) bool { return slices.Contains(s.cfg.Pairs[pair], node) }

// freshness is the age beyond which a request is of no claim any more. Its stamp is that of the latest
// beat, of which more than two fit into SuspectAfter; a node gives a claim up after twice this.
func (s *Server) freshness() time.Duration { return 5 * s.cfg.SuspectAfter }

// frame turns one frame of a node into an event. What it says of another pair than the
// connection's is passed over.
func (s *Server) frame(c *conn, f replication.Frame, say func(takeover.WitnessEvent)) error {
	switch f.Type {
	case replication.TypeHeartbeat:
		h, err := replication.ParseHeartbeat(f.Body)
		if err != nil {
			return err
		}
		say(takeover.WitnessEvent{Kind: takeover.NodeBeat, View: View(h)})
		return c.send(replication.Heartbeat{Seq: h.Seq, Sent: int64(s.now()), Echo: h.Sent, Role: replication.RoleWitness}.Append(nil))
	case replication.TypeGrantRequest:
		return with(f, replication.ParseGrantRequest, func(r replication.GrantRequest) {
			if age := s.now() - time.Duration(r.Echo); age <= s.freshness() && age >= 0 && r.Pair == c.hello.Group {
				say(takeover.WitnessEvent{Kind: takeover.GrantAsked, Epoch: takeover.Epoch(r.Epoch),
					Base: takeover.Epoch(r.Base), Empty: r.Empty})
			}
		})
	case replication.TypeSilence:
		return with(f, replication.ParseSilence, func(m replication.Silence) {
			if m.Pair == c.hello.Group {
				say(takeover.WitnessEvent{Kind: takeover.NodeSilent, Epoch: takeover.Epoch(m.Epoch)})
			}
		})
	}
	return replication.ErrFrame
}

// View reads what a heartbeat says of its sender.
func View(h replication.Heartbeat) takeover.View {
	roles := map[replication.Role]takeover.Role{replication.RolePrimary: takeover.Primary, replication.RoleBackup: takeover.Backup,
		replication.RoleSole: takeover.Sole, replication.RoleFenced: takeover.Fenced}
	return takeover.View{Epoch: takeover.Epoch(h.Epoch), Role: roles[h.Role],
		Owner: h.Flags&replication.FlagOwner != 0, Paired: h.Flags&replication.FlagPaired != 0,
		Chosen: h.Flags&replication.FlagChosen != 0}
}
