// The sessions of a group: what is said on them, and what becomes of what is heard.
package main

import (
	"log/slog"
	"net/netip"
	"time"

	"github.com/ftgw/ftgw/config"
	"github.com/ftgw/ftgw/replication"
	"github.com/ftgw/ftgw/replication/link"
	"github.com/ftgw/ftgw/rewrite"
	"github.com/ftgw/ftgw/takeover"
)

// newLink makes the session with the node of an index.
func (g *group) newLink(i int, keys replication.Keys) *link.Link {
	n := g.n
	return link.New(link.Config{
		Self:      netip.AddrPortFrom(n.self.Address, n.cfg.SessionPort),
		Peer:      netip.AddrPortFrom(g.nodes[i].Address, n.cfg.SessionPort),
		Own:       ownPath(n.self, g.nodes[i], n.cfg.SessionPort),
		Group:     g.name,
		PeerName:  g.nodes[i].Name,
		Keys:      keys,
		Hello:     func() replication.Hello { return g.hello(i) },
		Beat:      func() replication.Heartbeat { return g.beat(i) },
		Heartbeat: n.cfg.Timing.Heartbeat,
		Silence:   n.cfg.Timing.HangTimeout,
		Log:       n.quiet, // the link names the group itself
		Handler:   &session{g: g, from: i, offset: time.Since(n.started)},
	})
}

// hello is what the node of an index is told when a session begins.
func (g *group) hello(to int) replication.Hello {
	st := g.dir.status.Load()
	return replication.Hello{Node: g.n.self.Name, Boot: g.n.boot, Epoch: uint64(st.Epoch),
		Role: wireRole(st.Role), InSync: st.Paired && to == st.Target, ConfigDigest: g.n.cfg.Digest(), Settings: g.n.word.Load(), Kernel: g.n.kernel}
}

// beat is what it is told all the time.
func (g *group) beat(to int) replication.Heartbeat {
	st := g.dir.status.Load()
	h := replication.Heartbeat{Epoch: uint64(st.Epoch), Role: wireRole(st.Role), Settings: g.n.word.Load(), Settled: g.settledWith(to)}
	if g.serves() {
		h.Flags |= replication.FlagServing
	}
	if st.Owner {
		h.Flags |= replication.FlagOwner
	}
	if st.LinkDead {
		h.Flags |= replication.FlagLinkDead
	}
	if to != st.Target {
		return h
	}
	h.Flags |= replication.FlagChosen
	h.VoiceTurn, h.AddressTurn, h.GaveUp, h.Knew = st.VoiceTurn, st.AddressTurn, st.GaveUp, st.Knew
	// A session with a new process may be up before the machine has heard of it.
	if st.Paired && st.Mate == takeover.Boot(g.links[to].Status().Peer.Boot) {
		h.Flags |= replication.FlagPaired
	}
	return h
}

// session takes what one node of a group says on its session. What concerns flows and is not of
// the present peer is of an earlier pair, and refused or passed over.
type session struct {
	g      *group
	from   int           // index of that node
	offset time.Duration // from the link's clock to the director's, never too large
	boot   takeover.Boot // of the present session; its goroutine only
	apart  bool          // it goes by the nodes' own network; set before anything else of it is heard
}

var _ link.Handler = (*session)(nil)

func (s *session) Up(h replication.Hello) {
	fresh := s.boot != takeover.Boot(h.Boot)
	s.boot, s.apart = takeover.Boot(h.Boot), s.g.links[s.from].Status().Own
	s.said(h.Settings)
	s.g.event(slog.LevelInfo, "session up", "peer", h.Node, "epoch", h.Epoch, "new_process", fresh, "apart", s.apart)
	if why := unequal(s.g.n.kernel, h.Kernel); why != "" {
		s.g.log.Error("no pair with the node", "peer", h.Node, "why", why)
	}
	s.g.post(takeover.Event{Kind: takeover.SessionUp, From: s.from, Boot: s.boot,
		Apart: s.apart, Epoch: takeover.Epoch(h.Epoch), Unequal: h.Kernel != s.g.n.kernel})
	s.g.tellRoutes(s.from)
	if !s.ofPeer() {
		return
	}
	for _, v := range s.g.services {
		s.g.n.data.resume(v.cfg.Advertised)
	}
}

// said notes which settings the node has.
func (s *session) said(settings uint64) {
	if s.g.said[s.from].Swap(settings) != settings && settings == s.g.n.word.Load() {
		s.g.tellRoutes(s.from)
	}
}

// ofPeer reports whether the session is that with the present peer.
func (s *session) ofPeer() bool { return s.from == s.g.target() }

func (s *session) Down(err error, reset bool) {
	s.g.event(slog.LevelInfo, "session down", "peer", s.g.nodes[s.from].Name, "error", err, "reset", reset)
	s.g.serve[s.from].Store(false)
	s.g.post(takeover.Event{Kind: takeover.SessionDown, From: s.from})
}

func (s *session) Sign() {
	if s.apart {
		s.g.dir.signApart(s.from)
	} else {
		s.g.dir.sign(s.from)
	}
}

func (s *session) Heartbeat(h replication.Heartbeat) {
	view := takeover.View{Epoch: takeover.Epoch(h.Epoch), Role: roleOf(h.Role),
		Owner: h.Flags&replication.FlagOwner != 0, Paired: h.Flags&replication.FlagPaired != 0,
		Chosen: h.Flags&replication.FlagChosen != 0, VoiceTurn: h.VoiceTurn, AddressTurn: h.AddressTurn,
		GaveUp: h.GaveUp, Knew: h.Knew, LinkDead: h.Flags&replication.FlagLinkDead != 0}
	s.said(h.Settings)
	s.g.settled[s.from].Store(h.Settled)
	s.g.serve[s.from].Store(h.Flags&replication.FlagServing != 0)
	echo := time.Duration(0)
	if h.Echo != 0 {
		echo = time.Duration(h.Echo) + s.offset
		s.g.hears[s.from].Store(int64(echo))
	}
	s.g.post(takeover.Event{Kind: takeover.PeerState, From: s.from, Boot: s.boot, Peer: view, Echo: echo, Apart: s.apart})
}

func (s *session) Confirm(c []rewrite.Confirmation) {
	if s.ofPeer() {
		s.g.n.data.confirmed(c)
	}
}

func (s *session) Stored(items []replication.StoredItem) {
	for _, i := range items {
		if c, ok := i.Confirmation(); ok {
			s.Confirm([]rewrite.Confirmation{c})
		}
	}
}

func (s *session) Notes(notes []replication.FlowNote) {
	for _, n := range notes {
		if n.Kind == replication.NoteRoute {
			s.g.toldRoute(n, s.g.nodes[s.from].Name)
		}
	}
	if !s.ofPeer() {
		return
	}
	for _, n := range notes {
		switch kind := noteOf(n.Kind); {
		case kind != rewrite.NoteNone:
			s.g.n.data.noted(rewrite.Note{Flow: n.Flow, Kind: kind})
			if v := s.g.serviceOf(n.Flow.Advertised); v != nil && s.g.n.data.own(n.Flow) {
				v.proxy.Adopt(n.Flow) // the peer may have executed it
			}
		case n.Kind == replication.NoteExecutes:
			s.g.n.data.executes(n.Flow)
		case n.Kind == replication.NoteHandOver:
			e := s.g.dir.epoch()
			if uint32(n.Flow.ISN) != uint32(e) {
				continue // of an earlier pair
			}
			s.g.post(takeover.Event{Kind: takeover.HandedOver, From: s.from, Boot: s.boot, Epoch: e, Turn: n.Flow.Client.Port(),
				Voice: n.Reason&replication.HandOverVoice != 0, Address: n.Reason&replication.HandOverAddress != 0})
		}
	}
}

func (s *session) Leave() {
	s.g.post(takeover.Event{Kind: takeover.PeerLeaving, From: s.from, Apart: s.apart})
}

func (s *session) Epoch(e replication.Epoch) {
	ev := takeover.Event{Kind: takeover.Sign, From: s.from, Apart: s.apart}
	if e.Against { // what else a node has on its disk its heartbeats say, with its role
		ev.Epoch = takeover.Epoch(e.Epoch)
	}
	s.g.post(ev)
}

// OpenRecord takes a record of the executor. One of an older epoch, or that comes while this
// host is in no pair, or of another node than the peer, is refused, so that a host that was
// wrongly taken for dead cannot release another byte (I5).
func (s *session) OpenRecord(r replication.Record) (link.RecordSink, error) {
	st := s.g.dir.status.Load()
	paired := st.Role == takeover.Backup || st.Role == takeover.Primary // the voice may have moved before the exchange ended
	if !paired || s.from != st.Target || takeover.Epoch(r.Epoch) < st.Epoch {
		return nil, errNotBackup
	}
	v := s.g.serviceOf(r.Flow.Advertised)
	if v == nil {
		return nil, errNotBackup
	}
	return v.proxy.OpenRecord(r)
}

// wireRoles gives the roles of the decisions their numbers on the wire.
var wireRoles = map[takeover.Role]replication.Role{
	takeover.Joining: replication.RoleJoining, takeover.Primary: replication.RolePrimary,
	takeover.Backup: replication.RoleBackup, takeover.Sole: replication.RoleSole,
	takeover.Fenced: replication.RoleFenced,
}

func wireRole(r takeover.Role) replication.Role { return wireRoles[r] }

// roleOf is the reverse; a role that decides nothing counts as joining.
func roleOf(r replication.Role) takeover.Role {
	for role, wire := range wireRoles {
		if wire == r {
			return role
		}
	}
	return takeover.Joining
}

// replicationPort is a node's session port on the nodes' own network; zero where it is on none.
func replicationPort(o config.Node, port uint16) netip.AddrPort {
	if !o.ReplicationAddress.IsValid() {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(o.ReplicationAddress, port)
}

// ownPath is how two nodes reach each other there, if both are on it.
func ownPath(self, peer config.Node, port uint16) link.Path {
	p := link.Path{Self: replicationPort(self, port), Peer: replicationPort(peer, port)}
	if !p.Self.IsValid() || !p.Peer.IsValid() {
		return link.Path{}
	}
	return p
}
