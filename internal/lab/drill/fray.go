package drill

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"

	"github.com/ftgw/ftgw/internal/lab"
	"github.com/ftgw/ftgw/internal/lab/shim"
)

// stroke is one fault of a round's plan.
type stroke struct {
	kind        kind
	host        *lab.Host // nil for those that concern both
	from, lasts time.Duration
}

type kind int

const (
	cable       kind = iota // the host's cable is pulled
	apart                   // the hosts do not reach each other, all else does
	unwitnessed             // the host and the witness do not reach each other
	still                   // ftgw stands still (SIGSTOP)
	killed                  // ftgw is killed, and started again later
	flushed                 // nft flush ruleset, which ftgw mends itself
)

// moment is the beginning or the end of a stroke.
type moment struct {
	at   time.Duration
	what string
	act  func() error
}

// plan draws the strokes of the round; what ends first is chance.
func (f *fray) plan() []stroke {
	all := []stroke{{kind: apart}}
	for _, h := range []*lab.Host{f.A, f.B} {
		for _, k := range []kind{cable, still, killed, flushed} {
			all = append(all, stroke{kind: k, host: h})
		}
		if f.witness {
			all = append(all, stroke{kind: unwitnessed, host: h})
		}
	}
	f.Rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	all = all[:1+f.Rand.IntN(4)]
	at := time.Duration(0)
	for i := range all {
		most := 2 * time.Second
		if all[i].kind == still {
			most = 3 * time.Second
		}
		all[i].from, all[i].lasts = at, between(f.Rand, 50*time.Millisecond, most)
		at += between(f.Rand, time.Millisecond, 600*time.Millisecond)
	}
	return all
}

// between draws a time such that each order of magnitude is as likely as the next.
func between(g *rand.Rand, low, high time.Duration) time.Duration {
	for d := high; ; d /= 2 {
		if d/2 < low || g.IntN(4) == 0 {
			return low + time.Duration(g.Int64N(int64(d-low+1)))
		}
	}
}

// moments returns the beginning of a stroke and, if it does not end by itself, the end.
func (f *fray) moments(s stroke) []moment {
	what, act, ended, end := f.carry(s)
	all := []moment{{s.from, what, act}}
	if end != nil {
		all = append(all, moment{s.from + s.lasts, ended, end})
	}
	return all
}

func (f *fray) carry(s stroke) (what string, act func() error, ended string, end func() error) {
	name := ""
	if s.host != nil {
		name = f.title(s.host)
	}
	switch s.kind {
	case cable:
		return "the cable of " + name + " is pulled", s.host.Cut, "the cable of " + name + " is put back", func() error { return f.replug(s.host) }
	case apart:
		return "the hosts lose each other", f.part, "the hosts have each other again", f.unite
	case unwitnessed:
		losses := []*shim.Loss{}
		return name + " and the witness lose each other", func() error { return f.hide(s.host, &losses) },
			name + " and the witness have each other again", func() error { return endAll(losses) }
	case still:
		p := new(*lab.Process)
		return "ftgw on " + name + " stands still", func() error { *p = s.host.Node(); return (*p).Stop() },
			"ftgw on " + name + " goes on", func() error { return (*p).Cont() }
	case killed:
		return "ftgw on " + name + " is killed", func() error { return f.kill(s.host) },
			"ftgw on " + name + " is started again", func() error { return f.restart(s.host) }
	}
	return "the rules of " + name + " are flushed", func() error { return flushRuleset(s.host) }, "", nil
}

// replug undoes Host.Cut alone; Mend would end the hosts being apart as well.
func (f *fray) replug(h *lab.Host) error {
	return f.Router.Do(func() error {
		l, err := netlink.LinkByName(h.RouterPort())
		if err != nil {
			return err
		}
		return netlink.LinkSetUp(l)
	})
}

func (f *fray) part() error {
	f.apart = append(f.apart, period{from: time.Now()})
	return errors.Join(f.A.Part(), f.B.Part())
}

func (f *fray) unite() error {
	var errs []error
	for _, h := range []*lab.Host{f.A, f.B} {
		errs = append(errs, f.Router.Do(func() error {
			l, err := netlink.LinkByName(h.RouterPort())
			if err != nil {
				return err
			}
			return netlink.LinkSetIsolated(l, false)
		}))
	}
	f.apart[len(f.apart)-1].to = time.Now()
	return errors.Join(errs...)
}

// hide loses all that a host and the witness say to each other, in the router, where a flush of
// the host's rules does not undo it.
func (f *fray) hide(h *lab.Host, losses *[]*shim.Loss) error {
	for _, way := range [][2]*lab.Host{{h, f.Witness}, {f.Witness, h}} {
		from, to := way[0], way[1]
		l, err := shim.Lose(f.Router, fmt.Sprintf("%s_%s", from.Name, to.Name), from.RouterPort(), shim.All(),
			shim.Match{Kind: shim.TCP, From: from.Addr(), To: to.Addr()}, shim.Match{Kind: shim.UDP, From: from.Addr(), To: to.Addr()})
		if err != nil {
			return err
		}
		*losses = append(*losses, l)
	}
	return nil
}

func endAll(losses []*shim.Loss) (err error) {
	for _, l := range losses {
		err = errors.Join(err, l.End())
	}
	return err
}

func (f *fray) kill(h *lab.Host) error {
	n := h.Node()
	if err := n.Kill(); err != nil {
		return err
	}
	<-n.Done()
	f.deaths = append(f.deaths, death{h.Name, time.Now()})
	return nil
}

func flushRuleset(h *lab.Host) error {
	return h.Do(func() error {
		c, err := nftables.New()
		if err != nil {
			return err
		}
		c.FlushRuleset()
		return c.Flush()
	})
}
