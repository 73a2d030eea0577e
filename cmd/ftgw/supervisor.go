// What the program that started this one is told, if it is systemd: that this node is ready, what
// it is, that it lives, that it ends. And what it keeps of a run that ended by a defect.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"github.com/ftgw/ftgw/internal/defect"
	"github.com/ftgw/ftgw/nfq"
	"github.com/ftgw/ftgw/rewrite"
)

// statusEvery is how often a changed status is told at most.
const statusEvery = time.Second

// supervise tells the supervisor, if there is one.
func supervise(log *slog.Logger, state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		log.Warn("cannot tell systemd", "state", state, "error", err)
	}
}

// keepSupervisor says that this node is ready, then what it is, whenever that changes, and that it
// lives while all does that serves.
func (n *node) keepSupervisor(ctx context.Context) error {
	return toSupervisor(ctx, n.log, n.summary, n.lively)
}

// toSupervisor does it until ctx ends. Lively reports whether all that serves has run within that
// time; where it waits for a lock that is never given back, that is an answer too.
func toSupervisor(ctx context.Context, log *slog.Logger, summary func() string, lively func(within time.Duration) bool) error {
	patience, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		return fmt.Errorf("read what systemd's watchdog wants: %w (WatchdogSec in the unit sets it)", err)
	}
	every := statusEvery
	if patience > 0 {
		every = min(every, patience/4)
	}
	said := summary()
	supervise(log, daemon.SdNotifyReady+"\nSTATUS="+said)
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		if patience > 0 && lively(patience/2) {
			supervise(log, daemon.SdNotifyWatchdog)
		}
		if now := summary(); now != said {
			said = now
			supervise(log, "STATUS="+said)
		}
	}
}

// summary is one line about what this node is.
func (n *node) summary() string {
	var all []string
	for _, g := range n.groups {
		st := g.dir.status.Load()
		with := "alone"
		if st.Paired {
			with = "with " + g.nodes[g.target()].Name
		}
		all = append(all, fmt.Sprintf("%s: %s, %s", g.names(), st.Role, with))
	}
	return strings.Join(all, "; ")
}

// lively reports whether the directors and the keeper of the leases have gone round within that
// time, no packet worker has had its batch for longer, and no flow table is locked for ever.
func (n *node) lively(within time.Duration) bool {
	n.data.each(func(*rewrite.Table) {})
	oldest := int64(time.Since(n.started) - within)
	for _, g := range n.groups {
		if g.dir.steppedAt.Load() < oldest {
			return false
		}
	}
	for _, w := range n.workers {
		if since := w.since.Load(); since != 0 && since < oldest {
			return false
		}
	}
	return n.leased.Load() >= oldest
}

// watched is a worker's handler that shows since when it is at work.
func (n *node) watched(w *worker) nfq.Handler {
	h := n.data.handler(w.in)
	return func(packets []nfq.Packet, verdict func(int, nfq.Verdict)) {
		w.since.Store(int64(time.Since(n.started)))
		h(packets, verdict)
		w.since.Store(0)
	}
}

func (w *witnessNode) keepSupervisor(ctx context.Context) error {
	return toSupervisor(ctx, w.log, func() string { return "witness" }, func(time.Duration) bool {
		for _, g := range w.cfg.Groups() { // passes through the lock that each grant needs
			w.server.Grant(g.Name)
		}
		return true
	})
}

// keepReports has a defect of this run reported to a file in state_dir, and tells of an earlier
// run's.
func keepReports(stateDir string, log *slog.Logger) error {
	previous, err := defect.RuntimeTo(filepath.Join(stateDir, "crash"))
	if err != nil {
		return fmt.Errorf("prepare for a crash: %w (set state_dir to a directory that this user may write)", err)
	}
	if previous != "" {
		log.Error("an earlier run ended by a defect or by the watchdog; please send its report to ftgw's authors", "report", previous)
	}
	return nil
}
