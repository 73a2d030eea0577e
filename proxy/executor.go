package proxy

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/ftgw/ftgw/config"
	"github.com/ftgw/ftgw/internal/crashpoint"
	"github.com/ftgw/ftgw/replication"
)

var (
	// errQuiet: the client is silent or has closed, and owes nothing: close the connection.
	errQuiet = errors.New("nothing more to do")
	// errDropped: the connection is gone or this host is fenced: end in silence.
	errDropped = errors.New("dropped")
)

// executor answers the requests of one connection, one after the other. It belongs to the
// connection's goroutine.
type executor struct {
	ctx  context.Context
	cfg  *settings // of the exchange
	then *settings // of the takeover; nil: there was none
	flow *flow
	src  *source
	br   *bufio.Reader
	head []byte // reused

	index uint64    // of the exchange
	first bool      // the exchange is the first after a takeover
	mark  uint64    // bytes of the client's stream that were here at the takeover
	since time.Time // it
	doubt uint64    // those, and what the kernel had; of requests before it replies may have gone out that are not stored
	full  time.Time // see flow.settled
	start uint64    // of the exchange's request in the client's stream

	was     attempts // at the exchange
	pending *pending // the exchange, if it was the peer's meanwhile
	moving  *pending // the exchange, when errMoved has ended it

	row     row           // of the ledger, of the exchange under way
	success Outcome       // what it comes to if all goes well
	payload int64         // bytes of the reply's body that were given to the client
	asked   time.Duration // how long the upstream was asked in it

	route  *route // of the request; nil: it was malformed
	behind behind

	own *own // with the PROXY protocol only

	parts  uint16  // of the exchange, so far
	prefix *prefix // what went out of its reply before a takeover

	interim struct {
		next   uint16 // ordinal of the next
		stored uint16 // how many of this exchange went out before a takeover
	}
}

func newExecutor(ctx context.Context, f *flow) *executor {
	f.mu.Lock()
	defer f.mu.Unlock()
	x := &executor{ctx: ctx, cfg: f.s.cfg(), then: f.then, flow: f, src: newSource(f), index: f.out.index,
		first: f.promoted || f.heir, mark: f.mark, since: f.since, full: f.settled}
	f.then = nil
	x.br = bufio.NewReaderSize(x.src, 4<<10)
	x.interim.stored = f.out.interims
	if x.prefix = f.prefix; x.prefix != nil {
		x.parts = x.prefix.parts
	}
	f.prefix = nil
	if x.then != nil && x.then.Shadow {
		x.doubt = max(f.mark, tcpInfo(f.conn).Bytes_received)
	}
	x.resume()
	return x
}

// offset is where in the client's stream the next unread byte stands.
func (x *executor) offset() uint64 { return x.src.pos - uint64(x.br.Buffered()) }

// loop runs exchanges until the connection ends.
func (x *executor) loop() (end ending) {
	defer func() {
		if x.caughtUp() != nil {
			end = reset
		}
		if c := x.takeOwn(); c != nil {
			c.Discard()
		}
	}()
	for {
		if x.yields() {
			return x.handOver()
		}
		closing, err := x.exchange()
		switch {
		case errors.Is(err, errYield):
			continue
		case errors.Is(err, errMoved):
			return x.move()
		case errors.Is(err, errQuiet), errors.Is(err, errCut):
			if x.storeClose() != nil {
				return reset
			}
			return orderly
		case err != nil:
			return reset
		case closing:
			return orderly
		}
		x.settled()
	}
}

// exchange runs one exchange from the request's first byte to the reply's last.
func (x *executor) exchange() (closing bool, err error) {
	r, err := x.next()
	if err == nil {
		defer r.free()
		err = x.answer(r)
		x.conclude(r, err)
		return r.close, err
	}
	var f *fault
	if !errors.As(err, &f) {
		return true, err
	}
	x.enter(r, 0, Nobody, Refused)
	if _, err := x.unsplice(nil, f); errors.Is(err, errCut) {
		x.conclude(r, err)
		return true, err
	}
	err = x.deliver(x.ownReply(r, f, true), max(x.src.total, x.src.pos))
	x.conclude(r, err)
	return true, err
}

// answer has a request executed and delivers the reply.
func (x *executor) answer(r *request) error {
	c := &x.flow.s.count
	c.inflight.Add(1)
	defer c.inflight.Add(-1)
	if x.cfg.Permit(x.ctx) != nil {
		return errDropped
	}
	out := x.mayBeOut(r)
	r.close = r.close || !out && x.cfg.TurnOver(x.flow.id)
	end := x.offset()
	attempt, success := x.attempt(end, out)
	x.enter(r, attempt, Here, success)
	if out && x.row.mode != config.Static {
		return x.astray(errBroken)
	}
	w, err := x.execute(r, attempt)
	var f *fault
	switch {
	case errors.As(err, &f) && x.moves(r, f):
		return errMoved
	case out && (errors.As(err, &f) || errors.Is(err, errSpill)):
		return x.astray(err)
	case errors.As(err, &f):
		w = x.ownReply(r, f, r.close)
	case errors.Is(err, errSpill):
		w = x.ownReply(r, noSpace, r.close)
	case err != nil:
		return err
	}
	if w == nil {
		return nil // it went to the client already
	}
	if w.own {
		x.success = Refused
		if w.status >= 500 {
			c.failed.Add(1)
		}
	}
	return x.deliver(w, end)
}

// execute has the upstream execute r, unless it has come as far as its client let it.
func (x *executor) execute(r *request, attempt uint8) (*wire, error) {
	if r.here {
		return nil, &fault{status: http.StatusOK, why: "this is as far as Max-Forwards goes"}
	}
	if p := x.pending; p != nil && p.why != nil { // the peer did not take it
		return nil, p.why
	}
	if x.row.mode == config.Unprotected && x.prefix == nil { // what has begun in parts ends so
		return x.pass(r, attempt)
	}
	return x.unsplice(x.ask(r, attempt, x.whole))
}

var noSpace = &fault{status: http.StatusInsufficientStorage, why: "no space for the body"}

// deliver stores a reply, then writes it (I1), and frees it.
func (x *executor) deliver(w *wire, requestEnd uint64) error {
	rec := Record{RecordKey: x.key(replication.KindReply), RequestEnd: requestEnd, Size: w.Len(), Close: w.close}
	x.row.status = int16(w.status)
	x.row.bytes += rec.Size
	x.payload += w.carries()
	crashpoint.Here(crashpoint.ReplyMade)
	switch {
	case x.row.mode == config.Static && w.bare > 0 && x.mayOutrun():
		return x.outrun(rec, w)
	case x.row.mode == config.Static, x.row.mode == config.Deferred && !x.prefix.deferred():
		x.row.mode = config.Logged
	}
	defer w.free()
	same, err := x.agreed(rec, w)
	if err == nil && !same {
		err = x.store(rec, w)
	}
	if err != nil {
		return err
	}
	crashpoint.Here(crashpoint.ReplyStored)
	if err := w.writeTo(&x.flow.client); err != nil {
		return errDropped
	}
	if !w.own {
		x.flow.s.count.delivered.Add(1)
		switch x.row.mode {
		case config.SyncStatic:
			x.flow.s.count.synced.Add(1)
		case config.Deferred:
			x.flow.s.count.deferred.Add(1)
		}
	}
	return nil
}

func (x *executor) key(kind replication.RecordKind) replication.RecordKey {
	return replication.RecordKey{Flow: x.flow.id, Index: x.index, Kind: kind}
}

// storeClose logs that the connection closes without a further reply.
func (x *executor) storeClose() error {
	rec := Record{RecordKey: x.key(replication.KindClose), RequestEnd: x.offset(), Close: true}
	return x.store(rec, &wire{})
}

func (x *executor) store(rec Record, body io.ReaderAt) error {
	err := x.caughtUp()
	if err == nil {
		err = x.flow.s.log.Store(x.ctx, rec, body)
	}
	if err == nil {
		return nil
	}
	return x.silenced(rec, err)
}

// silenced ends the exchange and its flow: the record could not be stored.
func (x *executor) silenced(rec Record, err error) error {
	if x.ctx.Err() == nil {
		x.cfg.Log.Info("a reply may not go out; dropping the flow", "flow", x.flow.id, "index", rec.Index, "error", err)
	}
	x.row.outcome = Silenced
	return errDropped
}

// read reads a whole request. Errors are a *fault (with the request as far as it is known),
// errQuiet or errDropped.
func (x *executor) read() (*request, error) {
	if err := x.await(); err != nil {
		if errors.Is(err, errYield) {
			return nil, err
		}
		if isEOF(err) || isTimeout(err) {
			return nil, errQuiet
		}
		return nil, x.classify(err)
	}
	x.start = x.offset()
	x.settle()
	cfg := x.cfg
	x.src.deadline = time.Now().Add(cfg.HeaderTimeout)
	var err error
	if x.head, err = readHead(x.br, x.head[:0], cfg.MaxLine, cfg.MaxHeader); err != nil {
		if len(x.head) == 0 && isTimeout(err) {
			return nil, errQuiet // empty lines are no request
		}
		return nil, x.classify(err)
	}
	r, err := parseRequest(string(x.head), cfg.MaxFields)
	if cap(x.head) > 8<<10 {
		x.head = nil // most connections idle
	}
	if err == nil && cfg.MaxBody >= 0 && r.length > cfg.MaxBody {
		err = errBodySize
	}
	if err != nil {
		return r, err
	}
	x.src.body(cfg.BodyTimeout, cfg.BodyRate)
	if r.expect {
		if err := x.sendInterim(&response{minor: 1, status: http.StatusContinue}, false); err != nil {
			return nil, err
		}
	}
	if err := readBody(x.br, r, &x.flow.s.depot, &cfg.Config); err != nil {
		r.free()
		return r, x.classify(err)
	}
	return r, nil
}

// settle chooses the settings of the exchange: the present ones, or those of the takeover where the lost
// host may have begun with it.
func (x *executor) settle() {
	x.cfg = x.flow.s.cfg()
	if x.then != nil && x.inherited() {
		x.cfg = x.then
	}
}

// classify says what an error while reading a request means.
func (x *executor) classify(err error) error {
	var f *fault
	switch {
	case errors.As(err, &f):
		return f
	case errors.Is(err, errSpill):
		x.cfg.Log.Error("cannot keep a request's body", "flow", x.flow.id, "error", err)
		x.flow.s.count.failed.Add(1)
		return noSpace
	case isTimeout(err):
		return &fault{status: http.StatusRequestTimeout, why: "the request did not arrive in time"}
	case isEOF(err), errors.Is(err, io.ErrUnexpectedEOF):
		return errQuiet // the client closed within a request: nobody waits for a reply
	default:
		return errDropped
	}
}
