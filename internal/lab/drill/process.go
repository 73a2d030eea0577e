package drill

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ftgw/ftgw/internal/lab"
	"github.com/ftgw/ftgw/internal/lab/client"
)

// processFaults returns the scenarios in which no cable fails and no host as in Table 2.
func processFaults() []Scenario {
	return slices.Concat(processes(), upstreams(), behinds(), disks(), crashes())
}

// processes returns the scenarios in which a process or a resource fails and no host.
func processes() []Scenario {
	const either = ", on the primary and then on the backup"
	var all []Scenario
	for _, d := range []time.Duration{300 * time.Millisecond, time.Second, 5 * time.Second} {
		all = append(all, Scenario{
			Name: fmt.Sprintf("process/paused-%v", d), Rounds: 2,
			About: fmt.Sprintf("ftgw stands still for %v under mixed traffic and goes on%s; one host speaks at a time, and they are a pair again", d, either),
			Run:   func(ctx context.Context, r *Round) error { return r.pause(ctx, d) },
		})
	}
	return append(all, Scenario{
		Name: "process/queue-overflow", Rounds: 2,
		About:  "ftgw stands still for 200 ms under uploads and its kernel's queues of 64 packets run over" + either + "; it is counted, and TCP repairs it",
		Config: lab.Config{Tail: "[limits]\nqueue_length = 64\n"},
		// After such a loss bbr, which knows nothing of the path yet, may crawl for a minute.
		Options: lab.Options{CongestionControl: "cubic"},
		Run:     overflow,
	}, Scenario{
		Name: "process/little-memory", Rounds: 3,
		About:  "all bodies beyond 4 KiB go to disk; the primary crashes in the middle, then the backup, then nobody",
		Config: lab.Config{Tail: "[limits]\nbody_memory = \"4KiB\"\n"},
		Run:    odd{begin: (*load).mixed}.run,
	})
}

// turn is the primary in even rounds and the backup in odd ones.
func (r *Round) turn() *lab.Host {
	if r.Number%2 == 0 {
		return r.Primary
	}
	return r.Backup
}

// Remark notes what a scenario does beside its faults.
func (r *Round) Remark(what string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.injected = append(r.injected, Injection{AtMS: ms(time.Since(r.begin)), What: what})
}

// standStill stops ftgw on a host for a while.
func (r *Round) standStill(ctx context.Context, h *lab.Host, d time.Duration) error {
	p := h.Node()
	if err := r.Inject("ftgw on "+r.title(h)+" stands still", p.Stop); err != nil {
		return err
	}
	return errors.Join(Sleep(ctx, d), r.Inject("it goes on", p.Cont))
}

func (r *Round) pause(ctx context.Context, d time.Duration) error {
	finish := r.Mixed(ctx)
	defer finish()
	if err := Sleep(ctx, 200*time.Millisecond); err != nil {
		return err
	}
	if err := r.standStill(ctx, r.turn(), d); err != nil {
		return err
	}
	if err := Sleep(ctx, 300*time.Millisecond); err != nil {
		return err
	}
	finish()
	return r.whole(ctx)
}

// whole waits until the hosts are a pair in duplex and shows that it serves.
func (r *Round) whole(ctx context.Context) error {
	waiting, cancel := context.WithTimeout(ctx, duplexWait)
	defer cancel()
	if err := r.AwaitDuplex(waiting); err != nil {
		return err
	}
	r.Report.Add(r.Client.Once(ctx, client.Bytes("new", 5000)))
	return nil
}

func overflow(ctx context.Context, r *Round) error {
	const queueFull = "queue-full"
	victim := r.turn()
	before, err := victim.Status(ctx)
	if err != nil {
		return err
	}
	l := r.load(ctx)
	defer l.finish()
	for k := range 12 {
		l.repeat(r.Client, fmt.Sprintf("upload%d", k), 5*time.Millisecond, func(id string, _ int) client.Request {
			return client.Upload(id, 1<<20)
		})
	}
	if err := Sleep(ctx, 150*time.Millisecond); err != nil {
		return err
	}
	if err := r.standStill(ctx, victim, 200*time.Millisecond); err != nil {
		return err
	}
	if err := Sleep(ctx, 150*time.Millisecond); err != nil {
		return err
	}
	l.finish()
	after, err := victim.Status(ctx)
	if err != nil {
		return err
	}
	n := after.Drops[queueFull] - before.Drops[queueFull]
	r.Remark(fmt.Sprintf("%s has counted %d packets as %s", victim.Name, n, queueFull))
	if n == 0 {
		return fmt.Errorf("%w: no queue ran over", ErrMissed)
	}
	return r.whole(ctx)
}
