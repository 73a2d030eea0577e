package hook

import (
	"context"
	"log/slog"
	"sync/atomic"
)

// waiting is how many commands may wait for the one before.
const waiting = 64

// Queue runs commands one after the other.
type Queue struct {
	log      *slog.Logger
	commands chan Command
	dropped  atomic.Uint64
	failed   atomic.Uint64
}

// NewQueue returns a queue that Run empties. A command that fails is told to log.
func NewQueue(log *slog.Logger) *Queue {
	return &Queue{log: log, commands: make(chan Command, waiting)}
}

// Add has a command run after those before it. It never blocks: where too many wait, the command is
// dropped and counted.
func (q *Queue) Add(c Command) {
	select {
	case q.commands <- c:
	default:
		q.dropped.Add(1)
		q.log.Error("a hook is not run: too many wait", "hook", c.Name, "waiting", waiting)
	}
}

// Run runs commands until ctx ends, which kills the one that runs, and returns nil.
func (q *Queue) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case c := <-q.commands:
			if err := c.Run(ctx); err != nil && ctx.Err() == nil {
				q.failed.Add(1)
				q.log.Error("a hook has failed", "hook", c.Name, "error", err)
			}
		}
	}
}

// Dropped counts commands that were not run, for too many waited.
func (q *Queue) Dropped() uint64 { return q.dropped.Load() }

// Failed counts commands that ended with another status than 0, or not in time.
func (q *Queue) Failed() uint64 { return q.failed.Load() }
