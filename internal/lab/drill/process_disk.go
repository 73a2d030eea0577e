package drill

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"time"

	"github.com/ftgw/ftgw/internal/lab"
	"github.com/ftgw/ftgw/internal/lab/client"
)

// disks returns the scenarios of a full disk.
func disks() []Scenario {
	return []Scenario{{
		Name: "process/full-disk", Rounds: 3, Fresh: true,
		About:   "the disk below state_dir is full; what fits into memory is served as ever, also over a crash of the primary or the backup, and a body that does not fit gets one 507 (round 3)",
		Options: lab.Options{StateBytes: 128 << 10},
		Run:     fullDisk,
	}}
}

func fullDisk(ctx context.Context, r *Round) error {
	for _, h := range []*lab.Host{r.A, r.B} {
		if err := r.fill(ctx, h); err != nil {
			return err
		}
	}
	conns, err := r.open(ctx, 3)
	if err != nil {
		return err
	}
	defer closeAll(conns)
	if r.third() == nil {
		if err := r.tooLarge(ctx, conns[0]); err != nil {
			return err
		}
	}
	l := r.load(ctx)
	defer l.finish()
	for k := range 6 {
		l.repeat(r.Client, fmt.Sprintf("small%d", k), 0, func(id string, i int) client.Request {
			if (k+i)%2 == 0 {
				return client.Slow(id, 50*time.Millisecond)
			}
			return client.Bytes(id, 100_000)
		})
	}
	if err := Sleep(ctx, 150*time.Millisecond); err != nil {
		return err
	}
	if victim := r.third(); victim != nil {
		if err := r.crashBusy(ctx, victim); err != nil {
			return err
		}
	}
	l.finish()
	r.Report.Add(conns[1].Do(ctx, client.Bytes("after", 5000)))
	return r.drain(ctx)
}

// tooLarge makes a request and asks for a reply that no host has room for.
func (r *Round) tooLarge(ctx context.Context, c *client.Conn) error {
	r.Rules.Input = false // the backup cannot hold the request: its connection becomes the primary's alone
	large := []string{"large-reply", "large-request"}
	r.refusals(http.StatusInsufficientStorage, large)
	r.Report.Add(c.Do(ctx, client.Bytes(large[0], 4<<20)))
	up, err := r.Client.Dial(ctx)
	if err != nil {
		return err
	}
	defer up.Close()
	r.Report.Add(up.Do(ctx, client.Upload(large[1], 4<<20)))
	return nil
}

const filler = "filler"

// fill leaves no room below a host's state directory.
func (r *Round) fill(ctx context.Context, h *lab.Host) error {
	r.Remark("the disk of " + h.Name + " is full")
	p, err := h.Start("fill", "dd", "if=/dev/zero", "of="+filepath.Join(h.StateDir(), filler), "bs=4096")
	if err != nil {
		return err
	}
	if err := p.Wait(ctx); err == nil || ctx.Err() != nil {
		return errors.Join(fmt.Errorf("the disk of %s did not get full:\n%s", h.Name, p.Log()), ctx.Err())
	}
	return nil
}

// drain makes room again on the hosts that live.
func (r *Round) drain(ctx context.Context) error {
	for _, h := range []*lab.Host{r.A, r.B} {
		if h.Crashed() {
			continue
		}
		p, err := h.Start("fill", "rm", filepath.Join(h.StateDir(), filler))
		if err == nil {
			err = p.Wait(ctx)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// refusals holds the round to this: the named requests end with that error reply, and so or by the end
// of their connection those that may end; all others are whole. A client that is still sending its
// request may be too late to read the reply, and one that has a part of a reply gets no error.
func (r *Round) refusals(status int, mayEnd []string, ids ...string) {
	r.Rules.Whole = false
	r.Check(func(s *Seen) error {
		var errs []error
		for _, x := range s.Results {
			refused := x.Failure == client.BadState && x.Status == status
			ended := x.Failure == client.EOF || x.Failure == client.Reset
			switch {
			case slices.Contains(ids, x.ID) && !refused:
				errs = append(errs, fmt.Errorf("want status %d: %v", status, x))
			case slices.Contains(mayEnd, x.ID) && !x.OK() && !refused && !ended, !slices.Contains(slices.Concat(mayEnd, ids), x.ID) && !x.OK():
				errs = append(errs, errors.New(x.String()))
			}
		}
		return errors.Join(errs...)
	})
}
