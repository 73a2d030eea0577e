package drill

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ftgw/ftgw/internal/crashpoint"
	"github.com/ftgw/ftgw/internal/lab"
	"github.com/ftgw/ftgw/internal/lab/client"
	"github.com/ftgw/ftgw/internal/lab/webapp"
)

// storeName is the file that stands for the database of both web applications.
const storeName = "database"

// transactions returns the scenario of a back end that makes use of the transaction ID.
func transactions() []Scenario {
	return []Scenario{{
		Name:   "transaction-once",
		Paper:  "000, §2, on transaction IDs for the back end",
		About:  "the primary dies when its web application has executed requests whose replies are not stored; with the transaction ID, back ends on one database execute each once",
		Rounds: 4,
		Fresh:  true,
		Once:   true,
		Run:    transactionOnce,
	}}
}

// transactionOnce crashes the host in even rounds, and its executions with it, and ftgw alone in
// odd ones.
func transactionOnce(ctx context.Context, r *Round) error {
	before, err := webapp.ReadStore(r.SharedPath(storeName))
	if err != nil {
		return err
	}
	if err := r.Arm(r.Primary, crashpoint.ReplyMade, 20+r.Rand.IntN(40)); err != nil {
		return err
	}
	finish := r.orders(ctx)
	defer finish()
	if err := r.AwaitStopped(ctx, r.Primary); err != nil {
		return err
	}
	if err := r.Crash(r.Primary, How(r.Number%2 == 1)); err != nil {
		return err
	}
	if err := r.AwaitSole(ctx, r.Backup); err != nil {
		return err
	}
	if err := Sleep(ctx, 100*time.Millisecond); err != nil {
		return err
	}
	finish()
	touched, err := r.Backup.Ledger(ctx)
	if err != nil {
		return err
	}
	all, err := webapp.ReadStore(r.SharedPath(storeName))
	if err != nil {
		return err
	}
	if err := executedOnce(r.Report.Results(), all, all[len(before):]); err != nil {
		return err
	}
	again, saved := spared(touched, all)
	r.note(time.Now(), fmt.Sprintf("%d requests went to the back end again; %d of them it had executed and did not execute again", again, saved))
	if saved == 0 {
		return fmt.Errorf("%w: the survivor asked for nothing that had been executed", ErrMissed)
	}
	return nil
}

// orders makes requests on 12 connections that all take the application a while; see Mixed.
func (r *Round) orders(ctx context.Context) (finish func()) {
	var over atomic.Bool
	var wg sync.WaitGroup
	for k := range 12 {
		wg.Go(func() {
			r.Client.Repeat(ctx, 0, func(i int) (client.Request, bool) {
				id, delay := fmt.Sprintf("order%d-%d", k, i), time.Duration(5+7*((k+i)%4))*time.Millisecond
				q := client.Slow(id, delay)
				switch (k + i) % 3 {
				case 1:
					q = client.Upload(id, 2000)
					q.Path, q.Delay = fmt.Sprintf("%s&delay=%d", q.Path, delay.Milliseconds()), delay
				case 2:
					q = client.Bytes(id, 20_000)
				}
				return q, !over.Load()
			}, r.Report)
		})
	}
	return func() { over.Store(true); wg.Wait() }
}

// executedOnce holds the store against what the clients have: no transaction twice, and for
// each request one execution, which is that of its reply. all is the whole store, fresh what
// this round added.
func executedOnce(results []client.Result, all, fresh []webapp.Done) error {
	keys := make(map[string]bool)
	for _, d := range all {
		if keys[d.Key] {
			return fmt.Errorf("transaction %s of %s was executed twice", d.Key, d.ID)
		}
		keys[d.Key] = true
	}
	executions := make(map[string][]string)
	for _, d := range fresh {
		executions[d.ID] = append(executions[d.ID], d.Header.Get(webapp.HeaderExecution))
	}
	for _, x := range results {
		if got := executions[x.ID]; x.OK() && !slices.Equal(got, []string{x.Execution}) {
			return fmt.Errorf("%s has the reply of execution %s, the store has %q", x.ID, x.Execution, got)
		}
	}
	return nil
}

// spared counts the requests that the survivor sent to its back end though they may have been
// executed, and those of them that had been, by an earlier attempt.
func spared(touched []lab.LedgerEntry, all []webapp.Done) (again, saved int) {
	by := make(map[string]string)
	for _, d := range all {
		by[d.Key] = d.Tried
	}
	for _, e := range touched {
		if e.Attempt > 1 {
			again++
			if tried, err := strconv.Atoi(by[e.Transaction]); err == nil && tried < e.Attempt {
				saved++
			}
		}
	}
	return again, saved
}
