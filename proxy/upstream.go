package proxy

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/ftgw/ftgw/rewrite"
)

// The fields of the transaction ID (DESIGN §4). Their names are spelt so that the transport
// does not know the first: it would take it as leave to send a request twice.
const (
	keyField     = "idempotency-key"
	attemptField = "Ftgw-Attempt"
)

var errSlow = errors.New("the upstream was silent for too long")

func newTransport(cfg Config) *http.Transport {
	t := &http.Transport{
		DialContext:         (&net.Dialer{Timeout: cfg.ConnectTimeout}).DialContext,
		DisableCompression:  true,
		MaxIdleConnsPerHost: 1024,
		// Shorter than servers keep idle connections, so that few requests meet a closing one.
		IdleConnTimeout:        3 * time.Second,
		MaxResponseHeaderBytes: 1 << 20,
		WriteBufferSize:        8 << 10,
		ReadBufferSize:         8 << 10,
	}
	if cfg.ResponseTimeout > 0 {
		t.ResponseHeaderTimeout = cfg.ResponseTimeout
	}
	return t
}

// transactionID names an exchange for the upstream, the same on both hosts.
func transactionID(id rewrite.FlowID, index uint64) string {
	b := make([]byte, 0, 64)
	for _, ap := range [...]interface{ AppendBinary([]byte) ([]byte, error) }{id.Client, id.Advertised} {
		b, _ = ap.AppendBinary(b) // never fails
	}
	b = binary.BigEndian.AppendUint32(b, uint32(id.ISN))
	b = binary.BigEndian.AppendUint64(b, index)
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:16])
}

// outgoing makes the upstream's request of the client's; r's header is used up.
func (x *executor) outgoing(ctx context.Context, r *request, attempt uint8) (*http.Request, error) {
	u := &url.URL{Scheme: "http", Host: x.flow.s.cfg.Upstream, Opaque: r.target}
	if strings.HasPrefix(r.target, "//") { // an opaque target of this form would get a scheme
		parsed, err := url.ParseRequestURI(r.target)
		if err != nil {
			return nil, bad("malformed target")
		}
		parsed.Scheme, parsed.Host, u = u.Scheme, u.Host, parsed
	}
	key := r.header["Idempotency-Key"]
	removeHopByHop(r.header)
	delete(r.header, "Expect") // answered here
	delete(r.header, "Content-Length")
	delete(r.header, "Idempotency-Key")
	if len(key) == 0 {
		key = []string{transactionID(x.flow.id, x.index)}
	}
	r.header[keyField] = key
	r.header[attemptField] = []string{strconv.Itoa(int(attempt))}
	if r.header["User-Agent"] == nil {
		r.header["User-Agent"] = []string{""} // else the transport adds its own
	}
	req := (&http.Request{
		Method: r.method, URL: u, Host: r.host, Header: r.header,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}).WithContext(ctx)
	if r.body != nil {
		req.ContentLength = r.body.Len()
		if len(r.trailer) > 0 {
			req.ContentLength, req.Trailer = -1, r.trailer
		}
		req.Body = http.NoBody
		if req.ContentLength != 0 {
			req.Body = r.body.reader()
			// For a request of which nothing was written yet; see newTransport.
			req.GetBody = func() (io.ReadCloser, error) { return r.body.reader(), nil }
		}
	}
	return req, nil
}

// ask has the upstream execute r and returns its whole reply, or a reply that tells the failure.
func (x *executor) ask(r *request, attempt uint8) (*wire, error) {
	ctx, cancel := context.WithCancelCause(x.ctx)
	defer cancel(nil)
	req, err := x.outgoing(x.traced(ctx, r), r, attempt)
	if err != nil {
		return nil, err
	}
	resp, err := x.flow.s.transport.RoundTrip(req)
	if end := x.endInterims(); end != nil {
		err = end
	}
	if err != nil {
		if resp != nil {
			resp.Body.Close()
		}
		return nil, x.upstreamFault("asking", err)
	}
	body := x.flow.s.depot.newSpill()
	src := io.Reader(resp.Body)
	if patience := x.flow.s.cfg.ResponseTimeout; patience > 0 && resp.ContentLength != 0 {
		t := time.AfterFunc(patience, func() { cancel(errSlow) })
		defer t.Stop()
		src = &watched{r: resp.Body, timer: t, patience: patience}
	}
	_, err = body.ReadFrom(src)
	resp.Body.Close()
	if err == nil && resp.StatusCode == http.StatusSwitchingProtocols {
		err = errors.New("it switched protocols unasked")
	}
	if err != nil {
		body.release()
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		return nil, x.upstreamFault("reading the reply of", err)
	}
	return x.makeWire(r, resp, body), nil
}

// upstreamFault says to the log what failed and returns what the client gets.
func (x *executor) upstreamFault(doing string, err error) error {
	if x.ctx.Err() != nil || errors.Is(err, errDropped) {
		return errDropped
	}
	s := x.flow.s
	s.cfg.Log.Warn(doing+" the upstream failed; is it running?",
		"upstream", s.cfg.Upstream, "flow", x.flow.id, "index", x.index, "err", err)
	var late net.Error
	switch {
	case errors.Is(err, errSpill):
		return fmt.Errorf("reply: %w", err)
	case errors.Is(err, errSlow), errors.As(err, &late) && late.Timeout():
		return &fault{http.StatusGatewayTimeout, "the web server did not answer in time"}
	default:
		return &fault{http.StatusBadGateway, "the web server did not answer"}
	}
}

// watched gives the upstream its patience anew with each read.
type watched struct {
	r        io.Reader
	timer    *time.Timer
	patience time.Duration
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	w.timer.Reset(w.patience)
	return n, err
}
