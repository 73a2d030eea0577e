package membership

import (
	"context"
	"sync"
	"time"
)

// maxHeard bounds how many Heard calls may wait; the rest are left out.
const maxHeard = 32

// queue carries calls to the Handler from memberlist's goroutines, which hold its locks and
// must not wait, to the one goroutine that makes them. Calls put in after the last drain (a
// timer of memberlist may still fire then) are forgotten.
type queue struct {
	mu    sync.Mutex
	calls []func(Handler)
	heard int           // Heard calls among calls
	ready chan struct{} // holds a token when calls may be waiting
}

func newQueue() *queue { return &queue{ready: make(chan struct{}, 1)} }

func (q *queue) put(call func(Handler)) {
	q.mu.Lock()
	q.calls = append(q.calls, call)
	q.mu.Unlock()
	q.wake()
}

func (q *queue) putHeard(name string, rtt time.Duration) {
	q.mu.Lock()
	fits := q.heard < maxHeard
	if fits {
		q.heard++
		q.calls = append(q.calls, func(h Handler) { h.Heard(name, rtt) })
	}
	q.mu.Unlock()
	if fits {
		q.wake()
	}
}

func (q *queue) wake() {
	select {
	case q.ready <- struct{}{}:
	default:
	}
}

func (q *queue) take() []func(Handler) {
	q.mu.Lock()
	defer q.mu.Unlock()
	calls := q.calls
	q.calls, q.heard = nil, 0
	return calls
}

// run makes the calls until ctx ends.
func (q *queue) run(ctx context.Context, h Handler) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-q.ready:
			for _, call := range q.take() {
				call(h)
			}
		}
	}
}
