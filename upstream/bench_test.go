package upstream

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"testing"
)

const benchReply = "HTTP/1.1 200 OK\r\nServer: bench\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n\r\nHello, world!"

var benchRequest = []byte("GET /path?query HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: bench\r\nAccept: */*\r\nX-Forwarded-For: 192.0.2.1\r\nIdempotency-Key: 0123456789abcdef\r\n\r\n")

// benchAnswer answers without an allocation, so that what is counted is the client's.
func benchAnswer(_ int, c net.Conn) {
	buf, reply := make([]byte, 4096), []byte(benchReply)
	for n := 0; ; {
		m, err := c.Read(buf[n:])
		if err != nil {
			return
		}
		if n += m; bytes.HasSuffix(buf[:n], []byte("\r\n\r\n")) {
			n = 0
			c.Write(reply)
		}
	}
}

// minimal sends a request and reads a reply of known length, in place: what a proxy needs that
// passes heads on as they are. It stands for a hand-written exchange in the benchmark only.
func minimal(c *Conn, body []byte) (status int, err error) {
	if _, err := c.Write(benchRequest); err != nil {
		return 0, err
	}
	length := -1
	for {
		line, err := c.Reader().ReadSlice('\n')
		if err != nil {
			return 0, err
		}
		line = bytes.TrimRight(line, "\r\n")
		if status == 0 {
			if len(line) < 12 || !bytes.HasPrefix(line, []byte("HTTP/1.")) {
				return 0, errors.New("no HTTP")
			}
			status, _ = strconv.Atoi(string(line[9:12]))
			continue
		}
		if len(line) == 0 {
			break
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		if bytes.EqualFold(name, []byte("Content-Length")) {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return 0, err
			}
		}
	}
	_, err = io.ReadFull(c.Reader(), body[:length])
	return status, err
}

// BenchmarkExchange is one exchange with a server on loopback that does nothing else; "floor" is
// the same bytes on a bare connection.
func BenchmarkExchange(b *testing.B) {
	for _, network := range []string{"tcp", "unix"} {
		l := listen(b, network)
		serve(b, l, benchAnswer)
		a := address(b, l)
		b.Run(network+"/floor", func(b *testing.B) {
			conn, err := net.Dial(a.network, a.address)
			if err != nil {
				b.Fatal(err)
			}
			defer conn.Close()
			buf := make([]byte, len(benchReply))
			b.ReportAllocs()
			for b.Loop() {
				conn.Write(benchRequest)
				if _, err := io.ReadFull(conn, buf); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(network+"/pool", func(b *testing.B) { benchPool(b, a, benchMinimal) })
		b.Run(network+"/pool+ReadResponse", func(b *testing.B) { benchPool(b, a, benchReadResponse) })
		b.Run(network+"/Transport", func(b *testing.B) { benchTransport(b, a) })
	}
}

func benchMinimal(c *Conn, body []byte) error {
	if status, err := minimal(c, body); err != nil || status != 200 {
		return errors.Join(err, errors.New(strconv.Itoa(status)))
	}
	return nil
}

func benchReadResponse(c *Conn, body []byte) error {
	if _, err := c.Write(benchRequest); err != nil {
		return err
	}
	r, err := http.ReadResponse(c.Reader(), nil)
	if err == nil {
		_, err = io.ReadFull(r.Body, body[:r.ContentLength])
	}
	return err
}

func benchPool(b *testing.B, a Address, exchange func(*Conn, []byte) error) {
	p := newPool(b, PoolConfig{Address: a, Patience: patient})
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		body := make([]byte, 1024)
		for pb.Next() {
			c, err := p.Get(b.Context())
			if err == nil {
				err = exchange(c, body)
			}
			if err != nil {
				b.Fatal(err)
			}
			c.Put()
		}
	})
}

// benchTransport is set as the proxy of this project had it.
func benchTransport(b *testing.B, a Address) {
	t := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, a.network, a.address)
		},
		DisableCompression: true, MaxIdleConnsPerHost: 1024, ResponseHeaderTimeout: patient,
		WriteBufferSize: 8 << 10, ReadBufferSize: 8 << 10,
	}
	defer t.CloseIdleConnections()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		body := make([]byte, 1024)
		for pb.Next() {
			r, err := http.NewRequestWithContext(b.Context(), "GET", "http://shop.example/path?query", nil)
			if err != nil {
				b.Fatal(err)
			}
			r.Header = http.Header{"User-Agent": {"bench"}, "Accept": {"*/*"}, "X-Forwarded-For": {"192.0.2.1"}, "Idempotency-Key": {"0123456789abcdef"}}
			reply, err := t.RoundTrip(r)
			if err != nil {
				b.Fatal(err)
			}
			if _, err := io.ReadFull(reply.Body, body[:reply.ContentLength]); err != nil {
				b.Fatal(err)
			}
			reply.Body.Close()
		}
	})
}

// BenchmarkGetPut is the pool's own part of an exchange, one look at the connection included.
func BenchmarkGetPut(b *testing.B) {
	l := listen(b, "tcp")
	serve(b, l, benchAnswer)
	p := newPool(b, PoolConfig{Address: address(b, l), Patience: patient})
	b.ReportAllocs()
	for b.Loop() {
		c, err := p.Get(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		c.Put()
	}
}
