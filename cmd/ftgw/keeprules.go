// What keeps this host silent when it must be: rules, routes and settings of the kernel, which
// anybody with the rights can take away. Each is one of several, so that none fails open alone.
package main

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/ftgw/ftgw/rules"
	"github.com/ftgw/ftgw/state"
	"github.com/ftgw/ftgw/takeover/address"
)

// repairs is what became of looking after the rules. It is safe for concurrent use.
type repairs struct {
	mu   sync.Mutex
	seen state.Rules
}

func (r *repairs) status() state.Rules {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.seen
}

// note takes the outcome of one look and reports whether it is news.
func (r *repairs) note(found []string, problem string, now time.Time) (news bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	news = len(found) > 0 || problem != "" && problem != r.seen.Problem
	r.seen.Problem = problem
	if len(found) > 0 {
		r.seen.Restored++
		r.seen.LastAt, r.seen.Last = &now, strings.Join(found, "; ")
	}
	return news
}

// keepRules puts back what somebody takes away: at the kernel's notice, and as not everything
// has one, from time to time.
func (n *node) keepRules(ctx context.Context) error {
	changed := make(chan struct{}, 1)
	ended := make(chan error, 1)
	go func() { // waited for below
		ended <- n.watch.Run(ctx, func() {
			select {
			case changed <- struct{}{}:
			default:
			}
		})
	}()
	return lookAfter(ctx, changed, ended, n.restoreRules)
}

// calm is between two looks: the rules cannot be changed meanwhile, leases included, and notices
// may come all the time, where containers come and go or somebody else keeps rules of his own.
const calm = 20 * time.Millisecond

// lookAfter looks at each change and once a second until ctx or the watch has ended.
func lookAfter(ctx context.Context, changed <-chan struct{}, ended <-chan error, look func()) error {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		select {
		case err := <-ended:
			return err
		case <-t.C:
		case <-changed:
		}
		if ctx.Err() != nil {
			continue // the watch is about to end
		}
		look()
		select {
		case <-ctx.Done():
		case <-time.After(calm):
		}
	}
}

// restoreRules looks at everything once. Until all is back the lease is gone with the table, or
// the fence stands behind the lease.
func (n *node) restoreRules() {
	var found, problems []string
	add := func(what string, err error) {
		if what != "" {
			found = append(found, what)
		}
		if err != nil {
			problems = append(problems, err.Error())
		}
	}
	add(n.rules.Restore())
	settings, err := address.Restore(n.iface, n.addresses())
	add(strings.Join(settings, ", "), err)
	add(rules.RestoreFence(n.rulesSpec()))
	problem := strings.Join(problems, "; ")
	if !n.repairs.note(found, problem, time.Now()) {
		return
	}
	if len(found) > 0 {
		n.log.Warn("somebody removed or changed the rules; they are back in force", "found", strings.Join(found, "; "))
	}
	if problem != "" {
		n.log.Error("the rules are not in force", "error", problem)
	}
}
