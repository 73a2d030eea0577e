package accesslog

import (
	"cmp"
	"context"
	"io"
	"log/slog"
	"sync"
)

// Config is what NewWriter needs.
type Config struct {
	// Open opens the file to append to; Run calls it, at the first line and at each Reopen. Its
	// error names the file.
	Open   func() (io.WriteCloser, error)
	Format Format
	Memory int          // bytes of lines that wait for the disk; default 1 MiB
	Log    *slog.Logger // told when writing begins to fail or works again; default: nothing
}

// Stats counts lines since the start.
type Stats struct {
	Written uint64
	Dropped uint64 // for want of room: the disk was slow
	Lost    uint64 // in a write or an open that failed
}

// Writer writes lines to a file. Its methods are safe for concurrent use and never wait for the
// file; Run alone does.
//
// Lines are written as soon as the write before has ended, so those of a busy time go many at
// once, and there is no timer.
type Writer struct {
	cfg  Config
	wake chan struct{} // holds one

	mu     sync.Mutex
	lines  []byte // waiting
	count  uint64 // lines in it
	spare  []byte // the other buffer, while Run does not write it
	reopen bool
	ended  bool // Run has ended
	stats  Stats
}

// NewWriter returns a Writer that keeps lines until Run writes them.
func NewWriter(cfg Config) *Writer {
	cfg.Memory = cmp.Or(cfg.Memory, 1<<20)
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Writer{cfg: cfg, wake: make(chan struct{}, 1)}
}

// Write takes one entry, which is the caller's again afterwards. It never blocks: if the memory
// is full the line is dropped and counted.
func (w *Writer) Write(e *Entry) {
	w.mu.Lock()
	had := len(w.lines)
	if !w.ended && had < w.cfg.Memory {
		w.lines = w.cfg.Format.Append(w.lines, e)
	}
	if len(w.lines) == had || len(w.lines) > w.cfg.Memory {
		w.lines = w.lines[:had]
		w.stats.Dropped++
	} else {
		w.count++
	}
	w.mu.Unlock()
	if had == 0 {
		w.signal()
	}
}

// Reopen has the file opened anew before the next line, as after log rotation moved it away. If
// that fails the old one stays in use.
func (w *Writer) Reopen() {
	w.mu.Lock()
	w.reopen = true
	w.mu.Unlock()
	w.signal()
}

// Stats returns the present numbers.
func (w *Writer) Stats() Stats {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.stats
}

func (w *Writer) signal() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// Run writes lines until ctx ends, then those that wait still, closes the file and returns nil.
// A write that hangs holds it up.
func (w *Writer) Run(ctx context.Context) error {
	var f file
	f.cfg = &w.cfg
	defer f.close()
	for ended := false; !ended; {
		select {
		case <-ctx.Done():
			ended = true
		case <-w.wake:
		}
		w.flush(&f, ended)
	}
	return nil
}

// flush writes what waits. The last one ends the Writer.
func (w *Writer) flush(f *file, last bool) {
	w.mu.Lock()
	lines, count, reopen := w.lines, w.count, w.reopen
	w.lines, w.spare, w.count, w.reopen, w.ended = w.spare[:0], nil, 0, false, last
	w.mu.Unlock()
	if reopen {
		f.reopen()
	}
	lost := f.write(lines, count)
	w.mu.Lock()
	w.spare = lines
	w.stats.Written += count - lost
	w.stats.Lost += lost
	w.mu.Unlock()
}
