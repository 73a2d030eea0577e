// The access logs of a node: one for each file that a service names, whichever group it is in.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/ftgw/ftgw/accesslog"
	"github.com/ftgw/ftgw/config"
)

// accessLog returns the log that a service writes to, or nil if it writes none. A file that cannot
// be opened is found out now.
func (n *node) accessLog(s config.Service) (*accesslog.Writer, error) {
	path := s.AccessLog
	if path == "" {
		return nil, nil
	}
	if !filepath.IsAbs(path) {
		path = filepath.Join(n.cfg.StateDir, path)
	}
	if w := n.access[path]; w != nil {
		return w, nil
	}
	format, err := accesslog.ParseFormat(s.AccessLogFormat)
	if err != nil {
		return nil, fmt.Errorf("service %s: %w", s.Name, err)
	}
	open := func() (io.WriteCloser, error) { return os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o640) }
	f, err := open()
	if err != nil {
		return nil, fmt.Errorf("service %s: access log: %w (make its directory, or name another file)", s.Name, err)
	}
	f.Close()
	if n.access == nil {
		n.access = map[string]*accesslog.Writer{}
	}
	n.access[path] = accesslog.NewWriter(accesslog.Config{Open: open, Format: format, Log: n.log.With("file", path)})
	return n.access[path], nil
}

// writeLogs writes the access logs, and opens them anew at SIGUSR1, until end is called, which
// waits. They outlast the proxies, whose last exchanges are told as well.
func (n *node) writeLogs(ctx context.Context) (end func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	rotated := make(chan os.Signal, 1)
	signal.Notify(rotated, syscall.SIGUSR1)
	var owned sync.WaitGroup
	for _, w := range n.access {
		owned.Go(func() { w.Run(ctx) }) // returns nil
	}
	owned.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-rotated:
			}
			for _, w := range n.access {
				w.Reopen()
			}
			n.log.Info("access logs are opened anew", "files", len(n.access))
		}
	})
	return func() {
		signal.Stop(rotated)
		cancel()
		owned.Wait()
	}
}

// logDrops adds the lines that are in no access log.
func (n *node) logDrops(to map[string]uint64) {
	to["access-log-full"], to["access-log-unwritten"] = 0, 0
	for _, w := range n.access {
		s := w.Stats()
		to["access-log-full"] += s.Dropped
		to["access-log-unwritten"] += s.Lost
	}
}
