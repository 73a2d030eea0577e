// The three ways in which this node hears of the others: the sessions, gossip and ARP. Each is
// turned into evidence for the directors.
package main

import (
	"net"
	"net/netip"
	"time"

	"github.com/ftgw/ftgw/membership"
	"github.com/ftgw/ftgw/replication"
	"github.com/ftgw/ftgw/replication/link"
	"github.com/ftgw/ftgw/rewrite"
	"github.com/ftgw/ftgw/takeover"
)

// session takes what one node of a group says on its session. What concerns flows and is not of
// the present peer is of an earlier pair, and refused or passed over.
type session struct {
	g      *group
	from   int           // index of that node
	offset time.Duration // from the link's clock to the director's, never too large
	boot   takeover.Boot // of the present session; its goroutine only
}

var _ link.Handler = (*session)(nil)

func (s *session) Up(h replication.Hello) {
	s.boot = takeover.Boot(h.Boot)
	s.g.log.Info("session up", "node", h.Node, "epoch", h.Epoch)
	if why := unequal(s.g.n.kernel, h.Kernel); why != "" {
		s.g.log.Error("no pair with the node", "node", h.Node, "why", why)
	}
	s.g.post(takeover.Event{Kind: takeover.SessionUp, From: s.from, Boot: s.boot,
		Epoch: takeover.Epoch(h.Epoch), Unequal: h.Kernel != s.g.n.kernel})
	if !s.ofPeer() {
		return
	}
	for _, v := range s.g.services {
		s.g.n.data.resume(v.cfg.Advertised)
	}
}

// ofPeer reports whether the session is that with the present peer.
func (s *session) ofPeer() bool { return s.from == s.g.target() }

func (s *session) Down(err error, reset bool) {
	s.g.log.Info("session down", "node", s.g.nodes[s.from].Name, "error", err, "reset", reset)
	s.g.post(takeover.Event{Kind: takeover.SessionDown, From: s.from})
}

func (s *session) Sign() { s.g.dir.sign(s.from) }

func (s *session) Heartbeat(h replication.Heartbeat) {
	view := takeover.View{Epoch: takeover.Epoch(h.Epoch), Role: roleOf(h.Role),
		Owner: h.Flags&replication.FlagOwner != 0, Paired: h.Flags&replication.FlagPaired != 0,
		Chosen: h.Flags&replication.FlagChosen != 0, VoiceTurn: h.VoiceTurn, AddressTurn: h.AddressTurn}
	echo := time.Duration(0)
	if h.Echo != 0 {
		echo = time.Duration(h.Echo) + s.offset
	}
	s.g.post(takeover.Event{Kind: takeover.PeerState, From: s.from, Boot: s.boot, Peer: view, Echo: echo})
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

func (s *session) Leave() { s.g.post(takeover.Event{Kind: takeover.PeerLeaving, From: s.from}) }

func (s *session) Epoch(e replication.Epoch) {
	s.g.post(takeover.Event{Kind: takeover.Sign, From: s.from, Epoch: takeover.Epoch(e.Epoch)})
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

// gossip takes what membership sees: signs of life, and their absence.
type gossip struct{ n *node }

var _ membership.Handler = gossip{}

func (g gossip) Alive(name string, m membership.Meta)   { g.heard(name, m) }
func (g gossip) Updated(name string, m membership.Meta) { g.heard(name, m) }

func (g gossip) heard(name string, m membership.Meta) {
	views, err := parseViews(m.Extra)
	if err != nil {
		g.n.log.Warn("gossip", "node", name, "error", err)
	}
	g.n.member(name, func(of *group, i int) {
		of.post(takeover.Event{Kind: takeover.Sign, From: i, Epoch: epochIn(views, of)})
	})
}

func (g gossip) Heard(name string, _ time.Duration) {
	g.n.member(name, func(of *group, i int) { of.dir.sign(i) })
}

// Leaving changes nothing: the farewell that counts comes by the session, after the gate was
// closed.
func (g gossip) Leaving(string) {}

func (g gossip) Dead(name string) {
	g.n.member(name, func(of *group, i int) { of.post(takeover.Event{Kind: takeover.GossipDead, From: i}) })
}

// member runs f for each group that a node shares with this one, with its index there.
func (n *node) member(name string, f func(g *group, i int)) {
	for _, g := range n.groups {
		if i := g.indexOf(name); i >= 0 && i != g.index {
			f(g, i)
		}
	}
}

// wire takes what ARP shows.
type wire struct{ n *node }

func (w wire) Frame(net.HardwareAddr, netip.Addr) {}

func (w wire) Answered(addr netip.Addr, mac net.HardwareAddr) {
	n := w.n
	if p := n.neighbours.at(addr); p != nil {
		n.learnMAC(p, mac)
		n.member(p.name, func(g *group, i int) { g.post(takeover.Event{Kind: takeover.AnswerPeer, From: i}) })
		return
	}
	if addr == n.gateway {
		for _, g := range n.groups {
			g.post(takeover.Event{Kind: takeover.AnswerGateway, From: g.index})
		}
		return
	}
	g := n.groupOf(addr)
	if g == nil {
		return
	}
	// A stranger's answer for the address is no sign of a node's daemon.
	if i := n.neighbours.sender(g, mac); i >= 0 {
		g.post(takeover.Event{Kind: takeover.AnswerAdvertised, From: i})
	}
}

// Foreign answers a stranger's claim by an announcement, as RFC 5227 §2.4 defends an address.
// The claim of a node of the group is for the director to judge.
func (w wire) Foreign(v netip.Addr, mac net.HardwareAddr) {
	const pause = time.Second // so that two who defend the same address do not fill the network
	n, g := w.n, w.n.groupOf(v)
	if g == nil || time.Since(n.defended[v]) < pause {
		return
	}
	n.defended[v] = time.Now()
	g.log.Warn("another station claims the advertised address", "address", v, "mac", mac.String())
	if n.neighbours.sender(g, mac) >= 0 {
		return
	}
	if err := n.arp.Announce(v); err != nil {
		g.log.Error("cannot defend the address", "address", v, "error", err)
	}
}

func (w wire) Link(up bool) { w.n.log.Info("carrier", "interface", w.n.iface, "up", up) }

// probe asks by ARP; a probe that cannot be sent is one without an answer.
func (n *node) probe(a netip.Addr) {
	if err := n.arp.Probe(a); err != nil {
		n.log.Debug("probe not sent", "target", a, "error", err)
	}
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
