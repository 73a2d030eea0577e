package link

import (
	"errors"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

const (
	refusals   = 3                      // in a row, before another path is tried
	ownTimeout = 100 * time.Millisecond // to connect by the nodes' own network: another path stands in
	ownSilence = 3                      // so much sooner it is given up there than Config.Silence says
	lastReturn = time.Minute            // the longest pause before it is tried again
)

// Path is one way between two nodes.
type Path struct {
	Self, Peer netip.AddrPort
	Own        bool // by a network of the nodes' own, not by the clients'
}

// Paths are the ways to the peer, the best first.
func (l *Link) Paths() []Path {
	all := []Path{{l.cfg.Self, l.cfg.Peer, false}}
	if o := l.cfg.Own; o.Peer.IsValid() {
		all = append([]Path{{o.Self, o.Peer, true}}, all...)
	}
	return all
}

// own reports whether the session goes by the nodes' own network.
func (l *Link) own(p *pair) bool {
	return l.cfg.Own.Peer.IsValid() && p.remote() == bare(l.cfg.Own.Peer.Addr())
}

// remote is the peer's address in the session.
func (p *pair) remote() netip.Addr {
	return bare(p.control.raw.RemoteAddr().(*net.TCPAddr).AddrPort().Addr())
}

// silence is how long nothing may come in a session before it is given up. By the nodes' own
// network that is soon: it costs nobody his life, and the voice must not lapse meanwhile.
func (l *Link) silence(p *pair) time.Duration {
	if l.own(p) {
		return l.cfg.Silence / ownSilence
	}
	return l.cfg.Silence
}

// course chooses the path of the next session. The dialing goroutine's alone.
type course struct {
	paths   []Path // at least one, the best first
	by      int
	refused int           // in a row
	first   time.Duration // the shortest pause before the best path is tried again
	pause   time.Duration // the present one: longer each time that it had fallen silent
}

func newCourse(paths []Path, pause time.Duration) *course {
	return &course{paths: paths, first: pause, pause: pause}
}

func (c *course) path() Path { return c.paths[c.by] }

// failed says that no connection came about by the path. A process that has only not started yet
// listens on none.
func (c *course) failed(err error) {
	if c.refused++; !errors.Is(err, unix.ECONNREFUSED) || c.refused > refusals {
		c.by, c.refused = (c.by+1)%len(c.paths), 0
	}
}

// ended says why the session by the path did. One that fell silent is not tried again at once.
func (c *course) ended(why error) {
	silent := errors.Is(why, errSilent)
	switch {
	case silent && c.by == 0:
		c.pause = min(2*c.pause, lastReturn)
	case c.by == 0:
		c.pause = c.first
	}
	c.refused = 0
	if silent {
		c.by = (c.by + 1) % len(c.paths)
	} else {
		c.by = 0
	}
}

// again tells when to try the best path while the session goes by another one; never on the best.
func (c *course) again() <-chan time.Time {
	if c.by == 0 {
		return nil
	}
	return time.After(c.pause)
}
