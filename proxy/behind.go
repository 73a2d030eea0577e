package proxy

import (
	"context"
	"errors"
	"time"

	"github.com/ftgw/ftgw/config"
	"github.com/ftgw/ftgw/internal/defect"
	"github.com/ftgw/ftgw/replication"
)

// Routes in mode static: as sync-static (same.go), but a reply goes out at once, and the peer is asked
// afterwards whether it has made the same. If not, the reply is stored there then. So the standby
// writes to its socket only what is the executor's, and the operator's promise that both web servers
// reply alike is leant on only where a host dies within that time: the survivor executes the request
// again, and its reply goes on at the byte that its socket has. For this the heads are to be the same
// as well: they have no Date, and the peer compares what is left but for Connection. A reply that
// differs turns its route to logged, on both hosts, until it is reset (routes.go). From then on replies
// have a Date, so a survivor that finds its route so makes none in the place of what may be out.
//
// A peer that has wrongly claimed refuses what is to be stored, so that this host sends nothing more.
// Here it is not asked. So a reply goes out at once only while the peer cannot have claimed, because it
// has heard this host just now (Config.MayOutrun); else it waits for the answer.

const (
	maxBehind    = 8               // replies of a connection that the peer may not have yet
	behindWithin = 5 * time.Second // then a reply is stored that the peer has not made
)

// errBroken says why what may be out is not made once more.
var errBroken = errors.New("its route is logged now, for the web servers do not reply alike")

// behind is what the peer lacks of a connection's replies. It belongs to the connection's goroutine.
type behind struct {
	slots chan struct{}
	last  *lagging // the latest; nil: there was none
}

// lagging is one of these replies.
type lagging struct {
	done chan struct{}   // closed when the peer has it, or never will
	look chan<- struct{} // takes one token when somebody waits for it; may be nil
	err  error           // of Log.Store, once done: the flow must end
}

// lag has work done as soon as the peer has what went out before, then after, if any of that failed, too.
// caughtUp waits for both.
func (x *executor) lag(look chan<- struct{}, work func() error, after func()) {
	before, l := x.behind.last, &lagging{done: make(chan struct{}), look: look}
	x.behind.last = l
	go func() {
		defer close(l.done)
		defer after()
		defer defect.Guard()
		if before != nil {
			<-before.done
			l.err = before.err
		}
		if l.err == nil {
			l.err = work()
		}
	}()
}

// outrun writes a reply and has the peer asked meanwhile. It takes over w.
func (x *executor) outrun(rec Record, w *wire) error {
	b := &x.behind
	if b.slots == nil {
		b.slots = make(chan struct{}, maxBehind)
	}
	select {
	case b.slots <- struct{}{}:
	case <-x.ctx.Done():
		x.flow.s.behind.Add(-1)
		w.free()
		return x.silenced(rec, x.ctx.Err())
	}
	answered, written := make(chan struct{}), make(chan struct{})
	ctx, route := x.ctx, x.route
	x.lag(nil, func() error { return x.flow.s.reconcile(ctx, rec, w, route) }, func() {
		x.flow.s.behind.Add(-1)
		close(answered)
		<-written
		w.free()
		<-b.slots
	})
	defer close(written)
	if !x.cfg.MayOutrun() {
		<-answered
		if err := b.last.err; err != nil {
			return x.silenced(rec, err)
		}
	}
	if err := w.writeTo(&x.flow.client); err != nil {
		return errDropped
	}
	x.flow.s.count.delivered.Add(1)
	x.flow.s.count.static.Add(1)
	return nil
}

// mayOutrun reports whether a reply may go out before the peer has it; it then counts as behind. Its route
// may have become logged since the exchange began.
func (x *executor) mayOutrun() bool {
	s := x.flow.s
	s.behind.Add(1) // first: who knows of other settings and sees none behind will find none later
	if s.mayLean(x.cfg) && x.route.demoted.Load() == nil {
		return true
	}
	s.behind.Add(-1)
	return false
}

// mayLean reports whether the peer does with a request what these settings say.
func (s *Server) mayLean(cfg *settings) bool { return cfg == s.cfg() && cfg.Agreed() }

// Behind returns how many replies are out that the peer may not have yet.
func (s *Server) Behind() int { return int(s.behind.Load()) }

// NewsWithin is how soon both hosts know that a route is logged. Config.MayOutrun lets no static reply go out
// where the other host was not heard within half of it.
const NewsWithin = 250 * time.Millisecond

// mayBeOut reports whether a reply to r may have gone out from a host that was lost, though nothing of it
// is stored here: it was static, and the request came before the takeover, if perhaps not to this host. The
// client may have it, so what goes out here in its place must be the same bytes. Of a route that is logged, that holds for the
// replies that can have been behind when it became so: not long ago, and on a connection of which nothing
// was stored since the lost host surely knew (Config.MayOutrun: it heard this one shortly before each).
func (x *executor) mayBeOut(r *request) bool {
	path := r.path()
	if !x.inherited() || x.prefix != nil || x.cfg.Mode(r.method, path) != config.Static {
		return false
	}
	d := x.cfg.route(r.method, path).demoted.Load()
	return d == nil || d.At.After(x.since.Add(-maxBehind*behindWithin)) && x.full.Before(d.At.Add(NewsWithin))
}

// astray ends a connection whose client may have a reply, or a part, that cannot be made here: an error in
// its place would be bytes of another, and be taken for the rest of it.
func (x *executor) astray(why error) error {
	x.row.outcome = Truncated
	x.flow.s.count.failed.Add(1)
	x.cfg.Log.Warn("a static reply may have gone out from the lost host and cannot be made here; resetting the connection",
		"upstream", x.cfg.Upstream, "flow", x.flow.id, "index", x.index, "error", why)
	x.flow.s.flows.Reset(x.flow.id)
	return errDropped
}

// caughtUp waits until the peer has all that went out. Whatever else is stored, and the end of the
// connection, comes after that. An error ends the flow.
func (x *executor) caughtUp() error {
	l := x.behind.last
	if l == nil {
		return nil
	}
	select {
	case l.look <- struct{}{}:
	default:
	}
	<-l.done
	return l.err
}

// reconcile sees to it that the peer has a reply that went out already.
func (s *Server) reconcile(ctx context.Context, rec Record, w *wire, route *route) error {
	like := rec
	like.Kind, like.Size = replication.KindSame, int64(sameFixed+w.bare)
	soon, cancel := context.WithTimeout(ctx, behindWithin)
	defer cancel()
	err := s.log.Store(soon, like, &likened{w: w})
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return err
	case errors.Is(err, ErrDiffers):
		s.demote(route, "the peer's reply differs; see its log")
	case !errors.Is(err, ErrUnlike) && soon.Err() == nil:
		return err
	}
	s.count.unlike.Add(1)
	return s.log.Store(ctx, rec, w)
}
