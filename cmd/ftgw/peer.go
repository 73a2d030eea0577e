package main

import (
	"context"
	"net"
	"net/netip"
	"time"

	"github.com/ftgw/ftgw/membership"
	"github.com/ftgw/ftgw/replication"
	"github.com/ftgw/ftgw/replication/link"
	"github.com/ftgw/ftgw/rewrite"
	"github.com/ftgw/ftgw/takeover"
)

// The three ways in which this node hears of its peer: the session, gossip and ARP. Each is
// turned into evidence for the director.

// session takes what the peer says on the session.
type session struct {
	n      *node
	ctx    context.Context // of the node's run
	offset time.Duration   // from the link's clock to the director's, never too large
	boot   takeover.Boot   // of the present session; its goroutine only
}

var _ link.Handler = (*session)(nil)

func (s *session) Up(h replication.Hello) {
	s.boot = takeover.Boot(h.Boot)
	s.n.log.Info("session up", "peer", h.Node, "epoch", h.Epoch)
	if why := unequal(s.n.kernel, h.Kernel); why != "" {
		s.n.log.Error("no pair with the peer", "why", why)
	}
	s.n.dir.post(s.ctx, takeover.Event{Kind: takeover.SessionUp, Boot: s.boot,
		Epoch: takeover.Epoch(h.Epoch), Unequal: h.Kernel != s.n.kernel})
	for _, v := range s.n.services {
		s.n.data.resume(v.cfg.Advertised)
	}
}

func (s *session) Down(err error, reset bool) {
	s.n.log.Info("session down", "error", err, "reset", reset)
	s.n.dir.post(s.ctx, takeover.Event{Kind: takeover.SessionDown})
}

func (s *session) Sign() { s.n.dir.sign() }

func (s *session) Heartbeat(h replication.Heartbeat) {
	view := takeover.View{Epoch: takeover.Epoch(h.Epoch), Role: roleOf(h.Role),
		Owner: h.Flags&replication.FlagOwner != 0, Paired: h.Flags&replication.FlagPaired != 0,
		VoiceTurn: h.VoiceTurn, AddressTurn: h.AddressTurn}
	echo := time.Duration(0)
	if h.Echo != 0 {
		echo = time.Duration(h.Echo) + s.offset
	}
	s.n.dir.post(s.ctx, takeover.Event{Kind: takeover.PeerState, Boot: s.boot, Peer: view, Echo: echo})
}

func (s *session) Confirm(c []rewrite.Confirmation) { s.n.data.confirmed(c) }

func (s *session) Stored(items []replication.StoredItem) {
	for _, i := range items {
		if c, ok := i.Confirmation(); ok {
			s.n.data.confirmed([]rewrite.Confirmation{c})
		}
	}
}

func (s *session) Notes(notes []replication.FlowNote) {
	for _, n := range notes {
		switch kind := noteOf(n.Kind); {
		case kind != rewrite.NoteNone:
			s.n.data.noted(rewrite.Note{Flow: n.Flow, Kind: kind})
			if v := s.n.serviceOf(n.Flow.Advertised); v != nil && s.n.data.own(n.Flow) {
				v.proxy.Adopt(n.Flow) // the peer may have executed it
			}
		case n.Kind == replication.NoteExecutes:
			s.n.data.executes(n.Flow)
		case n.Kind == replication.NoteHandOver:
			e := s.n.dir.epoch()
			if uint32(n.Flow.ISN) != uint32(e) {
				continue // of an earlier pair
			}
			s.n.dir.post(s.ctx, takeover.Event{Kind: takeover.HandedOver, Boot: s.boot, Epoch: e, Turn: n.Flow.Client.Port(),
				Voice: n.Reason&replication.HandOverVoice != 0, Address: n.Reason&replication.HandOverAddress != 0})
		}
	}
}

func (s *session) Leave() {
	s.n.dir.post(s.ctx, takeover.Event{Kind: takeover.PeerLeaving})
}

func (s *session) Epoch(e replication.Epoch) {
	s.n.dir.post(s.ctx, takeover.Event{Kind: takeover.Sign, Epoch: takeover.Epoch(e.Epoch)})
}

// OpenRecord takes a record of the executor. One of an older epoch, or that comes while this
// host is in no pair, is refused, so that a host that was wrongly taken for dead cannot release
// another byte (I5).
func (s *session) OpenRecord(r replication.Record) (link.RecordSink, error) {
	st := s.n.dir.status.Load()
	paired := st.Role == takeover.Backup || st.Role == takeover.Primary // the voice may have moved before the exchange ended
	if !paired || takeover.Epoch(r.Epoch) < st.Epoch {
		return nil, errNotBackup
	}
	v := s.n.serviceOf(r.Flow.Advertised)
	if v == nil {
		return nil, errNotBackup
	}
	return v.proxy.OpenRecord(r)
}

// gossip takes what membership sees: signs of life, and their absence.
type gossip struct {
	n   *node
	ctx context.Context
}

var _ membership.Handler = gossip{}

func (g gossip) Alive(name string, _ membership.Meta)   { g.heard(name) }
func (g gossip) Updated(name string, _ membership.Meta) { g.heard(name) }

func (g gossip) heard(name string) {
	if name == g.n.peer.Name {
		g.n.dir.post(g.ctx, takeover.Event{Kind: takeover.Sign})
	}
}

func (g gossip) Heard(name string, _ time.Duration) {
	if name == g.n.peer.Name {
		g.n.dir.sign()
	}
}

// Leaving changes nothing: the farewell that counts comes by the session, after the gate was
// closed.
func (g gossip) Leaving(string) {}

func (g gossip) Dead(name string) {
	if name == g.n.peer.Name {
		g.n.dir.post(g.ctx, takeover.Event{Kind: takeover.GossipDead})
	}
}

// wire takes what ARP shows.
type wire struct {
	n   *node
	ctx context.Context
}

func (w wire) Frame(net.HardwareAddr, netip.Addr) {}

func (w wire) Answered(addr netip.Addr, mac net.HardwareAddr) {
	kind := takeover.AnswerAdvertised
	switch {
	case addr == w.n.peer.Address:
		kind = takeover.AnswerPeer
		w.n.peerMAC(mac)
	case addr == w.n.gateway:
		kind = takeover.AnswerGateway
	case !w.n.advertises(addr) || !w.n.fromPeer(mac):
		return // a stranger's answer for the address is no sign of the peer's daemon
	}
	w.n.dir.post(w.ctx, takeover.Event{Kind: kind})
}

// Foreign answers a stranger's claim by an announcement, as RFC 5227 §2.4 defends an address.
// The peer's own claim is for the director to judge.
func (w wire) Foreign(v netip.Addr, mac net.HardwareAddr) {
	const pause = time.Second // so that two who defend the same address do not fill the network
	if time.Since(w.n.defended) < pause {
		return
	}
	w.n.defended = time.Now()
	w.n.log.Warn("another station claims the advertised address", "address", v, "mac", mac.String())
	if w.n.fromPeer(mac) {
		return
	}
	if err := w.n.arp.Announce(v); err != nil {
		w.n.log.Error("cannot defend the address", "address", v, "error", err)
	}
}

func (w wire) Link(up bool) { w.n.log.Info("carrier", "interface", w.n.iface, "up", up) }

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
