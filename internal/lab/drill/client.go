package drill

import (
	"context"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ftgw/ftgw/internal/lab"
	"github.com/ftgw/ftgw/internal/lab/client"
)

// odd is one odd side of a client: a socket, a kernel or a habit that most do not have.
type odd struct {
	name, about string
	fresh       bool
	settings    []string // of the client's kernel, as "key=value"
	begin       func(*load)
	during      func(*load) error                   // in the middle of the traffic; nil: nothing
	after       func(context.Context, *Round) error // when the traffic has ended; nil: nothing
}

// clients returns a scenario for each odd side of a client, played with a crash of the primary,
// with one of the backup and without a fault.
func clients() []Scenario {
	var all []Scenario
	for _, o := range odds() {
		all = append(all, Scenario{Name: "client/" + o.name, Rounds: 3, Fresh: o.fresh, Run: o.run,
			About: o.about + "; the primary crashes in the middle, then the backup, then nobody"})
	}
	return all
}

func odds() []odd {
	return []odd{
		{name: "window-of-one-segment", about: "the client's receive buffer holds one segment",
			begin: cramped},
		{name: "zero-window", about: "the client reads nothing for 1.5 s in the middle of a reply, its window closes, then it reads on",
			begin: stalled},
		{name: "no-timestamps", about: "the client's kernel has TCP timestamps off", settings: []string{"tcp_timestamps=0"}, begin: plain},
		{name: "no-sack", about: "the client's kernel has selective acknowledgments off", settings: []string{"tcp_sack=0"}, begin: plain},
		{name: "no-window-scaling", about: "the client's kernel does not scale windows", settings: []string{"tcp_window_scaling=0"}, begin: plain},
		{name: "no-options", about: "the client's kernel has timestamps, selective acknowledgments and window scaling off",
			settings: []string{"tcp_timestamps=0", "tcp_sack=0", "tcp_window_scaling=0"}, begin: plain},
		{name: "mss-536", about: "the client announces segments of 536 bytes at most",
			begin: sockets(option{unix.IPPROTO_TCP, unix.TCP_MAXSEG, 536})},
		{name: "one-byte-writes", about: "the client sends its requests byte by byte, a segment each", begin: dribble},
		{name: "half-close", about: "the client ends its stream behind the request and then waits for the reply", begin: halfClosing},
		{name: "abort", about: "the client resets connections in the middle of replies, beside others that it does not reset",
			fresh: true, begin: aborting, after: nothingLeft},
		{name: "port-reused", about: "the client opens a connection from the very port of the one before, which the server closed or the client reset",
			begin: reusing},
		{name: "syn-flood", about: "5,000 SYNs of ever new addresses in half a second beside real traffic", begin: plain, during: flood},
		{name: "path-mtu", about: "the client's cable takes 1,200 bytes instead of 1,500 from the middle of the transfers on, and the router says so",
			fresh: true, begin: plain, during: shrink, after: wide},
	}
}

// run plays one round; its number says who dies.
func (o odd) run(ctx context.Context, r *Round) error {
	for _, s := range o.settings {
		key, value, _ := strings.Cut(s, "=")
		if err := r.Lab.Client.Sysctl("net/ipv4/"+key, value); err != nil {
			return err
		}
	}
	l := r.load(ctx)
	defer l.finish()
	o.begin(l)
	if err := Sleep(ctx, 150*time.Millisecond); err != nil {
		return err
	}
	if o.during != nil {
		if err := o.during(l); err != nil {
			return err
		}
	}
	if victim := r.third(); victim != nil {
		if err := r.crashBusy(ctx, victim); err != nil {
			return err
		}
	}
	if err := Sleep(ctx, 150*time.Millisecond); err != nil {
		return err
	}
	l.finish()
	r.Report.Add(r.Client.Once(ctx, client.Bytes("new", 5000)))
	if o.after != nil {
		return o.after(ctx, r)
	}
	return nil
}

// third is the primary in the first of three rounds, the backup in the second and nil in the third.
func (r *Round) third() *lab.Host {
	return []*lab.Host{r.Primary, r.Backup, nil}[r.Number%3]
}

// crashBusy crashes a host while requests are under way, and waits for the survivor.
func (r *Round) crashBusy(ctx context.Context, victim *lab.Host) error {
	r.Check(func(s *Seen) error {
		if len(s.Interrupted) == 0 {
			return fmt.Errorf("%w: no request was under way", ErrMissed)
		}
		return nil
	})
	if err := r.Crash(victim, Host); err != nil {
		return err
	}
	return r.AwaitSole(ctx, r.Other(victim))
}
