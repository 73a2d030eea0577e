package link

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"sync"
	"time"

	"github.com/ftgw/ftgw/internal/crashpoint"
	"github.com/ftgw/ftgw/replication"
)

var (
	// ErrAbandoned ends a Store: the owner of the link gave the peer up.
	ErrAbandoned = errors.New("link: the peer is given up")
	// ErrClosed ends a Store: Run has returned.
	ErrClosed = errors.New("link: closed")
	// ErrRefused ends a Store: the peer did not want the record (an old epoch, an unknown flow).
	ErrRefused = errors.New("link: the peer refused the record")
	// ErrFailed ends a Store: the peer could not keep the record.
	ErrFailed = errors.New("link: the peer could not store the record")
)

// bulkSide is what waits for the bulk connection, and who waits for answers.
type bulkSide struct {
	sync.Mutex
	out   replication.BulkOutbox
	waits map[uint64]*waiter // by stream; Invariant: exactly the streams in out
	shut  error              // why no record is taken: nil, ErrAbandoned or ErrClosed
	wake  chan struct{}
	pool  sync.Pool
}

type waiter struct {
	done  chan error
	flow  netip.AddrPort // the advertised address of its record
	size  int64          // of the record's reply, bytes
	since int64          // when it was given, by the link's clock
}

// Store sends a record, whose reply is the first r.Size bytes of body, and returns nil once
// the peer has stored it. It outlasts the session: with the next one the record goes again,
// whole. body is not read after Store returned. Other results: ErrAbandoned, ErrRefused,
// ErrFailed, ErrClosed, the error of body, the error of ctx.
func (l *Link) Store(ctx context.Context, r replication.Record, body io.ReaderAt) error {
	b := &l.bulk
	w, _ := b.pool.Get().(*waiter)
	if w == nil {
		w = &waiter{done: make(chan error, 1)}
	}
	w.flow, w.size, w.since = r.Flow.Advertised, r.Size, l.now()
	b.Lock()
	if b.shut != nil {
		b.Unlock()
		return b.shut
	}
	stream, err := b.out.Add(r, body)
	if err != nil {
		b.Unlock()
		return err
	}
	b.waits[stream] = w
	b.Unlock()
	wake(b.wake)

	select {
	case err = <-w.done:
	case <-ctx.Done():
		b.Lock()
		b.settle(stream, ctx.Err())
		b.Unlock()
		wake(b.wake) // the abort
		err = <-w.done
	}
	b.pool.Put(w)
	return err
}

// Backlog is what the peer has not stored yet, of one service.
type Backlog struct {
	Records int
	Bytes   int64         // of replies in them
	Age     time.Duration // of the oldest
}

// Backlog returns that of the service with an advertised address. It walks over all records that
// wait.
func (l *Link) Backlog(advertised netip.AddrPort) Backlog {
	var sum Backlog
	now, b := l.now(), &l.bulk
	b.Lock()
	defer b.Unlock()
	for _, w := range b.waits {
		if w.flow == advertised {
			sum.Records++
			sum.Bytes += w.size
			sum.Age = max(sum.Age, time.Duration(now-w.since))
		}
	}
	return sum
}

// settle ends one Store. Later calls for the same stream do nothing. The lock is held.
func (b *bulkSide) settle(stream uint64, err error) {
	if w, ok := b.waits[stream]; ok {
		delete(b.waits, stream)
		b.out.Remove(stream)
		w.done <- err
	}
}

// settleAll ends every Store and shuts the door.
func (l *Link) settleAll(err error) {
	b := &l.bulk
	b.Lock()
	if b.shut != ErrClosed {
		b.shut = err
	}
	for stream := range b.waits {
		b.settle(stream, err)
	}
	b.Unlock()
	wake(b.wake)
}

func (l *Link) closeStores() { l.settleAll(ErrClosed) }

// answers ends the Stores that the peer answered. A second answer, to a record that was sent
// twice, finds nobody.
func (l *Link) answers(items []replication.StoredItem) {
	crashpoint.Here(crashpoint.StoredIn)
	b := &l.bulk
	b.Lock()
	defer b.Unlock()
	for _, s := range items {
		switch s.Result {
		case replication.ResultStored:
			b.settle(s.Stream, nil)
		case replication.ResultRefused:
			b.settle(s.Stream, ErrRefused)
		default:
			b.settle(s.Stream, ErrFailed)
		}
	}
	if !b.out.Empty() {
		wake(b.wake)
	}
}

// Abandon gives the peer up: every Store that waits and every one to come returns
// ErrAbandoned until Resume, and what else was to be said is forgotten.
func (l *Link) Abandon() {
	l.settleAll(ErrAbandoned)
	l.ctl.Lock()
	l.ctl.out.Reset()
	l.ctl.Unlock()
}

// Drop ends the session that stands, if any: what was said before goes out if it can within a tenth
// of a second, Down follows, and a new session is tried as after any loss. It does not wait.
func (l *Link) Drop() { wake(l.drop) }

// Resume ends Abandon.
func (l *Link) Resume() {
	l.bulk.Lock()
	defer l.bulk.Unlock()
	if l.bulk.shut != ErrClosed {
		l.bulk.shut = nil
	}
}

// failBodies ends the Stores whose body could not be read. The lock is held.
func (b *bulkSide) failBodies(failed []replication.StreamError) {
	for _, f := range failed {
		b.settle(f.Stream, fmt.Errorf("link: %w", f.Err))
	}
}
