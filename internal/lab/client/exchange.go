package client

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	mrand "math/rand/v2"
	"net"
	"net/http"
	"syscall"
	"time"

	"github.com/ftgw/ftgw/internal/lab/webapp"
)

// failed pairs an error with the word for it.
type failed struct {
	kind Failure
	err  error
}

func (f failed) Error() string { return f.err.Error() }
func (f failed) Unwrap() error { return f.err }

// Do makes one request and reads its reply to the end.
func (c *Conn) Do(ctx context.Context, r Request) Result {
	return c.Pipeline(ctx, r)[0]
}

// Pipeline sends all requests and then reads all replies, in order. The timeout is for all
// of them together.
func (c *Conn) Pipeline(ctx context.Context, requests ...Request) []Result {
	start := time.Now()
	c.tcp.SetDeadline(start.Add(c.client.timeout())) // fails only on a closed socket, as the next call does
	stop := context.AfterFunc(ctx, func() { c.tcp.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	results := make([]Result, len(requests))
	sums := make([]string, len(requests))
	var err error
	for i, r := range requests {
		results[i] = Result{ID: r.ID, Method: r.method(), Local: c.LocalAddr().String(), Target: c.target, Start: time.Now()}
		if err == nil {
			sums[i], err = c.send(r, &results[i])
		}
		if err == nil && r.HalfClose {
			c.broken = true
			err = c.TCP().CloseWrite()
		}
	}
	for i, r := range requests {
		if err == nil {
			err = c.receive(r, sums[i], &results[i])
		}
		results[i].End = time.Now()
		if err == nil && c.broken && i+1 < len(requests) {
			err = failed{EOF, errors.New("the server closed before all pipelined requests were answered")}
		} else if err == nil {
			continue
		}
		c.broken = true
		results[i].fail(ctx, err)
	}
	return results
}

// send writes the request; digest is that of its body.
func (c *Conn) send(r Request, result *Result) (digest string, err error) {
	w := c.out
	w.Reset(writer{c.tcp, r.Step}) // forgets the failure of an earlier request
	fmt.Fprintf(w, "%s %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: ftgw-lab\r\n", r.method(), r.Path, c.target)
	if r.Close {
		io.WriteString(w, "Connection: close\r\n")
	}
	if r.Upload < 0 {
		io.WriteString(w, "\r\n")
		return "", w.Flush()
	}
	if r.Expect100 {
		io.WriteString(w, "Expect: 100-continue\r\n")
	}
	if r.Chunked {
		io.WriteString(w, "Transfer-Encoding: chunked\r\n\r\n")
	} else {
		fmt.Fprintf(w, "Content-Length: %d\r\n\r\n", r.Upload)
	}
	if err := w.Flush(); err != nil {
		return "", err
	}
	if r.Expect100 {
		if err := c.await100(); err != nil {
			return "", err
		}
	}
	return c.sendBody(w, r, result)
}

func (c *Conn) sendBody(w *bufio.Writer, r Request, result *Result) (string, error) {
	var seed [32]byte
	rand.Read(seed[:])
	source, digest := mrand.NewChaCha8(seed), sha256.New()
	piece := c.piece[:32<<10]
	if r.Unverified {
		clear(piece)
	}
	for left := r.Upload; left > 0; {
		p := piece[:min(left, int64(len(piece)))]
		if !r.Unverified {
			source.Read(p) // cannot fail
			digest.Write(p)
		}
		if r.Chunked {
			fmt.Fprintf(w, "%x\r\n", len(p))
		}
		w.Write(p) // a bufio.Writer keeps its first error for Flush
		if r.Chunked {
			io.WriteString(w, "\r\n")
		}
		begin := time.Now()
		if err := w.Flush(); err != nil {
			return "", err
		}
		result.Pause = max(result.Pause, time.Since(begin))
		result.Bytes += int64(len(p))
		left -= int64(len(p))
	}
	if r.Chunked {
		io.WriteString(w, "0\r\n\r\n")
	}
	return hex.EncodeToString(digest.Sum(nil)), w.Flush()
}

func (c *Conn) await100() error {
	resp, err := http.ReadResponse(c.in, nil)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusContinue {
		return failed{BadState, fmt.Errorf("%s instead of 100 Continue", resp.Status)}
	}
	return nil
}

// receive reads one reply and verifies it.
func (c *Conn) receive(r Request, sum string, result *Result) error {
	c.gap, c.rate, c.stall = 0, r.Rate, r.Stall
	resp, err := readFinal(c.in, r.method())
	result.Pause = max(result.Pause, c.gap-r.Delay)
	if err != nil {
		return err
	}
	result.Status, result.Host = resp.StatusCode, resp.Header.Get(webapp.HeaderHost)
	result.Execution = resp.Header.Get(webapp.HeaderExecution)
	c.gap = 0
	var reply bytes.Buffer
	digest := sha256.New()
	var into io.Writer = digest
	if r.Unverified {
		into = io.Discard
	}
	if r.Upload >= 0 {
		into = io.MultiWriter(into, &limited{&reply, 4096})
	}
	n, err := io.CopyBuffer(into, resp.Body, c.piece)
	result.Bytes += n
	result.Pause = max(result.Pause, c.gap)
	c.broken = c.broken || resp.Close
	if err != nil {
		return err
	}
	if resp.StatusCode != r.status() {
		return failed{BadState, errors.New(resp.Status)}
	}
	if r.Unverified {
		return counted(r, n, resp, reply.Bytes())
	}
	want := resp.Header.Get(webapp.HeaderDigest)
	if got := hex.EncodeToString(digest.Sum(nil)); got != want && r.method() != http.MethodHead {
		return failed{Digest, fmt.Errorf("reply of %d bytes has digest %.12s, its header says %.12s", n, got, want)}
	}
	if r.Upload >= 0 {
		return checkUpload(reply.Bytes(), r.Upload, sum)
	}
	return nil
}

// counted checks how many bytes arrived, here of a reply of known length or there of an upload.
func counted(r Request, n int64, resp *http.Response, reply []byte) error {
	want := resp.ContentLength
	if r.Upload >= 0 {
		var u webapp.Uploaded
		if err := json.Unmarshal(reply, &u); err != nil {
			return failed{Protocol, err}
		}
		n, want = u.Size, r.Upload
	}
	if want >= 0 && n != want && r.method() != http.MethodHead {
		return failed{Digest, fmt.Errorf("%d bytes instead of %d", n, want)}
	}
	return nil
}

func checkUpload(reply []byte, size int64, sum string) error {
	var u webapp.Uploaded
	if err := json.Unmarshal(reply, &u); err != nil {
		return failed{Protocol, err}
	}
	if u.Size != size || u.SHA256 != sum {
		return failed{Digest, fmt.Errorf("sent %d bytes with digest %.12s, the server got %d with %.12s", size, sum, u.Size, u.SHA256)}
	}
	return nil
}

// readFinal skips interim replies.
func readFinal(in *bufio.Reader, method string) (*http.Response, error) {
	for {
		resp, err := http.ReadResponse(in, &http.Request{Method: method})
		if err != nil || resp.StatusCode >= 200 {
			return resp, err
		}
	}
}

// fail notes the failure; what the caller gave up is no failure of the server.
func (r *Result) fail(ctx context.Context, err error) {
	r.Err = err.Error()
	var f failed
	var timeout net.Error
	switch {
	case ctx.Err() != nil:
		r.Failure = Canceled
	case errors.As(err, &f):
		r.Failure = f.kind
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		r.Failure = Reset
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		r.Failure = EOF
	case errors.As(err, &timeout) && timeout.Timeout(), errors.Is(err, syscall.ETIMEDOUT):
		r.Failure = Timeout
	default:
		r.Failure = Protocol
	}
}

func (r Request) method() string {
	if r.Method == "" {
		return http.MethodGet
	}
	return r.Method
}

func (r Request) status() int {
	if r.Status == 0 {
		return http.StatusOK
	}
	return r.Status
}

// limited keeps the first bytes only.
type limited struct {
	b    *bytes.Buffer
	most int
}

func (l *limited) Write(p []byte) (int, error) {
	l.b.Write(p[:min(len(p), max(0, l.most-l.b.Len()))])
	return len(p), nil
}
