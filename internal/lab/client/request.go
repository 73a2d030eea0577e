package client

import (
	"fmt"
	"net/url"
	"strconv"
	"time"
)

// Request is one HTTP request to the lab's web application.
type Request struct {
	ID     string
	Method string // empty means GET
	Path   string // with query; the id is part of it
	Upload int64  // bytes of pseudo-random body to send; -1 sends none
	// Chunked sends the upload in chunks instead of with Content-Length.
	Chunked bool
	// Expect100 waits for "100 Continue" before it sends the upload.
	Expect100 bool
	// Unverified only counts bytes: an upload is zeros, and no digest is computed or compared.
	// For measurements on a machine whose processors the client shares.
	Unverified bool
	// Rate limits reading of the reply, in bytes a second; 0 is unlimited.
	Rate int64
	// Step is how many bytes of the request each write has at most; 0 is unlimited.
	Step int
	// Close asks the server to close the connection after the reply.
	Close bool
	// HalfClose ends the client's stream behind the request, which is then the last.
	HalfClose bool
	// Stall reads nothing for so long after the first bytes of the reply.
	Stall time.Duration
	// Delay is how long the server was asked to take; it does not count as a pause.
	Delay  time.Duration
	Status int // expected; 0 means 200
}

// Bytes asks for size bytes.
func Bytes(id string, size int64) Request { return get("/bytes", id, "size", size) }

// Chunked asks for size bytes in chunks.
func Chunked(id string, size int64) Request {
	r := Bytes(id, size)
	r.Path += "&chunked=1"
	return r
}

// Slow asks for a small reply after a delay.
func Slow(id string, delay time.Duration) Request {
	r := get("/slow", id, "ms", delay.Milliseconds())
	r.Delay = delay
	return r
}

// Upload sends size bytes and wants their digest back.
func Upload(id string, size int64) Request {
	return Request{ID: id, Method: "POST", Path: "/upload?id=" + url.QueryEscape(id), Upload: size}
}

// Status asks for an empty reply with that status.
func Status(id string, code int) Request {
	return Request{ID: id, Path: fmt.Sprintf("/status/%d?id=%s", code, url.QueryEscape(id)), Upload: -1, Status: code}
}

// Head asks for the header of a reply of size bytes.
func Head(id string, size int64) Request {
	r := Bytes(id, size)
	r.Method = "HEAD"
	return r
}

func get(path, id, key string, n int64) Request {
	q := url.Values{"id": {id}, key: {strconv.FormatInt(n, 10)}}
	return Request{ID: id, Path: path + "?" + q.Encode(), Upload: -1}
}

// Failure says in one word what went wrong with a request.
type Failure string

// The failures. Any of them breaks the promise made to the client.
const (
	None     Failure = ""
	Connect  Failure = "connect"  // no connection
	Reset    Failure = "reset"    // the connection was reset
	EOF      Failure = "eof"      // the connection ended before the reply did
	Timeout  Failure = "timeout"  // the request hung
	BadState Failure = "status"   // another status than expected
	Digest   Failure = "digest"   // bytes are missing, too many or wrong
	Protocol Failure = "protocol" // not HTTP
	Canceled Failure = "canceled" // the caller gave up
)

// Result is what became of one request.
type Result struct {
	ID        string        `json:"id"`
	Method    string        `json:"method"`
	Local     string        `json:"local,omitempty"`  // the client's address and port
	Target    string        `json:"target,omitempty"` // the server's; empty: there was no connection
	Status    int           `json:"status"`
	Bytes     int64         `json:"bytes"` // received and sent in bodies, all verified if there is no failure
	Host      string        `json:"host,omitempty"`
	Execution string        `json:"execution,omitempty"`
	Failure   Failure       `json:"failure,omitempty"`
	Err       string        `json:"error,omitempty"`
	Start     time.Time     `json:"start"`
	End       time.Time     `json:"end"`
	Pause     time.Duration `json:"pause_ns"` // the longest time without a byte, Delay not counted
}

// OK reports whether the reply was whole and right.
func (r Result) OK() bool { return r.Failure == None }

func (r Result) String() string {
	s := fmt.Sprintf("%s %s from %s: status %d, %d bytes, %v, longest pause %v",
		r.Method, r.ID, r.Local, r.Status, r.Bytes, r.End.Sub(r.Start).Round(time.Millisecond), r.Pause.Round(time.Millisecond))
	if r.Failure != None {
		s += fmt.Sprintf(", FAILED: %s: %s", r.Failure, r.Err)
	}
	return s
}
