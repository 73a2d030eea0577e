// The access logs of a node: one for each file that a service names, whichever group it is in.
package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"sync"
	"syscall"

	"github.com/ftgw/ftgw/accesslog"
	"github.com/ftgw/ftgw/config"
)

// accessLogs are the logs of a node. A reload may open others and end some.
type accessLogs struct {
	log *slog.Logger

	mu      sync.Mutex
	present accessSet
	former  []*accesslog.Writer // those that have ended, for what they count
	ctx     context.Context     // of the run; nil before it
	owned   sync.WaitGroup
}

// accessFile is a file and how it is written.
type accessFile struct{ path, format string }

// accessLog is one that is written.
type accessLog struct {
	*accesslog.Writer
	end context.CancelFunc // nil before the run
}

// fileOf returns the log that a service writes to, if it writes one.
func fileOf(cfg *config.Config, s config.Service) (f accessFile, writes bool) {
	f = accessFile{s.AccessLog, s.AccessLogFormat}
	if f.path != "" && !filepath.IsAbs(f.path) {
		f.path = filepath.Join(cfg.StateDir, f.path)
	}
	return f, f.path != ""
}

// accessSet are the logs that a config names.
type accessSet map[accessFile]*accessLog

// of returns the log of a service, or nil if it writes none.
func (all accessSet) of(cfg *config.Config, s config.Service) *accesslog.Writer {
	f, _ := fileOf(cfg, s)
	if l := all[f]; l != nil {
		return l.Writer
	}
	return nil
}

// prepare makes the logs that are wanted and not there. A file that cannot be opened is found out now.
func (a *accessLogs) prepare(cfg *config.Config, services []config.Service) (accessSet, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	all := accessSet{}
	for _, s := range services {
		f, writes := fileOf(cfg, s)
		if !writes || all[f] != nil {
			continue
		}
		if all[f] = a.present[f]; all[f] != nil {
			continue
		}
		w, err := a.open(f)
		if err != nil {
			return nil, fmt.Errorf("service %s: access log: %w", s.Name, err)
		}
		all[f] = &accessLog{Writer: w}
	}
	return all, nil
}

func (a *accessLogs) open(f accessFile) (*accesslog.Writer, error) {
	format, err := accesslog.ParseFormat(f.format)
	if err != nil {
		return nil, err
	}
	open := func() (io.WriteCloser, error) {
		return os.OpenFile(f.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o640)
	}
	file, err := open()
	if err != nil {
		return nil, fmt.Errorf("%w (make its directory, or name another file)", err)
	}
	file.Close()
	return accesslog.NewWriter(accesslog.Config{Open: open, Format: format, Log: a.log.With("file", f.path)}), nil
}

// adopt makes these the logs of the node and returns what ends the others, once nobody writes to
// them any more.
func (a *accessLogs) adopt(all accessSet) (endFormer func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	former := a.present
	a.present = all
	for _, l := range all {
		a.run(l)
	}
	return func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		for f, l := range former {
			if a.present[f] == nil && l.end != nil {
				l.end()
				a.former = append(a.former, l.Writer)
			}
		}
	}
}

// run begins to write a log, if that is not done yet and the node runs. The caller has the lock.
func (a *accessLogs) run(l *accessLog) {
	if l.end != nil || a.ctx == nil || a.ctx.Err() != nil {
		return
	}
	ctx, end := context.WithCancel(a.ctx)
	l.end = end
	a.owned.Go(func() { l.Run(ctx) }) // returns nil
}

// write writes the access logs, and opens them anew at SIGUSR1, until end is called, which
// waits. They outlast the proxies, whose last exchanges are told as well.
func (a *accessLogs) write(ctx context.Context) (end func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	rotated := make(chan os.Signal, 1)
	signal.Notify(rotated, syscall.SIGUSR1)
	a.mu.Lock()
	a.ctx = ctx
	for _, l := range a.present {
		a.run(l)
	}
	a.owned.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-rotated:
				a.reopen()
			}
		}
	})
	a.mu.Unlock()
	return func() {
		signal.Stop(rotated)
		a.mu.Lock()
		cancel()
		a.mu.Unlock()
		a.owned.Wait()
	}
}

func (a *accessLogs) reopen() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, l := range a.present {
		l.Reopen()
	}
	a.log.Info("access logs are opened anew", "files", len(a.present))
}

// drops adds the lines that are in no access log.
func (a *accessLogs) drops(to map[string]uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	to["access-log-full"], to["access-log-unwritten"] = 0, 0
	all := slices.Clone(a.former)
	for _, l := range a.present {
		all = append(all, l.Writer)
	}
	for _, w := range all {
		s := w.Stats()
		to["access-log-full"] += s.Dropped
		to["access-log-unwritten"] += s.Lost
	}
}
