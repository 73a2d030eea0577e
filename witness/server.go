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
	tick       = 10 * time.Millisecond
	maxClients = 64                     // connections at once, handshakes included
	freshness  = 250 * time.Millisecond // a request older than this is of no claim any more
)

// Config is what New needs.
type Config struct {
	Listen       netip.AddrPort
	Keys         replication.Keys
	Hello        func() replication.Hello
	Pairs        map[string][]string       // the nodes of each pair
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
	conns map[string]*conn             // by node

	mu     sync.Mutex
	grants map[string]takeover.Grant // on disk
	nodes  map[string]bool           // connected
}

// event is what a connection or the disk has to say.
type event struct {
	pair string // empty: every pair of the node
	conn *conn
	ev   takeover.WitnessEvent
}

type write struct {
	pair  string
	grant takeover.Grant
}

// New returns a Server that does nothing until Run.
func New(cfg Config) *Server {
	s := &Server{cfg: cfg, start: time.Now(), events: make(chan event, 1024), writes: make(chan write, 64),
		pairs: map[string]*takeover.Witness{}, conns: map[string]*conn{}, grants: map[string]takeover.Grant{}, nodes: map[string]bool{}}
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

// Connected reports whether a node is connected.
func (s *Server) Connected(node string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.nodes[node]
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
	node := e.ev.Node
	switch {
	case e.ev.Kind == takeover.NodeUp:
		if old := s.conns[node]; old != nil {
			old.raw.Close()
		}
		s.conns[node] = e.conn
		s.connected(node, true)
	case e.conn != nil && s.conns[node] != e.conn:
		return // of a connection that was replaced
	case e.ev.Kind == takeover.NodeDown:
		delete(s.conns, node)
		s.connected(node, false)
	}
	for pair, nodes := range s.cfg.Pairs {
		if e.pair == pair || e.pair == "" && slices.Contains(nodes, node) {
			s.step(pair, e.ev)
		}
	}
}

func (s *Server) connected(node string, up bool) {
	s.mu.Lock()
	s.nodes[node] = up
	s.mu.Unlock()
	s.cfg.Log.Info("node", "node", node, "connected", up)
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
			s.send(a, replication.GrantAnswer{Pair: pair, Epoch: uint64(a.Epoch), Held: uint64(a.Held),
				Granted: a.Granted, Against: a.Against, Why: a.Why}.Append(nil))
		case takeover.Notify:
			s.send(a, replication.Notice{Pair: pair, Epoch: uint64(a.Epoch)}.Append(nil))
		}
	}
}

func (s *Server) send(a takeover.WitnessAction, frame []byte) {
	c := s.conns[a.Node]
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
	slots := make(chan struct{}, maxClients)
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

// serve takes what one node says.
func (s *Server) serve(ctx context.Context, nc net.Conn) {
	c, err := greet(ctx, nc, s.cfg.Keys, s.cfg.Hello(), true)
	if err != nil {
		level := slog.LevelDebug // a stranger, or a probe
		if errors.Is(err, ErrConfig) || errors.Is(err, replication.ErrSecret) || errors.Is(err, replication.ErrVersion) {
			level = slog.LevelWarn
		}
		s.cfg.Log.Log(ctx, level, "connection turned away", "from", nc.RemoteAddr().String(), "error", err)
		return
	}
	defer context.AfterFunc(ctx, func() { nc.Close() })()
	defer nc.Close()
	base := takeover.WitnessEvent{Node: c.hello.Node, Boot: takeover.Boot(c.hello.Boot)}
	if !s.knows(base.Node) {
		s.cfg.Log.Warn("connection turned away: no service names that node", "node", base.Node)
		return
	}
	say := func(pair string, kind takeover.WitnessKind, fill func(*takeover.WitnessEvent)) {
		ev := base
		ev.Kind = kind
		fill(&ev)
		s.post(ctx, event{pair, c, ev})
	}
	say("", takeover.NodeUp, func(*takeover.WitnessEvent) {})
	err = s.read(c, say)
	s.cfg.Log.Debug("connection ended", "node", base.Node, "error", err)
	say("", takeover.NodeDown, func(*takeover.WitnessEvent) {})
}

func (s *Server) knows(node string) bool {
	for _, nodes := range s.cfg.Pairs {
		if slices.Contains(nodes, node) {
			return true
		}
	}
	return false
}

// read turns a node's frames into events until the connection ends.
func (s *Server) read(c *conn, say func(string, takeover.WitnessKind, func(*takeover.WitnessEvent))) error {
	for {
		f, err := c.rd.Next()
		if err != nil {
			return err
		}
		switch f.Type {
		case replication.TypeHeartbeat:
			h, err := replication.ParseHeartbeat(f.Body)
			if err != nil {
				return err
			}
			say("", takeover.NodeBeat, func(ev *takeover.WitnessEvent) { ev.View = View(h) })
			reply := replication.Heartbeat{Seq: h.Seq, Sent: int64(s.now()), Echo: h.Sent, Role: replication.RoleWitness}
			if err := c.send(reply.Append(nil)); err != nil {
				return err
			}
		case replication.TypeGrantRequest:
			r, err := replication.ParseGrantRequest(f.Body)
			if err != nil {
				return err
			}
			if age := s.now() - time.Duration(r.Echo); age > freshness || age < 0 || !slices.Contains(s.cfg.Pairs[r.Pair], c.hello.Node) {
				continue
			}
			say(r.Pair, takeover.GrantAsked, func(ev *takeover.WitnessEvent) {
				ev.Epoch, ev.Base, ev.Empty = takeover.Epoch(r.Epoch), takeover.Epoch(r.Base), r.Empty
			})
		case replication.TypeSilence:
			m, err := replication.ParseSilence(f.Body)
			if err != nil {
				return err
			}
			say(m.Pair, takeover.NodeSilent, func(ev *takeover.WitnessEvent) { ev.Epoch = takeover.Epoch(m.Epoch) })
		default:
			return replication.ErrFrame
		}
	}
}

// View reads what a heartbeat says of its sender.
func View(h replication.Heartbeat) takeover.View {
	roles := map[replication.Role]takeover.Role{replication.RolePrimary: takeover.Primary, replication.RoleBackup: takeover.Backup,
		replication.RoleSole: takeover.Sole, replication.RoleFenced: takeover.Fenced}
	return takeover.View{Epoch: takeover.Epoch(h.Epoch), Role: roles[h.Role],
		Owner: h.Flags&replication.FlagOwner != 0, Paired: h.Flags&replication.FlagPaired != 0}
}
