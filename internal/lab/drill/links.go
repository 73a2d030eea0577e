package drill

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"time"

	"github.com/ftgw/ftgw/internal/lab"
	"github.com/ftgw/ftgw/internal/lab/capture"
	"github.com/ftgw/ftgw/internal/lab/client"
	"github.com/ftgw/ftgw/internal/lab/shim"
)

// link is one of the lab's links.
type link struct {
	name, about string
	host        func(r *Round) *lab.Host // whose cable it is
	pair        bool                     // only what the hosts send each other
}

func links() []link {
	return []link{
		{"client", "between client and router", clientOf, false},
		{"primary", "between router and primary", primaryOf, false},
		{"backup", "between router and backup", backupOf, false},
		{"hosts", "between the hosts, clones and replication", primaryOf, true},
	}
}

// badLinks returns the scenarios in which one link loses, repeats, delays, reorders or alters
// what passes, in both directions, whatever it is.
func badLinks() []Scenario {
	var all []Scenario
	for _, l := range links() {
		for _, rate := range []struct {
			percent uint32
			size    int64
		}{{1, large}, {5, 60_000}, {20, 15_000}} {
			s := strain{name: fmt.Sprintf("link/loss-%d-%s", rate.percent, l.name), about: fmt.Sprintf("%d %% of the frames %s are lost, each way", rate.percent, l.about),
				bytes: rate.size,
				begin: func(r *Round) (func() (int, error), error) { return l.lose(r, rate.percent) }}
			all = append(all, s.scenario())
		}
		for _, f := range []struct {
			name, about string
			faults      shim.Faults
		}{
			{"duplicate", "a fifth of the frames %s comes twice", shim.Faults{Duplicate: 200}},
			{"reorder", "a fifth of the frames %s comes 5 ms late, behind others", shim.Faults{Reorder: 200, Late: 5 * time.Millisecond}},
			{"delay", "every frame %s comes 20 ms late", shim.Faults{Delay: 20 * time.Millisecond}},
			{"corrupt", "3 %% of the packets %s have one bit wrong, as have those of plain TCP beside", shim.Faults{Corrupt: 30}},
		} {
			s := strain{name: "link/" + f.name + "-" + l.name, about: fmt.Sprintf(f.about, l.about),
				begin: func(r *Round) (func() (int, error), error) { return l.bump(r, f.faults) }}
			if f.faults.Corrupt > 0 {
				s.beside = l.control
			}
			all = append(all, s.scenario())
		}
	}
	for i := range all {
		all[i].Paper = "000, §2: transient faults that lead to lost, duplicated, or corrupted packets"
	}
	return all
}

// lose loses frames at the ends of the link: where they come in.
func (l link) lose(r *Round, percent uint32) (func() (int, error), error) {
	share := shim.Share{Lost: 10 * percent, Of: 1000}
	h := l.host(r)
	if l.pair {
		o := r.Other(h)
		return r.lose(share, loss{h, "link", []shim.Match{{FromMAC: o.MAC()}}}, loss{o, "link", []shim.Match{{FromMAC: h.MAC()}}})
	}
	end, err := r.lose(share, loss{h, "link", []shim.Match{{}}})
	if err != nil {
		return end, err
	}
	up, err := shim.Lose(r.Router, "drill", h.RouterPort(), share, shim.Match{})
	if err != nil {
		_, bad := end()
		return end, errors.Join(err, bad)
	}
	return func() (int, error) {
		n, err := up.Lost()
		m, bad := end()
		return int(n) + m, errors.Join(err, up.End(), bad)
	}, nil
}

// bump puts a shim into the link.
func (l link) bump(r *Round, f shim.Faults) (func() (int, error), error) {
	h := l.host(r)
	if l.pair {
		f.Between = [2]capture.MAC{capture.MAC(r.A.MAC()), capture.MAC(r.B.MAC())}
	}
	s, err := shim.Start(r.Router, h, f, r.Rand.Uint64())
	if err != nil {
		return nil, err
	}
	return func() (int, error) {
		n, err := s.Stop()
		r.forged = append(r.forged, s.Forged()...)
		if f.Delay > 0 {
			return n.Frames, err
		}
		return n.Struck(), err
	}, nil
}

// control shows that plain TCP, without ftgw, gets every byte over the same link.
func (l link) control(ctx context.Context, r *Round) (err error) {
	h, from := r.Primary, r.Lab.Client
	switch {
	case l.pair:
		from = r.Backup
	case l.host(r) != from:
		h = l.host(r)
	}
	target := netip.AddrPortFrom(h.Addr(), 8081).String()
	app, err := h.Start("control", r.program, "lab-app", "--listen", target, "--host", h.Name, "--journal", filepath.Join(h.Dir, "control-journal"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, app.Kill()); <-app.Done() }()
	for end := time.Now().Add(hitWithin); ; time.Sleep(2 * time.Millisecond) {
		err := h.Do(func() error {
			c, err := net.DialTimeout("tcp", target, time.Second)
			if err != nil {
				return err
			}
			return c.Close()
		})
		if err == nil {
			break
		}
		if time.Now().After(end) || app.Exited() {
			return fmt.Errorf("control: %w\n%s", err, app.Log())
		}
	}
	plain := client.Client{Namespace: from, Target: target, Timeout: patience}
	var seen client.Report
	for i := range 4 {
		seen.Add(plain.Once(ctx, client.Bytes(fmt.Sprintf("control-down%d", i), large)),
			plain.Once(ctx, client.Upload(fmt.Sprintf("control-up%d", i), large)))
	}
	if err := seen.Err(); err != nil {
		return fmt.Errorf("control: plain TCP does not survive this: %w", err)
	}
	r.remark(fmt.Sprintf("control: plain TCP from %s to %s, %d requests, all whole", from.Name, h.Name, seen.Summary().Requests))
	return nil
}

// genuine leaves out the segments that a link forged by altering a header: nobody sent them.
func (r *Round) genuine(all []capture.Segment) []capture.Segment {
	type header struct {
		src, dst netip.AddrPort
		seq, ack uint32
		flags    capture.Flags
		window   uint16
		length   int
	}
	of := func(s capture.Segment) header {
		return header{s.Src, s.Dst, uint32(s.Seq), uint32(s.Ack), s.Flags, s.Window, s.Len}
	}
	forged := make(map[header]bool)
	for _, s := range r.forged {
		forged[of(s)] = true
	}
	return slices.DeleteFunc(slices.Clone(all), func(s capture.Segment) bool { return forged[of(s)] })
}
