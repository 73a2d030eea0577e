package load

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"
)

// worker makes one request after the other, on one connection or on one for each.
type worker struct {
	*meter
	target  string
	conn    net.Conn
	in      *bufio.Reader
	request []byte
}

func (w *worker) run(ctx context.Context) error {
	head := fmt.Sprintf("GET %s HTTP/1.1\r\nHost: %s\r\n", w.spec.Path, w.target)
	if w.spec.Fresh {
		head += "Connection: close\r\n"
	}
	w.request = []byte(head + "\r\n")
	w.in = bufio.NewReaderSize(nil, 64<<10)
	for {
		at, ok := w.turn(ctx)
		if !ok {
			return nil
		}
		err := w.exchange(ctx)
		end := time.Now()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		w.add(at, end)
		if w.spec.Fresh {
			w.finish()
		}
	}
}

// exchange makes one request and reads its reply.
func (w *worker) exchange(ctx context.Context) error {
	deadline := time.Now().Add(w.spec.Timeout)
	if w.conn == nil {
		d := net.Dialer{Deadline: deadline}
		var err error
		if w.conn, err = d.DialContext(ctx, "tcp", w.target); err != nil {
			return err
		}
		w.in.Reset(w.conn)
	}
	if err := w.conn.SetDeadline(deadline); err != nil {
		return err
	}
	if _, err := w.conn.Write(w.request); err != nil {
		return err
	}
	return readReply(w.in, w.spec.Bytes, w.spec.Fresh)
}

// finish reads the end of the server's stream and closes.
func (w *worker) finish() {
	io.Copy(io.Discard, w.in) // the reply was whole: how its connection ends is no matter
	w.hangUp()
}

func (w *worker) hangUp() {
	if w.conn != nil {
		w.conn.Close()
		w.conn = nil
	}
}

// readReply reads one reply with a length, and checks it.
func readReply(in *bufio.Reader, want int64, mayClose bool) error {
	line, err := in.ReadSlice('\n')
	if err != nil {
		return err
	}
	if !bytes.HasPrefix(line, []byte("HTTP/1.1 200 ")) {
		return fmt.Errorf("the reply begins with %q", line)
	}
	length := int64(-1)
	for {
		if line, err = in.ReadSlice('\n'); err != nil {
			return err
		}
		name, value, field := bytes.Cut(line, []byte(":"))
		if !field {
			break
		}
		value = bytes.TrimSpace(value)
		switch {
		case bytes.EqualFold(name, []byte("Content-Length")):
			if length, err = strconv.ParseInt(string(value), 10, 64); err != nil {
				return fmt.Errorf("the reply's length is %q", value)
			}
		case bytes.EqualFold(name, []byte("Connection")) && bytes.EqualFold(value, []byte("close")) && !mayClose:
			return errors.New("the server ends the connection")
		}
	}
	if length < 0 || length != want {
		return fmt.Errorf("the reply has %d bytes instead of %d", length, want)
	}
	for length > 0 { // Discard beyond the buffer copies through it
		n, err := in.Discard(int(min(length, 64<<10)))
		if length -= int64(n); err != nil {
			return err
		}
	}
	return nil
}
