package drill

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ftgw/ftgw/config"
	"github.com/ftgw/ftgw/internal/lab"
	"github.com/ftgw/ftgw/internal/lab/client"
	"github.com/ftgw/ftgw/internal/lab/shim"
)

// fault begins an outage and returns how to end it.
type fault func(r *Round) (end func() error, err error)

func pulled(of func(*Round) *lab.Host) fault {
	return func(r *Round) (func() error, error) { return of(r).Mend, of(r).Cut() }
}

func parted(r *Round) (func() error, error) {
	return func() error { return errors.Join(r.A.Mend(), r.B.Mend()) }, errors.Join(r.A.Part(), r.B.Part())
}

// deaf loses what comes to a host.
func deaf(of func(*Round) *lab.Host) fault {
	return func(r *Round) (func() error, error) { return lost(of(r), "deaf", of(r).Interface(), shim.Match{}) }
}

// mute loses what comes from a host.
func mute(of func(*Round) *lab.Host) fault {
	return func(r *Round) (func() error, error) { return lost(r.Router, "mute", of(r).RouterPort(), shim.Match{}) }
}

// unheard loses what a host sends to its peer.
func unheard(of func(*Round) *lab.Host) fault {
	return func(r *Round) (func() error, error) {
		other := r.Other(of(r))
		return lost(other, "unheard", other.Interface(), shim.Match{FromMAC: of(r).MAC()})
	}
}

// cut loses some of what the hosts send each other, both ways. That is done in the router: when a hook
// of the hosts' own goes at the end, their kernel drops what waits in any queue for a verdict.
func cut(frames []shim.Match) fault {
	return func(r *Round) (func() error, error) {
		var ends []func() error
		end := func() (err error) {
			for _, e := range ends {
				err = errors.Join(err, e())
			}
			return err
		}
		for _, h := range []*lab.Host{r.A, r.B} {
			var lot []shim.Match
			for _, m := range frames {
				m.From, m.To = h.Addr(), r.Other(h).Addr()
				lot = append(lot, m)
			}
			e, err := lost(r.Router, h.Name, h.RouterPort(), lot...)
			if err != nil {
				return nil, errors.Join(err, end())
			}
			ends = append(ends, e)
		}
		return end, nil
	}
}

func sessionFrames() []shim.Match { return toAndFrom(shim.TCP, config.Default().SessionPort) }

func gossipFrames() []shim.Match {
	port := config.Default().GossipPort
	return append(toAndFrom(shim.TCP, port), toAndFrom(shim.UDP, port)...)
}

func toAndFrom(k shim.Kind, port uint16) []shim.Match {
	return []shim.Match{{Kind: k, FromPort: port}, {Kind: k, ToPort: port}}
}

// lost loses all that matches and comes in by a device; the name tells it from others there.
func lost(h *lab.Host, name, device string, lot ...shim.Match) (end func() error, err error) {
	l, err := shim.Lose(h, "drill_"+name, device, shim.All(), lot...)
	if err != nil {
		return nil, err
	}
	return func() error {
		n, err := l.Lost()
		if err == nil && n == 0 {
			err = fmt.Errorf("%w: no frame was lost", ErrMissed)
		}
		return errors.Join(err, l.End())
	}, nil
}

// soleIs wants a host to serve alone.
func soleIs(of func(*Round) *lab.Host) func(context.Context, *Round) error {
	return func(ctx context.Context, r *Round) error { return r.AwaitSole(ctx, of(r)) }
}

// backupsAreSole wants the backup of each service to serve it alone.
func backupsAreSole(ctx context.Context, r *Round) error {
	ctx, cancel := context.WithTimeout(ctx, soleWait)
	defer cancel()
	for _, s := range r.Services {
		if _, err := s.Backup.AwaitService(ctx, s.Name, "serving alone", func(x lab.ServiceStatus) bool { return x.Role == "sole" }); err != nil {
			return err
		}
	}
	return nil
}

// asBefore wants both hosts in their roles, and no claim.
func asBefore(ctx context.Context, r *Round) error {
	return r.haveRoles(ctx, func(s *Service) *lab.Host { return s.Primary })
}

// haveRoles wants each service to have this primary, the other host as backup, and no claim.
func (r *Round) haveRoles(ctx context.Context, primary func(*Service) *lab.Host) error {
	for _, h := range []*lab.Host{r.A, r.B} {
		all, err := states(ctx, h)
		if err != nil {
			return err
		}
		for _, v := range r.Services {
			s, want := all[v.Name], "backup"
			if h == primary(v) {
				want = "primary"
			}
			if s.Role != want || s.LastTakeover != nil && s.LastTakeover.At.After(r.begin) {
				return fmt.Errorf("%s is not %s of %s, or has claimed: %+v", h.Name, want, v.Name, s)
			}
		}
	}
	return nil
}

// oneSole wants one host to serve each service alone, and the other not at all.
func oneSole(ctx context.Context, r *Round) error {
	for _, v := range r.Services {
		roles, sole := map[string]string{}, 0
		for _, h := range []*lab.Host{r.A, r.B} {
			all, err := states(ctx, h)
			if err != nil {
				return err
			}
			switch roles[h.Name] = all[v.Name].Role; roles[h.Name] {
			case "sole":
				sole++
			case "primary", "backup":
				return fmt.Errorf("%s is still %s of %s", h.Name, roles[h.Name], v.Name)
			}
		}
		if sole != 1 {
			return fmt.Errorf("%d hosts serve %s alone, want 1: %v", sole, v.Name, roles)
		}
	}
	return nil
}

// startWitness starts the witness, unless it runs, and waits until both hosts can ask it.
func startWitness(ctx context.Context, r *Round) error {
	if n := r.Witness.Node(); n == nil || n.Exited() {
		if _, err := r.Witness.StartNode(r.program); err != nil {
			return err
		}
	}
	for end := time.Now().Add(healedWait); ; {
		missing := ""
		for _, h := range []*lab.Host{r.A, r.B, r.Witness} {
			if s, err := h.Status(ctx); err != nil || len(s.Warnings) > 0 {
				missing = fmt.Sprintf("%s: %v %v", h.Name, err, s.Warnings)
			}
		}
		if missing == "" {
			return Sleep(ctx, 600*time.Millisecond) // a witness that has just started listens first
		}
		if time.Now().After(end) {
			return fmt.Errorf("wait for the witness: %s", missing)
		}
		if err := Sleep(ctx, 5*time.Millisecond); err != nil {
			return err
		}
	}
}

// partition is an outage for which DESIGN §5 promises little: two hosts that both reach the
// gateway but not each other cannot be told from two deaths. Both claim and both speak, and the
// router sends the clients to the one that announced itself last. When they hear each other
// again, the lower epoch fences itself. A connection whose client went on with the one host is
// behind on the other, so it ends there, or stalls: the one that stays does not notice that the
// client acknowledges more than it ever sent. A witness prevents all of it.
func partition(ctx context.Context, r *Round) error {
	r.Rules = Rules{Switches: -1}
	r.Client.Timeout = 4 * time.Second // of those that stall
	r.Check(func(s *Seen) error {
		var bad []error
		for _, x := range s.Results {
			isNew := x.ID == newDownload || x.ID == newUpload
			switch x.Failure {
			case client.None:
			case client.Reset, client.EOF, client.Timeout:
				if isNew {
					bad = append(bad, fmt.Errorf("after the heal: %v", x))
				}
			default:
				bad = append(bad, fmt.Errorf("%v", x))
			}
		}
		return errors.Join(bad...)
	})
	o := outage{name: "partition", lasts: 1500 * time.Millisecond, begin: parted, during: func(ctx context.Context, r *Round) error {
		return errors.Join(r.AwaitSole(ctx, r.A), r.AwaitSole(ctx, r.B))
	}}
	return o.run(ctx, r)
}
