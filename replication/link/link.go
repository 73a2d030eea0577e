// Package link keeps sessions alive between the hosts' own addresses (DESIGN §4, "Sessions"). A
// Link is one session: that with one other node of one group. It pairs a control and a bulk
// connection, beats, carries replication's queues over them, and reconnects by itself. A Port
// listens for all links of the process.
//
// The node with the lower session address dials, the other accepts; either listens, because
// a refused connect is evidence that a process died (DESIGN §5, R), and because anybody of the
// cluster may Ask. A session ends when
// either connection ends or nothing came for Config.Silence; that is no death by itself.
// Unanswered records and unacknowledged notes go again with the next session.
//
//	idle ── control and bulk said hello ──► up ── either lost, silent, replaced ──► idle
//	  ▲                                      Handler.Up … Handler.Down                │
//	  └────────────────── 5 ms … 200 ms, after a refusal 2 s ─────────────────────────┘
package link

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ftgw/ftgw/replication"
	"github.com/ftgw/ftgw/rewrite"
)

// RecordSink takes one record; see replication.RecordSink.
type RecordSink = replication.RecordSink

// Config is what New needs. Zero durations take the defaults named.
type Config struct {
	Self, Peer netip.AddrPort // session addresses; they must differ
	// Own is a network of the two nodes' own ("duplex-mi" in paper 004 §IV), so that records are not
	// in the way of clients' segments; Self and Peer stand in while it is down. Zero: there is none.
	Own      Path
	Group    string // what the session is about; see replication.Hello
	PeerName string // the other node
	Keys     replication.Keys
	// Hello is asked at each connection for what the node is at that moment. Boot must stay
	// the same for the life of the process. The link fills in Group and what follows it. Hello
	// and Beat are called from several goroutines.
	Hello func() replication.Hello
	// Beat, if set, is asked at each heartbeat for Epoch, Role and Flags. Otherwise Hello
	// is, without flags.
	Beat         func() replication.Heartbeat
	Heartbeat    time.Duration // 10 ms
	Silence      time.Duration // 1 s: nothing came for so long, so a fresh connection is tried
	RefusedRetry time.Duration // 2 s: between tries at a peer that refuses or is refused
	Log          *slog.Logger
	Handler      Handler
}

// Handler is told what the peer says. Up and Down alternate and enclose all other calls of a
// session but Sign. Control's calls come from one goroutine, OpenRecord and the sinks from
// another, each in order; none may block for long. Slices are valid during the call only.
type Handler interface {
	// Up says that both connections stand. h may bear a new boot ID.
	Up(h replication.Hello)
	// Down says that the session is lost; reset means that the peer's kernel closed or reset
	// a connection, as opposed to a decision of this side.
	Down(err error, reset bool)
	// Sign says that an authentic frame came, of either connection. It is called very often.
	Sign()
	Heartbeat(m replication.Heartbeat)
	Confirm(c []rewrite.Confirmation)
	// Stored tells of records that the peer has stored, with what that confirms. The Store
	// call that waits for it returns after this.
	Stored(s []replication.StoredItem)
	Notes(n []replication.FlowNote)
	Leave()
	Epoch(e replication.Epoch)
	// OpenRecord returns where a record goes; an error refuses it (an old epoch, say), and the
	// peer's Store returns ErrRefused.
	OpenRecord(r replication.Record) (RecordSink, error)
}

// Link is one peer's session. Its methods are safe for concurrent use, before, during and
// after Run.
type Link struct {
	cfg   Config
	log   *slog.Logger
	start time.Time // base of all times on the wire

	ctl struct {
		sync.Mutex
		out  replication.Outbox
		wake chan struct{}
	}
	bulk bulkSide
	est  chan *pair // pairs that said hello, to Run
	half reception
	drop chan struct{}
	idle atomic.Bool
	left struct {
		said, ended atomic.Bool // SendLeave was called; and a session has ended since
	}

	in struct { // what arrived; Run's goroutines only, one session at a time
		sync.Mutex
		boot [16]byte // whose numbers got counts
		got  uint64   // numbered frames below this arrived
		// Sent of the peer's newest heartbeat, and when it came by our clock.
		echo, echoAt int64
	}

	rtt      atomic.Int64 // ns, smoothed; 0: unknown
	lastSign atomic.Int64 // ns since start
	counts   counters
	state    state
}

// New returns a Link that does nothing until Run. Confirm and its like may be called already.
func New(cfg Config) *Link {
	cfg.Heartbeat = cmp.Or(cfg.Heartbeat, 10*time.Millisecond)
	cfg.Silence = cmp.Or(cfg.Silence, time.Second)
	cfg.RefusedRetry = cmp.Or(cfg.RefusedRetry, 2*time.Second)
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	l := &Link{cfg: cfg, log: cfg.Log.With("peer_session", cfg.Peer.String(), "group", cfg.Group), start: time.Now(), est: make(chan *pair), drop: make(chan struct{}, 1)}
	l.ctl.wake = make(chan struct{}, 1)
	l.bulk.wake = make(chan struct{}, 1)
	l.bulk.waits = make(map[uint64]*waiter)
	return l
}

// Run keeps the session until ctx ends, which it dials or a Port hands over; what waits on control
// then (a Leave) still goes. It returns an error only where the config cannot work. When it
// returns, all its goroutines have, and every Store ends with ErrClosed.
func (l *Link) Run(ctx context.Context) error {
	defer l.closeStores()
	if l.cfg.Self == l.cfg.Peer {
		return fmt.Errorf("session %v: this node and its peer have the same address: give each [[node]] its own", l.cfg.Self)
	}
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	if l.dials() {
		wg.Go(func() { l.dial(ctx) })
	}
	l.sessions(ctx)
	return nil
}

// dials reports whether this node is the one that dials.
func (l *Link) dials() bool { return l.cfg.Self.Compare(l.cfg.Peer) < 0 }

// sessions runs one session after the other; a new pair ends the old session.
func (l *Link) sessions(ctx context.Context) {
	var p *pair
	for {
		if p == nil {
			select {
			case p = <-l.est:
			case <-ctx.Done():
				return
			}
		}
		if l.left.ended.Load() { // dialed or greeted while the last session ended
			p.close()
			close(p.ended)
			p = nil
			continue
		}
		p = l.session(ctx, p)
	}
}

// now is the time on the wire: ns since this Link was made, monotonic.
func (l *Link) now() int64 { return int64(time.Since(l.start)) }

// RTT returns the smoothed round trip between the two daemons, 0 while unknown.
func (l *Link) RTT() time.Duration { return time.Duration(l.rtt.Load()) }

// Confirm tells the peer what this host's kernel holds. It never blocks; confirmations that
// wait for the same flow become one. What does not arrive is said again after a reconnect.
func (l *Link) Confirm(c rewrite.Confirmation) {
	l.say(func(o *replication.Outbox) { o.Confirm(c) })
}

// Note tells the peer about one flow. It never blocks.
func (l *Link) Note(n replication.FlowNote) {
	l.say(func(o *replication.Outbox) { o.Note(n) })
}

// SendEpoch tells the peer of an epoch. It never blocks.
func (l *Link) SendEpoch(e replication.Epoch) {
	l.say(func(o *replication.Outbox) { o.Epoch(e) })
}

// SendLeave tells the peer that this node leaves in good order. It never blocks; end Run's
// context after it. Once the session that is told has ended no other one begins: a peer that
// claims drops it and calls again at once, and must not be taken for one that wants a pair.
func (l *Link) SendLeave() {
	l.left.said.Store(true)
	l.say(func(o *replication.Outbox) { o.Leave() })
}

func (l *Link) say(f func(*replication.Outbox)) {
	l.ctl.Lock()
	f(&l.ctl.out)
	l.ctl.Unlock()
	wake(l.ctl.wake)
}

// wake makes the writer look, now or when it is done writing.
func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
