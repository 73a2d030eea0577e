// Reload: the node reads its config file again and takes what has changed, or nothing at all.
package main

import (
	"cmp"
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"github.com/ftgw/ftgw/config"
	"github.com/ftgw/ftgw/replication"
)

// Reload is what came of one, as `ftgw reload --json` prints it.
type Reload struct {
	Node    string          `json:"node"`
	File    string          `json:"file"`
	Outcome Outcome         `json:"outcome"`
	Changes []config.Change `json:"changes"` // between what ran before and the file; in force if Outcome is reloaded
	// Errors say why nothing was changed: every mistake of the file, or what stood in the way.
	Errors   []string `json:"errors,omitempty"`
	Warnings []string `json:"warnings,omitempty"` // nodes that have other settings now
	TookMS   float64  `json:"took_ms"`
}

// Outcome is how a reload ended. All but Reloaded leave everything as it was.
type Outcome string

// The outcomes.
const (
	Reloaded      Outcome = "reloaded"
	WouldReload   Outcome = "would reload"   // a dry run that found nothing in the way
	RestartNeeded Outcome = "restart needed" // keys changed that a running node keeps
	Invalid       Outcome = "invalid"        // the file has mistakes
	Failed        Outcome = "failed"
)

// source is where a node's config comes from.
type source struct {
	path string
	read func() (*config.Config, error)
	log  *logging // follows log_level
}

// reloader is the config of a running node, witness or not.
type reloader struct {
	cfg     *config.Config // as of the start: for what a reload does not change
	present atomic.Pointer[config.Config]
	file    source
	keys    replication.Keys
	log     *slog.Logger

	mu sync.Mutex // held by the one reload
	// try puts a config in force, whose changes a running node can take, unless it is dry: then it
	// only says what stands in the way. nil: there is nothing to do.
	try func(ctx context.Context, cfg *config.Config, changes []config.Change, dry bool) error
	// warn names what an operator should see to then; nil: nothing.
	warn func() []string
}

// now is the config at present.
func (r *reloader) now() *config.Config { return r.present.Load() }

// reload is the only way in which the settings of a running node change: it begins and ends here.
func (r *reloader) reload(ctx context.Context, dry bool) Reload {
	r.mu.Lock()
	defer r.mu.Unlock()
	began := time.Now()
	supervise(r.log, daemon.SdNotifyReloading)
	defer supervise(r.log, daemon.SdNotifyReady)
	a := Reload{Node: r.cfg.Name, File: r.file.path, Changes: []config.Change{}}
	err := r.take(ctx, &a, dry)
	var mistakes config.Errors
	switch {
	case errors.As(err, &mistakes):
		a.Outcome = Invalid
		for _, m := range mistakes {
			a.Errors = append(a.Errors, m.Error())
		}
	case err != nil:
		a.Outcome = cmp.Or(a.Outcome, Failed)
		a.Errors = strings.Split(err.Error(), "\n")
	}
	if r.warn != nil {
		a.Warnings = r.warn()
	}
	a.TookMS = float64(time.Since(began).Microseconds()) / 1000
	r.tell(a)
	return a
}

// take reads the file and, unless it is only to be tried, puts it in force.
func (r *reloader) take(ctx context.Context, a *Reload, dry bool) error {
	cfg, err := r.file.read()
	if err != nil {
		return err
	}
	a.Changes = append(a.Changes, config.Changes(r.now(), cfg)...)
	if err := r.unchangeable(a.Changes); err != nil {
		a.Outcome = RestartNeeded
		return err
	}
	if r.try != nil {
		if err := r.try(ctx, cfg, a.Changes, dry); err != nil {
			return err
		}
	}
	if a.Outcome = WouldReload; dry {
		return nil
	}
	a.Outcome = Reloaded
	r.present.Store(cfg)
	r.file.log.follow(cfg)
	return nil
}

// unchangeable returns an error that names what a running node keeps as it is.
func (r *reloader) unchangeable(changes []config.Change) error {
	var kept []error
	for _, c := range changes {
		if c.Restart {
			kept = append(kept, errors.New(c.String()))
		}
	}
	keys, err := readKeys(r.cfg)
	if err != nil {
		kept = append(kept, err)
	} else if subtle.ConstantTimeCompare(keys.ISS[:], r.keys.ISS[:]) == 0 {
		kept = append(kept, fmt.Errorf("secret_file: %s holds another secret", r.cfg.SecretFile))
	}
	if len(kept) == 0 {
		return nil
	}
	return errors.Join(append(kept, errors.New("restart needed: ftgw drain, then restart"))...)
}

// tell writes what came of it into the log.
func (r *reloader) tell(a Reload) {
	var changes []string
	for _, c := range a.Changes {
		changes = append(changes, c.String())
	}
	if len(a.Errors) == 0 {
		r.log.Info("reload", "outcome", a.Outcome, "file", a.File, "changes", strings.Join(changes, "; "), "warnings", strings.Join(a.Warnings, "; "))
	} else {
		r.log.Error("reload", "outcome", a.Outcome, "file", a.File, "errors", strings.Join(a.Errors, "; "))
	}
}

// keepReloading reloads at SIGHUP.
func (r *reloader) keepReloading(ctx context.Context) error {
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGHUP)
	defer signal.Stop(asked)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-asked:
			r.reload(ctx, false)
		}
	}
}
