package proxy

import (
	"strings"
	"sync"
	"time"

	"github.com/ftgw/ftgw/config"
	"github.com/ftgw/ftgw/rewrite"
)

// row is one exchange as the ring keeps it: all of it is in place, so that a request costs no
// allocation and no request is kept alive.
type row struct {
	ticket  uint64 // where in the ring; 0: not there yet
	flow    rewrite.FlowID
	index   uint64
	began   time.Time
	took    time.Duration
	bytes   int64
	payload int64 // bytes of the body, of a reply that is stored here, if there is an access log
	epoch   uint64
	status  int16
	attempt uint8
	site    Site
	outcome Outcome
	mode    config.Mode
	touched bool // a takeover touched it, whenever it began
	line    struct {
		n    uint8
		text [16 + 1 + 96]byte // method, a space, path
	}
	key struct {
		n    uint8
		text [64]byte
	}
}

const (
	maxMethod = 16 // bytes of what a row keeps
	maxPath   = 96
)

// request copies what names a request to a reader.
func (r *row) request(method, target string) {
	if at := strings.IndexByte(target, '?'); at >= 0 {
		target = target[:at]
	}
	b := append(r.line.text[:0], method[:min(len(method), maxMethod)]...)
	b = append(append(b, ' '), target[:min(len(target), maxPath)]...)
	r.line.n = uint8(len(b))
}

func (r *row) exchange() Exchange {
	e := Exchange{Flow: r.flow, Index: r.index, Transaction: transactionID(r.flow, r.index),
		ClientKey: string(r.key.text[:r.key.n]), Status: int(r.status), Bytes: r.bytes, Attempt: int(r.attempt),
		Executed: r.site, Mode: r.mode, Outcome: r.outcome, Epoch: r.epoch, Began: r.began, Took: r.took}
	e.Method, e.Path, _ = strings.Cut(string(r.line.text[:r.line.n]), " ")
	if r.outcome == Unfinished {
		e.Took = time.Since(r.began)
	}
	return e
}

// ledger keeps the last exchanges in a ring, and those that the latest takeover touched until
// the next one. It is safe for concurrent use; its lock is held for a copy of one row.
type ledger struct {
	size int // rows of the ring, and of what a takeover touched

	mu        sync.Mutex
	ring      []row
	last      uint64 // ticket of the newest row; row n is at (n-1) % size
	touched   []row
	forgotten uint64
	epoch     uint64
	at        time.Time // of the latest takeover; zero: there was none
}

// put writes a row into its place, or into a new one where it has none any more.
func (l *ledger) put(r *row) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if r.ticket == 0 || r.ticket+uint64(l.size) <= l.last {
		l.last++
		r.ticket = l.last
		if len(l.ring) < l.size {
			l.ring = append(l.ring, row{})
		}
	}
	if open := r.outcome == Unfinished || r.outcome == Stored; !open && !l.at.IsZero() && (r.touched || r.began.Before(l.at)) {
		l.touch(r)
	}
	l.ring[(r.ticket-1)%uint64(l.size)] = *r
}

// touch notes that the latest takeover touched an exchange that has ended.
func (l *ledger) touch(r *row) {
	r.epoch = l.epoch
	if len(l.touched) < l.size {
		l.touched = append(l.touched, *r)
	} else {
		l.forgotten++
	}
}

// replayed says that a stored reply is finished here, and returns its row if it is there still.
func (l *ledger) replayed(ticket uint64, now time.Time) (row, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if ticket == 0 || ticket+uint64(l.size) <= l.last {
		l.forgotten++ // so many exchanges ended while this one's client read its reply
		return row{}, false
	}
	r := &l.ring[(ticket-1)%uint64(l.size)]
	if r.outcome == Stored || r.outcome == Moved {
		r.outcome, r.took = Replayed, now.Sub(r.began)
		l.touch(r)
		return *r, true
	}
	return row{}, false
}

// takeover begins a new list of what was touched.
func (l *ledger) takeover(epoch uint64, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.touched, l.forgotten = nil, 0
	l.epoch, l.at = epoch, now
}

// Ledger returns the latest exchanges, oldest first, at most limit of them; 0 is all that there
// are. With sinceTakeover only those that the latest takeover touched: what was under way then,
// what it had to replay, and the first exchange after it on each of the lost host's connections.
func (s *Server) Ledger(sinceTakeover bool, limit int) Book {
	l := &s.ledger
	l.mu.Lock()
	b := Book{Epoch: l.epoch, At: l.at, Forgotten: l.forgotten}
	var rows []row
	if sinceTakeover {
		rows = append(rows, l.touched...)
	}
	for n := max(l.last, uint64(len(l.ring))) - uint64(len(l.ring)); n < l.last; n++ {
		r := l.ring[n%uint64(l.size)]
		if r.outcome == Unfinished && !l.at.IsZero() && (r.touched || r.began.Before(l.at)) {
			r.epoch = l.epoch
		} else if sinceTakeover {
			continue
		}
		rows = append(rows, r)
	}
	l.mu.Unlock()
	if limit > 0 && len(rows) > limit {
		rows = rows[len(rows)-limit:]
	}
	b.Exchanges = make([]Exchange, len(rows))
	for i := range rows {
		b.Exchanges[i] = rows[i].exchange()
	}
	return b
}
