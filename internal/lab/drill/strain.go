package drill

import (
	"cmp"
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

// bearing is the patience of a client on a bad link. Where a fifth of the frames is lost each
// way, a segment and its acknowledgment make it in two of three tries, and TCP waits twice as
// long after each: then plain TCP too needs 20 s for one request in thirty.
const bearing = 90 * time.Second

// large is the size of downloads and uploads, in bytes: some hundred segments.
const large = 150_000

// strain is a communication error that lasts while clients download, upload and ask for small
// things. In the second and third of three rounds a host dies in the middle of it.
type strain struct {
	name, paper, about string
	bytes              int64 // of a large request or reply; 0 means 150 kB
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
	r.Client.Timeout = bearing
	finish := r.Traffic(ctx, cmp.Or(s.bytes, large))
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
// its own; size is that of the large ones, in bytes. finish lets what is under way end and waits for it; it may be called again.
func (r *Round) Traffic(ctx context.Context, size int64) (finish func()) {
	var over atomic.Bool
	var wg sync.WaitGroup
	for name, kind := range map[string]func(id string) client.Request{
		"download": func(id string) client.Request { return client.Bytes(id, size) },
		"upload":   func(id string) client.Request { return client.Upload(id, size) },
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
