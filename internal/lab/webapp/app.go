// Package webapp is the web application of the demo and the end-to-end tests. Each execution
// of a request replies differently and with the digest of its own reply, so that a client can
// tell a whole reply from one spliced out of two, and notes itself in a journal, so that a
// test can tell how often a request was executed.
package webapp

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	mrand "math/rand/v2"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"time"
)

// Header fields of every reply.
const (
	HeaderDigest    = "X-Digest"    // sha256 of the body, in hex
	HeaderExecution = "X-Execution" // differs at each execution
	HeaderHost      = "X-Host"      // the host that executed
)

// maxBody bounds what one request may ask for, in bytes.
const maxBody = 2 << 30

// Options of Run.
type Options struct {
	Listen  string // address and port
	Host    string // name in replies and in the journal
	Journal string // file to append to; empty keeps none
	Once    string // file of the Store that both hosts share; empty executes whatever is asked
	Alike   Alike  // what two executions of a request have in common; empty: nothing
}

// Alike is how far the replies to one request are the same, on whichever host and however often it
// is executed, unless the request asks for another one each time (unlike=1).
type Alike string

// The degrees.
const (
	AlikeBody  Alike = "body"  // bodies, not the fields HeaderExecution and HeaderHost
	AlikeReply Alike = "reply" // all but Date: HeaderExecution is a digest of the request, HeaderHost is left out
)

// Uploaded is the reply to an upload.
type Uploaded struct {
	SHA256    string `json:"sha256"`
	Size      int64  `json:"size"`                // bytes
	Execution string `json:"execution,omitempty"` // these two unless bodies are alike
	Host      string `json:"host,omitempty"`
}

// Run serves until ctx ends.
func Run(ctx context.Context, o Options) error {
	if !slices.Contains([]Alike{"", AlikeBody, AlikeReply}, o.Alike) {
		return fmt.Errorf("web application: replies cannot be alike in %q (write %s or %s)", o.Alike, AlikeBody, AlikeReply)
	}
	journal, err := OpenJournal(o.Journal)
	if err != nil {
		return err
	}
	defer journal.Close()
	handler := Handler(o.Host, journal, o.Alike)
	if o.Once != "" {
		store, err := OpenStore(o.Once)
		if err != nil {
			return err
		}
		handler = Once(store, o.Host, handler)
	}
	listener, err := net.Listen("tcp", o.Listen)
	if err != nil {
		return fmt.Errorf("web application: %w (choose another --listen)", err)
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 30 * time.Second}
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("web application: %w", err)
	}
	return nil
}

// Handler returns the application:
//
//	GET, HEAD  /bytes?size=N&id=X[&delay=ms][&work=N][&chunked=1][&early=1][&close=1][&fixed=1][&plain=1][&unlike=1]
//	GET        /slow?ms=N&id=X
//	POST, PUT  /upload?id=X[&delay=ms]
//	GET        /status/CODE?id=X
//	GET        /cut?size=N&id=X[&chunked=1]    half of the reply, then the connection ends
//	GET        /crash?id=X                     ends the process without a reply
//	GET        /events?ms=N&id=X[&n=N]         server-sent events, without end unless n says how many
//	GET        /echo?id=X                      with Upgrade: echo, repeats what it is sent
//	GET        /marked?size=N&id=X             the execution over and over, 26 letters and a line feed
//	GET        /health                         empty, and in no journal
//
// delay waits before the reply, work makes and digests so many bytes that nobody gets, early sends a 103 first, close ends the connection, fixed
// replies with the same body each time, plain says neither the host nor the execution. With
// &on=HOST, cut and crash do so on that host alone, with &attempts=N up to that attempt; else
// they reply as bytes does. &late=ms&on=HOST is a further delay on that host alone.
func Handler(host string, journal *Journal, alike Alike) http.Handler {
	a := app{host, journal, alike}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /bytes", func(w http.ResponseWriter, r *http.Request) {
		a.bytes(w, r, number(r, "size"), number(r, "delay"))
	})
	mux.HandleFunc("GET /slow", func(w http.ResponseWriter, r *http.Request) { a.bytes(w, r, 256, number(r, "ms")) })
	mux.HandleFunc("POST /upload", a.upload)
	mux.HandleFunc("PUT /upload", a.upload)
	mux.HandleFunc("GET /status/{code}", a.status)
	mux.HandleFunc("GET /cut", a.cut)
	mux.HandleFunc("GET /crash", a.crash)
	mux.HandleFunc("GET /events", a.events)
	mux.HandleFunc("GET /echo", a.echo)
	mux.HandleFunc("GET /marked", a.marked)
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	return mux
}

type app struct {
	host    string
	journal *Journal
	alike   Alike
}

// of returns how far the reply to this request is the same each time.
func (a app) of(r *http.Request) Alike {
	if r.URL.Query().Get("unlike") != "" {
		return ""
	}
	return a.alike
}

// seed is what a body is made of.
func (a app) seed(r *http.Request) (seed [32]byte) {
	switch {
	case r.URL.Query().Get("fixed") != "":
	case a.of(r) != "":
		seed = sha256.Sum256([]byte(r.URL.RequestURI()))
	default:
		rand.Read(seed[:]) // cannot fail
	}
	return seed
}

// begin notes the execution and sets the fields that all replies have.
func (a app) begin(w http.ResponseWriter, r *http.Request, digest string, size int64) (execution string, ok bool) {
	execution = rand.Text()
	if a.of(r) == AlikeReply {
		sum := sha256.Sum256([]byte(r.Method + r.URL.RequestURI()))
		execution = hex.EncodeToString(sum[:8])
	}
	err := a.journal.Add(Entry{
		Time: time.Now(), Host: a.host, Method: r.Method, ID: r.URL.Query().Get("id"), Execution: execution,
		Digest: digest, Size: size, Key: r.Header.Get("Idempotency-Key"), Attempt: r.Header.Get("Ftgw-Attempt"),
	})
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return "", false
	}
	if r.URL.Query().Get("plain") == "" {
		w.Header().Set(HeaderExecution, execution)
		if a.of(r) != AlikeReply {
			w.Header().Set(HeaderHost, a.host)
		}
	}
	if r.URL.Query().Get("close") != "" {
		w.Header().Set("Connection", "close")
	}
	return execution, true
}

func (a app) bytes(w http.ResponseWriter, r *http.Request, size, delay int64) {
	if size < 0 || size > maxBody || delay < 0 {
		http.Error(w, "size or delay is missing or out of range", http.StatusBadRequest)
		return
	}
	seed := a.seed(r)
	digest := sha256.New()
	io.CopyN(sha256.New(), mrand.NewChaCha8(seed), min(max(0, number(r, "work")), maxBody)) // neither end can fail
	io.CopyN(digest, mrand.NewChaCha8(seed), size)                                          // likewise
	hexDigest := hexOf(digest)
	if _, ok := a.begin(w, r, hexDigest, size); !ok {
		return
	}
	if r.URL.Query().Get("early") != "" {
		w.WriteHeader(http.StatusEarlyHints)
	}
	if r.URL.Query().Get("on") == a.host {
		delay += max(0, number(r, "late"))
	}
	if !pause(r.Context(), delay) {
		return
	}
	w.Header().Set(HeaderDigest, hexDigest)
	w.Header().Set("Content-Type", "application/octet-stream")
	if r.URL.Query().Get("chunked") == "" {
		w.Header().Set("Content-Length", strconv.FormatInt(size, 10))
	} else {
		w.WriteHeader(http.StatusOK)
		http.NewResponseController(w).Flush() // commits to chunks; a lost client shows below
	}
	if r.Method != http.MethodHead {
		io.CopyN(w, mrand.NewChaCha8(seed), size) // fails only when the asker has gone
	}
}

func (a app) upload(w http.ResponseWriter, r *http.Request) {
	digest := sha256.New()
	size, err := io.Copy(digest, r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	hexDigest := hexOf(digest)
	execution, ok := a.begin(w, r, hexDigest, size)
	if !ok || !pause(r.Context(), max(0, number(r, "delay"))) {
		return
	}
	told := Uploaded{hexDigest, size, execution, a.host}
	if a.of(r) != "" {
		told.Execution, told.Host = "", ""
	}
	reply, err := json.Marshal(told)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	sum := sha256.Sum256(reply)
	w.Header().Set(HeaderDigest, hex.EncodeToString(sum[:]))
	w.Header().Set("Content-Type", "application/json")
	w.Write(reply) // fails only when the asker has gone
}

func (a app) status(w http.ResponseWriter, r *http.Request) {
	code, err := strconv.Atoi(r.PathValue("code"))
	if err != nil || code < 200 || code > 599 {
		http.Error(w, "no such status", http.StatusBadRequest)
		return
	}
	empty := hexOf(sha256.New())
	if _, ok := a.begin(w, r, empty, 0); !ok {
		return
	}
	w.Header().Set(HeaderDigest, empty)
	w.WriteHeader(code)
}

// spared reports whether a request that does harm is to do none here and now.
func (a app) spared(r *http.Request) bool {
	on, attempts := r.URL.Query().Get("on"), number(r, "attempts")
	attempt, _ := strconv.ParseInt(r.Header.Get("Ftgw-Attempt"), 10, 64) // 0: asked by no gateway
	return on != "" && on != a.host || attempts > 0 && attempt > attempts
}

// cut ends the connection within the reply.
func (a app) cut(w http.ResponseWriter, r *http.Request) {
	if a.spared(r) {
		a.bytes(w, r, number(r, "size"), number(r, "delay"))
		return
	}
	size := max(2, number(r, "size"))
	if _, ok := a.begin(w, r, "", size); !ok {
		return
	}
	if r.URL.Query().Get("chunked") == "" {
		w.Header().Set("Content-Length", strconv.FormatInt(size, 10))
	}
	io.CopyN(w, mrand.NewChaCha8([32]byte{}), min(size, maxBody)/2) // fails only when the asker has gone
	http.NewResponseController(w).Flush()                           // likewise
	panic(http.ErrAbortHandler)                                     // says so to the server
}

// crash is the request that kills whoever executes it.
func (a app) crash(w http.ResponseWriter, r *http.Request) {
	if a.spared(r) {
		a.bytes(w, r, 256, 0)
		return
	}
	if _, ok := a.begin(w, r, "", 0); ok {
		os.Exit(3)
	}
}

// pause waits; it is false when the request ended before.
func pause(ctx context.Context, ms int64) bool {
	if ms == 0 {
		return true
	}
	select {
	case <-time.After(time.Duration(ms) * time.Millisecond):
		return true
	case <-ctx.Done():
		return false
	}
}

// number returns the query's value: 0 if it is not there, -1 if it is no number.
func number(r *http.Request, key string) int64 {
	text := r.URL.Query().Get(key)
	if text == "" {
		return 0
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return -1
	}
	return n
}

func hexOf(h hash.Hash) string { return hex.EncodeToString(h.Sum(nil)) }
