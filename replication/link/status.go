package link

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ftgw/ftgw/replication"
)

// Status is what the link knows at one moment.
type Status struct {
	Up   bool
	Peer replication.Hello // of the newest session; zero before the first
	At   netip.Addr        // the peer's address in that session
	Own  bool              // which goes by the nodes' own network, see Config.Own
	RTT  time.Duration     // 0: unknown
	// Skew is the peer's wall clock minus ours when the newest session began, good to about a
	// round trip; 0 before the first. Beyond MaxSkew it deserves a warning.
	Skew    time.Duration
	Refusal error // why the peer is refused or refuses, with the remedy; nil: it is not

	Sessions uint64 // sessions that came up
	Refused  uint64 // records of the peer that the handler refused
	Failed   uint64 // records of the peer that could not be kept
	Repeated uint64 // numbered frames passed over because they had come before
	Dropped  uint64 // notes and confirmations given up; see replication.Outbox
}

// MaxSkew is how far two hosts' wall clocks may be apart before the link warns.
const MaxSkew = 10 * time.Second

type counters struct {
	sessions, refused, failed, repeated atomic.Uint64
}

type state struct {
	sync.Mutex
	up      bool
	peer    replication.Hello
	at      netip.Addr
	own     bool
	skew    time.Duration
	refusal error
}

// Status returns the link's state and counters.
func (l *Link) Status() Status {
	l.state.Lock()
	s := Status{Up: l.state.up, Peer: l.state.peer, At: l.state.at, Own: l.state.own, Skew: l.state.skew, Refusal: l.state.refusal}
	l.state.Unlock()
	l.ctl.Lock()
	s.Dropped = l.ctl.out.Dropped
	l.ctl.Unlock()
	s.RTT = l.RTT()
	c := &l.counts
	s.Sessions, s.Refused = c.sessions.Load(), c.refused.Load()
	s.Failed, s.Repeated = c.failed.Load(), c.repeated.Load()
	return s
}

// refuse notes why no session comes about, and logs it when it is news.
func (l *Link) refuse(err error) {
	l.state.Lock()
	news := l.state.refusal == nil || l.state.refusal.Error() != err.Error()
	l.state.refusal = err
	l.state.Unlock()
	if news {
		l.log.Error("peer session refused", "error", err)
	}
}

func (l *Link) setUp(p *pair) {
	l.state.Lock()
	defer l.state.Unlock()
	l.state.up, l.state.peer, l.state.skew, l.state.refusal = true, p.hello, p.skew, nil
	l.state.at, l.state.own = p.remote(), l.own(p)
}

func (l *Link) setDown() {
	l.state.Lock()
	defer l.state.Unlock()
	l.state.up = false
}

// warnOfSkew says that logs, timestamps and certificates of the two hosts do not fit together.
// Nothing here depends on the wall clock.
func (l *Link) warnOfSkew(p *pair) {
	if p.skew.Abs() <= MaxSkew {
		return
	}
	l.log.Warn("the clocks of this host and the peer are far apart: run a time service on both (chrony, systemd-timesyncd)",
		"peer", p.hello.Node, "peer_ahead", p.skew)
}
