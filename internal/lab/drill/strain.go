package drill

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ftgw/ftgw/internal/lab/client"
)

// The rounds of a strain, in turn.
const (
	strainAlone   = iota // nothing dies
	strainPrimary        // the primary dies under the strain
	strainBackup         // the backup dies under the strain
	strainRounds
)

// strain is a communication error that lasts while clients download, upload and ask for small
// things. In the second and third of three rounds a host dies in the middle of it.
type strain struct {
	name, paper, about string
	// begin puts it on. end takes it off and returns how many frames it harmed.
	begin func(r *Round) (end func() (int, error), err error)
	// beside, if there is one, is run under the strain in the round in which nothing dies.
	beside func(ctx context.Context, r *Round) error
}

func (s strain) scenario() Scenario {
	return Scenario{Name: s.name, Paper: s.paper, About: s.about + "; alone, and while the primary or the backup dies",
		Rounds: strainRounds, Fresh: true, Run: s.run}
}

func (s strain) run(ctx context.Context, r *Round) (err error) {
	finish := r.Traffic(ctx)
	defer finish()
	if err := Sleep(ctx, 150*time.Millisecond); err != nil { // every connection is made
		return err
	}
	// In a round with a crash, what counts as interrupted is what the crash interrupts.
	if r.Number%strainRounds == strainAlone {
		r.note(time.Now(), s.name)
	} else {
		r.remark(s.name)
	}
	end, err := s.begin(r)
	if err != nil {
		return fmt.Errorf("inject %s: %w", s.name, err)
	}
	defer func() {
		finish() // under the strain too
		harmed, bad := end()
		if bad == nil && harmed == 0 {
			bad = fmt.Errorf("%w: %s harmed no frame", ErrMissed, s.name)
		}
		r.remark(fmt.Sprintf("end of it; %d frames harmed", harmed))
		err = errors.Join(err, bad)
	}()
	if err := Sleep(ctx, 300*time.Millisecond); err != nil {
		return err
	}
	victim := r.Primary
	switch r.Number % strainRounds {
	case strainAlone:
		if s.beside != nil {
			return s.beside(ctx, r)
		}
		return Sleep(ctx, 300*time.Millisecond)
	case strainBackup:
		victim = r.Backup
	}
	if err := r.Crash(victim, Host); err != nil {
		return err
	}
	if err := r.AwaitSole(ctx, r.Other(victim)); err != nil {
		return err
	}
	return Sleep(ctx, 100*time.Millisecond)
}

// Traffic begins downloads, uploads and series of small requests, each kind on connections of
// its own. finish lets what is under way end and waits for it; it may be called again.
func (r *Round) Traffic(ctx context.Context) (finish func()) {
	var over atomic.Bool
	var wg sync.WaitGroup
	for name, kind := range map[string]func(id string) client.Request{
		"download": func(id string) client.Request { return client.Bytes(id, 150_000) },
		"upload":   func(id string) client.Request { return client.Upload(id, 150_000) },
		"small":    func(id string) client.Request { return client.Bytes(id, 3000) },
		"slow":     func(id string) client.Request { return client.Slow(id, 50*time.Millisecond) },
	} {
		for k := range 2 {
			wg.Go(func() {
				r.Client.Repeat(ctx, 10*time.Millisecond, func(i int) (client.Request, bool) {
					return kind(fmt.Sprintf("%s%d-%d", name, k, i)), !over.Load()
				}, r.Report)
			})
		}
	}
	return func() { over.Store(true); wg.Wait() }
}
