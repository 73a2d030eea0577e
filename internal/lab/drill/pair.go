package drill

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ftgw/ftgw/internal/crashpoint"
	"github.com/ftgw/ftgw/internal/lab"
)

const duplexWait = 30 * time.Second

// pair is the lab that the rounds of one scenario share.
type pair struct {
	program  string
	setting  Setting
	scenario Scenario
	lab      *lab.Lab // nil until the first round, and after one that failed
}

// prepare brings both hosts up and waits until they are in duplex.
func (p *pair) prepare(ctx context.Context, r *Round) error {
	first := p.lab == nil
	if first {
		l, err := lab.New(p.scenario.Options)
		if err != nil {
			return err
		}
		p.lab = l
		if err := l.WriteConfig(p.setting.config(p.scenario.Config)); err != nil {
			return err
		}
	}
	var g errgroup.Group
	for _, h := range []*lab.Host{p.lab.A, p.lab.B} {
		g.Go(func() error { return p.revive(h, !first && p.scenario.Fresh) })
	}
	if err := g.Wait(); err != nil {
		return fmt.Errorf("prepare the pair: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, duplexWait)
	defer cancel()
	r.Lab, r.Setting, r.Services = p.lab, p.setting, p.setting.services()
	err := r.AwaitDuplex(ctx)
	if err == nil {
		err = r.takeRoles(ctx)
	}
	if err == nil {
		err = r.cross(ctx)
	}
	if err != nil {
		return fmt.Errorf("prepare the pair: %w", err)
	}
	return nil
}

// revive makes a host run with a whole cable, and starts what does not run.
func (p *pair) revive(h *lab.Host, reboot bool) error {
	armed, err := disarm(h)
	if err != nil {
		return err
	}
	if reboot || h.Crashed() {
		if err := h.Reboot(); err != nil {
			return err
		}
	} else if err := h.Mend(); err != nil {
		return err
	}
	if err := os.Truncate(h.JournalPath(), 0); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if n := h.Node(); n != nil && !n.Exited() && (armed || crashpoint.Stopped(n.PID())) {
		if err := n.Kill(); err != nil {
			return err
		}
		<-n.Done()
	}
	if n := h.Node(); n == nil || n.Exited() {
		if err := startNode(h, p.program); err != nil {
			return err
		}
	}
	if !running(h, "app") {
		return p.startApp(h)
	}
	return nil
}

// startApp starts the web server of a host as the mode and the scenario need it.
func (p *pair) startApp(h *lab.Host) error {
	args := []string{"--alike", string(p.setting.promise().alike)}
	if p.scenario.Once {
		args = append(args, "--once", p.lab.SharedPath(storeName))
	}
	_, err := h.StartApp(p.program, args...)
	return err
}

// startNode starts ftgw on a host so that its crash points can be armed.
func startNode(h *lab.Host, program string) error {
	_, err := h.StartNodeEnv(program, []string{crashpoint.Env + "=@" + armFile(h)}, "--log-level", "debug")
	return err
}

// disarm takes back what Arm did, for the next process, and reports whether there was anything.
func disarm(h *lab.Host) (armed bool, err error) {
	err = os.Remove(armFile(h))
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// running reports whether the latest process of that name on a host lives.
func running(h *lab.Host, name string) bool {
	alive := false
	for _, p := range h.Processes() {
		if p.Name == name {
			alive = !p.Exited()
		}
	}
	return alive
}

// discard closes the lab, so that the next round gets a new one.
func (p *pair) discard() error {
	if p.lab == nil {
		return nil
	}
	l := p.lab
	p.lab = nil
	return l.Close()
}
