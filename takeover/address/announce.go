package address

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"time"
)

// RefreshEvery is how often an announced address is announced again for as long as it is
// owned, for stations and switches that missed all of it.
const RefreshEvery = 30 * time.Second

// gaps are the pauses after each of the first announcements: five within two seconds, since
// each may be lost, and a switch port may need a moment after a failure.
var gaps = [...]time.Duration{
	100 * time.Millisecond, 300 * time.Millisecond, 600 * time.Millisecond, time.Second,
}

// Announce broadcasts that the owned address v is here: the first time before it returns, then
// with pacing over two seconds and every RefreshEvery, by Run, until Disown. While Alive
// says no, a turn is left out. Announcing again starts the pacing anew, as after a
// partition has healed.
func (n *Node) Announce(v netip.Addr) error {
	if !n.Owns(v) {
		return fmt.Errorf("announce %v: it is not owned", v)
	}
	err := n.announceOnce(v)
	n.turns.start(v, time.Now())
	return err
}

func (n *Node) announceOnce(v netip.Addr) error {
	n.voice.RLock()
	defer n.voice.RUnlock()
	if !n.Owns(v) {
		return nil
	}
	if !n.cfg.Alive(v) {
		n.counts.add(Withheld)
		return nil
	}
	request, reply := announcement(v, n.MAC())
	for _, b := range [][]byte{request, reply} {
		if err := n.send(broadcast, b); err != nil {
			n.counts.add(SendFailed)
			return fmt.Errorf("announce %v on %s: %w", v, n.cfg.Interface, err)
		}
	}
	n.counts.add(Announced)
	return nil
}

// repeat makes the later announcements.
func (n *Node) repeat(ctx context.Context) error {
	timer := time.NewTimer(RefreshEvery)
	defer timer.Stop()
	for {
		due, wait := n.turns.due(time.Now())
		for _, v := range due {
			if err := n.announceOnce(v); err != nil {
				n.cfg.Log.Debug("announcement failed, comes again", "error", err)
			}
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return nil
		case <-n.turns.changed:
		case <-timer.C:
		}
	}
}

// turns says when which address is announced next.
type turns struct {
	changed chan struct{} // holds a token when an earlier turn may have come in

	mu   sync.Mutex
	next map[netip.Addr]turn
}

type turn struct {
	at   time.Time
	done int // announcements made
}

func newTurns() *turns {
	return &turns{changed: make(chan struct{}, 1), next: make(map[netip.Addr]turn)}
}

// start notes that the first announcement was made at now.
func (t *turns) start(v netip.Addr, now time.Time) {
	t.mu.Lock()
	t.next[v] = turn{at: now.Add(gaps[0]), done: 1}
	t.mu.Unlock()
	select {
	case t.changed <- struct{}{}:
	default:
	}
}

func (t *turns) remove(v netip.Addr) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.next, v)
}

// due returns the addresses whose turn has come, taking them as announced now, and how long
// it is until the next turn.
func (t *turns) due(now time.Time) (vs []netip.Addr, wait time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	wait = RefreshEvery
	for v, next := range t.next {
		if !next.at.After(now) {
			vs = append(vs, v)
			gap := RefreshEvery
			if next.done < len(gaps) {
				gap = gaps[next.done]
			}
			next = turn{at: now.Add(gap), done: next.done + 1}
			t.next[v] = next
		}
		wait = min(wait, next.at.Sub(now))
	}
	return vs, wait
}
