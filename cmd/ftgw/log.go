// The log: what is written how, and how much of what others can provoke.
package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ftgw/ftgw/config"
)

// logging is how a node logs.
type logging struct {
	level  slog.LevelVar
	fixed  bool // the level is the command line's
	format string
}

// newLogging returns what a config and the flags, which go first, say; "" is no flag.
func newLogging(cfg *config.Config, level, format string) (*logging, error) {
	l := &logging{fixed: level != "", format: cfg.LogFormat}
	if format != "" {
		l.format = format
	}
	if l.format != "text" && l.format != "json" {
		return nil, fmt.Errorf("--log-format %q is no format (write text or json)", format)
	}
	if level == "" {
		level = cfg.LogLevel
	}
	if err := l.level.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("--log-level %q is no level (write debug, info, warn or error)", level)
	}
	return l, nil
}

// follow takes the level of a config, unless the command line has one.
func (l *logging) follow(cfg *config.Config) {
	if !l.fixed {
		l.level.UnmarshalText([]byte(cfg.LogLevel)) // config has checked it
	}
}

// logger returns a logger that writes to w. For the journal each line begins with its priority
// (sd-daemon(3)), and has no time, which the journal knows itself.
func (l *logging) logger(w io.Writer, journal bool) *slog.Logger {
	options := &slog.HandlerOptions{Level: &l.level}
	handler := func(w io.Writer) slog.Handler {
		if l.format == "json" {
			return slog.NewJSONHandler(w, options)
		}
		return slog.NewTextHandler(w, options)
	}
	if !journal {
		return slog.New(handler(w))
	}
	options.ReplaceAttr = func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) == 0 && a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}
	mu := new(sync.Mutex)
	var all byPriority
	for i, priority := range priorities {
		all[i] = handler(&prefixed{mu: mu, w: w, prefix: fmt.Sprintf("<%d>", priority)})
	}
	return slog.New(all)
}

// priorities are those of syslog(3) for debug, info, warn and error.
var priorities = [4]int{7, 6, 4, 3}

// byPriority has a handler for each of the priorities.
type byPriority [len(priorities)]slog.Handler

func (b byPriority) Enabled(ctx context.Context, l slog.Level) bool { return b[0].Enabled(ctx, l) }

func (b byPriority) Handle(ctx context.Context, r slog.Record) error {
	i := 0
	for _, above := range []slog.Level{slog.LevelInfo, slog.LevelWarn, slog.LevelError} {
		if r.Level >= above {
			i++
		}
	}
	return b[i].Handle(ctx, r)
}

func (b byPriority) WithAttrs(attrs []slog.Attr) slog.Handler {
	for i := range b {
		b[i] = b[i].WithAttrs(attrs)
	}
	return b
}

func (b byPriority) WithGroup(name string) slog.Handler {
	for i := range b {
		b[i] = b[i].WithGroup(name)
	}
	return b
}

// prefixed writes a prefix before each line; slog writes a line at once.
type prefixed struct {
	mu     *sync.Mutex
	w      io.Writer
	prefix string
}

func (p *prefixed) Write(line []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, err := p.w.Write(append([]byte(p.prefix), line...)); err != nil {
		return 0, err
	}
	return len(line), nil
}

// isJournal reports whether f is the journal's, as JOURNAL_STREAM says (systemd.exec(5)).
func isJournal(f *os.File, stream string) bool {
	var device, inode uint64
	var st unix.Stat_t
	if n, err := fmt.Sscanf(stream, "%d:%d", &device, &inode); n != 2 || err != nil || unix.Fstat(int(f.Fd()), &st) != nil {
		return false
	}
	return uint64(st.Dev) == device && st.Ino == inode
}

const (
	quietLines = 5           // of one message
	quietFor   = time.Minute // in this time
	maxKinds   = 256         // of messages that are told apart
)

// quiet lets few lines of the same message through in a time, and says in the next one how many
// there were besides. It is for what clients, web servers and strangers can cause as often as they
// like; a change of this node's state is never kept back.
type quiet struct {
	slog.Handler
	seen *messages
}

type messages struct {
	mu    sync.Mutex
	count map[string]*lines // by message, of which there are few: most are constants
}

type lines struct {
	since      time.Time
	passed     int
	suppressed uint64
}

// quietly returns a logger that is quiet.
func quietly(l *slog.Logger) *slog.Logger {
	return slog.New(quiet{l.Handler(), &messages{count: map[string]*lines{}}})
}

func (q quiet) Handle(ctx context.Context, r slog.Record) error {
	passes, suppressed := q.seen.take(r.Message, r.Time)
	if !passes {
		return nil
	}
	if suppressed > 0 {
		r = r.Clone()
		r.AddAttrs(slog.Uint64("suppressed", suppressed))
	}
	return q.Handler.Handle(ctx, r)
}

func (q quiet) WithAttrs(attrs []slog.Attr) slog.Handler {
	return quiet{q.Handler.WithAttrs(attrs), q.seen}
}

func (q quiet) WithGroup(name string) slog.Handler { return quiet{q.Handler.WithGroup(name), q.seen} }

// take counts a line at a time, and returns whether it may be written and how many before it were not.
func (m *messages) take(message string, now time.Time) (passes bool, suppressed uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	l := m.count[message]
	if l == nil && len(m.count) >= maxKinds {
		message = ""
		l = m.count[message]
	}
	if l == nil {
		l = &lines{since: now}
		m.count[message] = l
	}
	if now.Sub(l.since) >= quietFor {
		l.since, l.passed = now, 0
	}
	if l.passed == quietLines {
		l.suppressed++
		return false, 0
	}
	l.passed++
	suppressed, l.suppressed = l.suppressed, 0
	return true, suppressed
}
