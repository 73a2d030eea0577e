package membership

import (
	"bytes"
	"fmt"
	"log/slog"
	"time"

	"github.com/hashicorp/memberlist"
)

// delegate is what memberlist calls. Its methods run under memberlist's locks or in its
// receive loops, so they only queue.
type delegate struct {
	self   string
	meta   func() Meta
	queue  *queue
	log    *slog.Logger
	roster *roster
}

var (
	_ memberlist.Delegate         = (*delegate)(nil)
	_ memberlist.EventDelegate    = (*delegate)(nil)
	_ memberlist.AliveDelegate    = (*delegate)(nil)
	_ memberlist.PingDelegate     = (*delegate)(nil)
	_ memberlist.ConflictDelegate = (*delegate)(nil)
)

// NodeMeta implements memberlist.Delegate.
func (d *delegate) NodeMeta(limit int) []byte {
	b, err := d.meta().Marshal()
	if err == nil && len(b) > limit {
		err = fmt.Errorf("node metadata has %d bytes, at most %d fit", len(b), limit)
	}
	if err != nil {
		// Without the extra part the rest always fits, and the boot ID must get out.
		d.log.Error("node metadata shortened", "error", err)
		m := d.meta()
		m.Extra = nil
		b, _ = m.Marshal()
	}
	return b
}

// NotifyMsg implements memberlist.Delegate: a node's leave, or its news.
func (d *delegate) NotifyMsg(b []byte) {
	if n, err := parseNews(b); err == nil {
		if n.name != d.self {
			d.queue.put(func(h Handler) { h.Told(n.name, n.meta) })
		}
		return
	}
	l, err := parseLeaving(b)
	if err != nil {
		d.log.Debug("message ignored", "error", err)
		return
	}
	if l.name == d.self || !d.roster.runs(l.name, l.boot) {
		d.log.Debug("leave of an earlier run ignored", "node", l.name)
		return
	}
	d.queue.put(func(h Handler) { h.Leaving(l.name) })
}

// GetBroadcasts implements memberlist.Delegate; nothing is broadcast.
func (d *delegate) GetBroadcasts(overhead, limit int) [][]byte { return nil }

// LocalState implements memberlist.Delegate; no state beyond the metadata is exchanged.
func (d *delegate) LocalState(join bool) []byte { return nil }

// MergeRemoteState implements memberlist.Delegate.
func (d *delegate) MergeRemoteState(buf []byte, join bool) {}

// NotifyAlive implements memberlist.AliveDelegate: a node whose metadata this program cannot
// read is no peer.
func (d *delegate) NotifyAlive(n *memberlist.Node) error {
	_, err := ParseMeta(n.Meta)
	return err
}

// NotifyJoin implements memberlist.EventDelegate.
func (d *delegate) NotifyJoin(n *memberlist.Node) {
	d.changed(n, func(h Handler, m Member) { h.Alive(m.Name, m.Meta) })
}

// NotifyUpdate implements memberlist.EventDelegate.
func (d *delegate) NotifyUpdate(n *memberlist.Node) {
	d.changed(n, func(h Handler, m Member) { h.Updated(m.Name, m.Meta) })
}

func (d *delegate) changed(n *memberlist.Node, call func(Handler, Member)) {
	meta, err := ParseMeta(n.Meta)
	if n.Name == d.self || err != nil { // NotifyAlive has refused and logged the error
		return
	}
	m := Member{Name: n.Name, Addr: addrPort(n), Meta: meta}
	d.roster.set(m)
	d.queue.put(func(h Handler) { call(h, m) })
}

// NotifyLeave implements memberlist.EventDelegate.
func (d *delegate) NotifyLeave(n *memberlist.Node) {
	if n.Name == d.self {
		return
	}
	name := n.Name
	d.roster.remove(name)
	d.queue.put(func(h Handler) { h.Dead(name) })
}

// AckPayload implements memberlist.PingDelegate.
func (d *delegate) AckPayload() []byte { return nil }

// NotifyPingComplete implements memberlist.PingDelegate.
func (d *delegate) NotifyPingComplete(n *memberlist.Node, rtt time.Duration, _ []byte) {
	d.queue.putHeard(n.Name, rtt)
}

// NotifyConflict implements memberlist.ConflictDelegate.
func (d *delegate) NotifyConflict(existing, other *memberlist.Node) {
	d.log.Error("two nodes have the same name: give each its own name, or start each with --name",
		"name", existing.Name, "first", existing.Address(), "second", other.Address())
}

// logWriter turns memberlist's log lines into debug records: what they report reaches the
// Handler too, or heals by itself.
type logWriter struct{ log *slog.Logger }

// Write implements io.Writer; memberlist writes one line a call.
func (w logWriter) Write(p []byte) (int, error) {
	w.log.Debug(string(bytes.TrimSpace(p)), "from", "memberlist")
	return len(p), nil
}
