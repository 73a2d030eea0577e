package drill

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/ftgw/ftgw/internal/crashpoint"
	"github.com/ftgw/ftgw/internal/lab"
	"github.com/ftgw/ftgw/internal/lab/client"
)

// bystanders are connections that have nothing under way when the host dies, and must work
// afterwards.
const bystanders = 4

// row is one row of Table 2, "Recovery from server failures that occur during different phases
// of handling HTTP requests and replies", or one way to be in its phase.
type row struct {
	name    string
	paper   string // the phase in the paper's words
	about   string
	primary bool             // the primary fails, else the backup
	point   crashpoint.Point // where it stops; empty: when nothing is under way
	times   int
	request client.Request   // the one exchange
	phase   func(Phase) bool // whether the wire shows the phase
	ends    []Outcome        // one of which the exchange must come to
}

// table2 returns a scenario for each row; each is played by a crash of the host and by one of
// the process.
func table2() []Scenario {
	const big = 2 << 20 // bytes of a reply that needs several frames and segments
	late := func(id string, size int64) client.Request {
		const delay = 100 * time.Millisecond // longer than the request's acknowledgment is delayed
		q := client.Bytes(id, size)
		q.Path, q.Delay = fmt.Sprintf("%s&delay=%d", q.Path, delay.Milliseconds()), delay
		return q
	}
	slower := late("target", big)
	slower.Path += "&on=" + lab.NameB + "&late=600"
	rows := []row{
		{name: "backup-request-incomplete", paper: "backup: after backup receives an incomplete client HTTP message",
			about: "the backup dies with the 20th segment of an upload in its kernel and not relayed",
			point: crashpoint.CloneData, times: 20, request: client.Upload("target", 1<<20),
			phase: Phase.incomplete, ends: []Outcome{Delivered}},
		{name: "backup-request-not-relayed", paper: "backup: after backup receives a complete client HTTP message but before all of it is relayed to primary",
			about: "the backup dies when it has relayed the first of two segments of a request",
			point: crashpoint.CloneData, times: 2, request: client.Upload("target", 1000),
			phase: Phase.unacked, ends: []Outcome{Delivered}},
		{name: "backup-request-relayed", paper: "backup: after backup forwards a complete client HTTP message to primary",
			about: "the backup dies when it has just relayed a whole request",
			point: crashpoint.ClonedData, times: 1, request: late("target", 3000),
			phase: func(p Phase) bool { return p.Sent == p.Request && p.Replied == 0 }, ends: []Outcome{Delivered}},
		{name: "backup-reply-stored", paper: "backup: after backup forwards a complete client HTTP message to primary",
			about: "the backup dies when it has stored the reply and not said so",
			point: crashpoint.RecordStored, times: 1, request: late("target", big),
			phase: Phase.acked, ends: []Outcome{Delivered}},
		{name: "backup-idle", about: "the backup dies while no request or reply is in progress"},

		{name: "primary-request-incomplete", paper: "primary: after primary receives an incomplete client HTTP message but before it can acknowledge the last client TCP data packet", primary: true,
			about: "the primary dies when the second of two segments of a request has come and its kernel does not have it",
			point: crashpoint.SegmentIn, times: 2, request: client.Upload("target", 1000),
			phase: Phase.unacked, ends: []Outcome{Executed}},
		{name: "primary-request-unacknowledged", paper: "primary: after primary receives a complete client HTTP message but before it can acknowledge the last client TCP data packet", primary: true,
			about: "the primary dies when its kernel has a whole request, of which nothing was acknowledged",
			point: crashpoint.ConfirmIn, times: 1, request: late("target", 3000),
			phase: Phase.unacked, ends: []Outcome{Executed, Reexecuted}},
		{name: "primary-reply-made", paper: "primary: after primary receives and acknowledges a complete HTTP request but before it sends a full copy of the HTTP reply to backup", primary: true,
			about: "the primary dies when its web server has replied and nothing of it is stored",
			point: crashpoint.ReplyMade, times: 1, request: late("target", big),
			phase: Phase.acked, ends: []Outcome{Reexecuted}},
		{name: "primary-reply-partly-stored", paper: "primary: after primary receives and acknowledges a complete HTTP request but before it sends a full copy of the HTTP reply to backup", primary: true,
			about: "the primary dies when about a third of a reply of 2 MiB has gone to the backup",
			point: crashpoint.RecordSent, times: 3, request: late("target", big),
			phase: Phase.acked, ends: []Outcome{Reexecuted}},
		{name: "primary-likeness-unanswered", paper: "primary: after primary receives and acknowledges a complete HTTP request but before it sends a full copy of the HTTP reply to backup", primary: true,
			about: "the primary dies when it has asked whether the backup has made the same reply, and the backup's web server has not replied yet",
			point: crashpoint.RecordSent, times: 1, request: slower,
			phase: Phase.acked, ends: []Outcome{Reexecuted}},
		{name: "primary-reply-stored-unseen", paper: "primary: after primary sends a complete copy of an HTTP reply to backup but before transmitting some of the reply TCP data packets to client", primary: true,
			about: "the primary dies when the backup has stored the reply and the primary has not seen that it has",
			point: crashpoint.StoredIn, times: 1, request: late("target", big),
			phase: Phase.acked, ends: []Outcome{Replayed}},
		{name: "primary-reply-stored", paper: "primary: after primary sends a complete copy of an HTTP reply to backup but before transmitting some of the reply TCP data packets to client", primary: true,
			about: "the primary dies between the stored reply and its first byte to the client",
			point: crashpoint.ReplyStored, times: 1, request: late("target", big),
			phase: Phase.acked, ends: []Outcome{Replayed}},
		{name: "primary-reply-partly-sent", paper: "primary: after primary sends a complete copy of an HTTP reply to backup but before transmitting some of the reply TCP data packets to client", primary: true,
			about: "the primary dies before the 5th segment of a reply of 2 MiB",
			point: crashpoint.DataOut, times: 5, request: late("target", big),
			phase: func(p Phase) bool { return p.Acked == p.Request && p.Replied > 0 && p.Replied < big }, ends: []Outcome{Replayed}},
		{name: "primary-idle", paper: "primary: no HTTP request or reply in progress", primary: true,
			about: "the primary dies while no request or reply is in progress"},
	}
	var all []Scenario
	for _, w := range rows {
		s := Scenario{Name: "table2/" + w.name, About: w.about, Rounds: 2, Fresh: true, Run: w.run}
		if w.paper != "" {
			s.Paper = "000, Table 2, " + w.paper
		}
		all = append(all, s)
	}
	return all
}

// run plays the row: the host in even rounds, the process in odd ones.
func (w row) run(ctx context.Context, r *Round) error {
	victim := r.Backup
	if w.primary {
		victim = r.Primary
	}
	idle, err := r.openBy(ctx, r.Client, bystanders, "before")
	if err != nil {
		return err
	}
	one, err := r.openBy(ctx, r.only(r.Client, 0), 1, "target-before")
	if err != nil {
		closeAll(idle)
		return err
	}
	idle = append(idle, one...)
	defer closeAll(idle)
	// Delayed acknowledgments of what went before are out, so that the next segment that passes
	// is one of the exchange.
	if err := Sleep(ctx, 80*time.Millisecond); err != nil {
		return err
	}
	target := make(chan client.Result, 1)
	if w.point == "" {
		target <- client.Result{}
	} else if err := w.begin(ctx, r, victim, idle[bystanders], target); err != nil {
		return err
	}
	err = r.Crash(victim, How(r.Number%2 == 1))
	if err == nil {
		err = r.AwaitSole(ctx, r.Other(victim))
	}
	<-target
	if err != nil {
		return err
	}
	for i, c := range idle {
		if i < bystanders || c.Usable() {
			r.Report.Add(c.Do(ctx, client.Bytes(fmt.Sprintf("after%d", i), 5000)))
		}
	}
	r.Report.Add(r.Client.Once(ctx, client.Bytes("new", 5000)))
	return nil
}

// begin arms the point, makes the request and waits until it is hit.
func (w row) begin(ctx context.Context, r *Round, victim *lab.Host, c *client.Conn, target chan<- client.Result) error {
	if err := r.Arm(victim, w.point, w.times); err != nil {
		return err
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		x := c.Do(ctx, w.request)
		r.Report.Add(x)
		target <- x
	}()
	if err := r.AwaitStopped(ctx, victim); err != nil {
		<-done
		return err
	}
	at := time.Now()
	r.Check(func(s *Seen) error { return w.in(r.Setting).check(s, at) })
	return nil
}

// in returns the row as it is in a setting's mode.
func (w row) in(s Setting) row {
	o := s.promise().rows[w.name]
	if o.phase != nil {
		w.phase = o.phase
	}
	if o.ends != nil {
		w.ends = o.ends
	}
	return w
}

// check holds the round to the row: the exchange was in its phase, and ended as it must.
func (w row) check(s *Seen, at time.Time) error {
	if p := s.PhaseOf(w.request.ID, at); !w.phase(p) {
		return fmt.Errorf("%w: %+v", ErrMissed, p)
	}
	for _, e := range s.Interrupted {
		if e.ID == w.request.ID && !slices.Contains(w.ends, e.Outcome) {
			return fmt.Errorf("the exchange was %s (on %v), want %v", e.Outcome, e.Executed, w.ends)
		}
	}
	return nil
}

// open makes connections that have had one exchange each.
func (r *Round) open(ctx context.Context, n int) ([]*client.Conn, error) {
	return r.openBy(ctx, r.Client, n, "before")
}

func (r *Round) openBy(ctx context.Context, with *client.Client, n int, name string) ([]*client.Conn, error) {
	var all []*client.Conn
	for i := range n {
		c, err := with.Dial(ctx)
		if err != nil {
			closeAll(all)
			return nil, err
		}
		all = append(all, c)
		r.Report.Add(c.Do(ctx, client.Bytes(fmt.Sprintf("%s%d", name, i), 5000)))
	}
	return all, nil
}
