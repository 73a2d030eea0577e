package link

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/ftgw/ftgw/replication"
)

// Status is what the link knows at one moment.
type Status struct {
	Up      bool
	Peer    replication.Hello // of the newest session; zero before the first
	RTT     time.Duration     // 0: unknown
	Refusal error             // why the peer is refused or refuses, with the remedy; nil: it is not

	Sessions  uint64 // sessions that came up
	Strangers uint64 // connections turned away: another source, garbage, no hello
	Refused   uint64 // records of the peer that the handler refused
	Failed    uint64 // records of the peer that could not be kept
	Repeated  uint64 // numbered frames passed over because they had come before
	Dropped   uint64 // notes and confirmations given up; see replication.Outbox
}

type counters struct {
	sessions, strangers, refused, failed, repeated atomic.Uint64
}

type state struct {
	sync.Mutex
	up      bool
	peer    replication.Hello
	refusal error
}

// Status returns the link's state and counters.
func (l *Link) Status() Status {
	l.state.Lock()
	s := Status{Up: l.state.up, Peer: l.state.peer, Refusal: l.state.refusal}
	l.state.Unlock()
	l.ctl.Lock()
	s.Dropped = l.ctl.out.Dropped
	l.ctl.Unlock()
	s.RTT = l.RTT()
	c := &l.counts
	s.Sessions, s.Strangers, s.Refused = c.sessions.Load(), c.strangers.Load(), c.refused.Load()
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
		l.log.Error("peer session refused", "err", err)
	}
}

func (l *Link) setUp(up bool, h replication.Hello) {
	l.state.Lock()
	defer l.state.Unlock()
	l.state.up = up
	if up {
		l.state.peer, l.state.refusal = h, nil
	}
}
