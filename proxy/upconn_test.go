package proxy

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ftgw/ftgw/rewrite"
)

// counted is an upstream that numbers its connections and says after which header, if any, each
// request came.
type counted struct {
	at     string
	mu     sync.Mutex
	conns  int
	before string // the first octets of the latest connection that were no request
	per    int    // requests that a connection carries before it is closed without notice; 0: any
	seen   []string
}

func newCounted(t *testing.T, skip, per int) *counted {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	u := &counted{at: l.Addr().String(), per: per}
	var owned sync.WaitGroup
	owned.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			owned.Go(func() { u.serve(c, skip) })
		}
	})
	t.Cleanup(func() { l.Close(); owned.Wait() })
	return u
}

func (u *counted) serve(c net.Conn, skip int) {
	defer c.Close()
	u.mu.Lock()
	u.conns++
	n := u.conns
	u.mu.Unlock()
	br := bufio.NewReader(c)
	head := make([]byte, skip)
	if _, err := io.ReadFull(br, head); err != nil {
		return
	}
	u.mu.Lock()
	u.before = string(head)
	u.mu.Unlock()
	for i := 0; ; i++ {
		p, err := readPlain(br, false)
		if err != nil {
			return
		}
		u.mu.Lock()
		u.seen = append(u.seen, p.first+" "+strings.Join(p.values("Ftgw-Attempt"), ""))
		u.mu.Unlock()
		if u.per > 0 && i >= u.per {
			return // the request is lost
		}
		text := fmt.Sprintf("connection %d", n)
		fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(text), text)
	}
}

// ask sends one request on c and returns the reply's first line and body.
func ask(t *testing.T, c net.Conn, br *bufio.Reader, raw string) string {
	t.Helper()
	io.WriteString(c, raw)
	p, err := readPlain(br, false)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimPrefix(p.first, "HTTP/1.1 ") + ": " + p.body
}

const simple = "GET / HTTP/1.1\r\nHost: shop\r\n\r\n"

// TestUpstreamConnectionsAreShared, but for those that begin with a client's address.
func TestUpstreamConnectionsAreShared(t *testing.T) {
	for _, own := range []bool{false, true} {
		skip := 0
		if own {
			skip = 28
		}
		up := newCounted(t, skip, 0)
		h := newHost(t, Config{Upstream: up.at, ProxyProtocol: own}, Executor, &link{})
		for i := range 3 {
			id := asClient()
			id.Client = netip.AddrPortFrom(id.Client.Addr(), uint16(1000+i))
			c, _ := h.dial(t, id)
			br := bufio.NewReader(c)
			want := "200 OK: connection 1"
			if own {
				want = fmt.Sprintf("200 OK: connection %d", i+1)
			}
			for range 2 {
				if got := ask(t, c, br, simple); got != want {
					t.Errorf("client %d, own %v: %s, want %s", i, own, got, want)
				}
			}
			if own && up.before != string(proxyHeader(id.Key)) {
				t.Errorf("header %q", up.before)
			}
			c.Close()
		}
	}
}

func TestProxyHeader(t *testing.T) {
	const magic = "0d0a0d0a000d0a515549540a21"
	for _, tt := range []struct{ client, advertised, want string }{
		{"192.0.2.77:4711", "192.0.2.100:80", magic + "11000c" + "c000024d" + "c0000264" + "1267" + "0050"},
		{"[2001:db8::1]:1", "[2001:db8::2]:443", magic + "210024" +
			"20010db8000000000000000000000001" + "20010db8000000000000000000000002" + "0001" + "01bb"},
	} {
		key := rewrite.Key{Client: netip.MustParseAddrPort(tt.client), Advertised: netip.MustParseAddrPort(tt.advertised)}
		if got := hex.EncodeToString(proxyHeader(key)); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.client, got, tt.want)
		}
	}
}

// TestLostOnAnIdleConnection: a request that may be sent twice is, and says so; another is not.
func TestLostOnAnIdleConnection(t *testing.T) {
	up := newCounted(t, 0, 1)
	h := newHost(t, Config{Upstream: up.at}, Executor, &link{})
	c, _ := h.dial(t)
	br := bufio.NewReader(c)
	for i, tt := range []struct{ raw, want string }{
		{simple, "200 OK: connection 1"},
		{simple, "200 OK: connection 2"}, // lost on 1
		{"POST / HTTP/1.1\r\nHost: shop\r\n\r\n", "502 Bad Gateway: 502 Bad Gateway: the web server did not answer\n"},
		{"POST / HTTP/1.1\r\nHost: shop\r\n\r\n", "200 OK: connection 3"},
	} {
		if got := ask(t, c, br, tt.raw); got != tt.want {
			t.Errorf("%d: %q, want %q", i, got, tt.want)
		}
	}
	want := []string{"GET / HTTP/1.1 1", "GET / HTTP/1.1 1", "GET / HTTP/1.1 2", "POST / HTTP/1.1 1", "POST / HTTP/1.1 1"}
	if got := strings.Join(up.seen, "\n"); got != strings.Join(want, "\n") {
		t.Errorf("the upstream saw\n%s", got)
	}
}

// TestLostAfterATakeover: what may have been executed by the lost host and is sent twice here says so
// each time.
func TestLostAfterATakeover(t *testing.T) {
	up := newCounted(t, 0, 1)
	h := newHost(t, Config{Upstream: up.at}, Standby, &link{})
	for i := range 2 {
		c, _ := h.dial(t)
		io.WriteString(c, simple)
		eventually(t, "it is held", func() bool { return h.Stats().Held == 1 })
		h.Promote(all)()
		if p, err := readPlain(bufio.NewReader(c), false); err != nil || p.body != fmt.Sprintf("connection %d", i+1) {
			t.Errorf("%d: %q, %v", i, p.body, err)
		}
	}
	want := "GET / HTTP/1.1 2\nGET / HTTP/1.1 2\nGET / HTTP/1.1 3"
	if got := strings.Join(up.seen, "\n"); got != want {
		t.Errorf("the upstream saw\n%s", got)
	}
	eventually(t, "it is in the ledger", func() bool { return h.Ledger(false, 0).Exchanges[1].Attempt == 3 })
}

// TestReplyBeforeTheBodyIsSent: an upstream that refuses a large body need not read it.
func TestReplyBeforeTheBodyIsSent(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done, answered := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		c.Read(make([]byte, 1000))
		io.WriteString(c, "HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nno!")
		<-answered // without reading the rest
	}()
	defer func() { l.Close(); close(answered); <-done }()
	h := newHost(t, Config{Upstream: l.Addr().String()}, Executor, &link{})
	c, _ := h.dial(t)
	const size = 32 << 20
	go func() {
		fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: %d\r\n\r\n", size)
		io.Copy(c, io.LimitReader(zeros{}, size))
	}()
	if p, err := readPlain(bufio.NewReader(c), false); err != nil || p.body != "no!" {
		t.Errorf("%q, %v", p, err)
	}
}

// TestFieldsAreAsTheyWereSpelt: names, order and values pass as they came.
func TestFieldsAreAsTheyWereSpelt(t *testing.T) {
	s := newScript(t, []scripted{{raw: "HTTP/1.1 200 Fine, thanks\r\nx-ONE: 1\r\nX-Two: 2\r\nX-one: 3\r\nContent-Length: 0\r\n\r\n"}})
	h := newHost(t, Config{Upstream: s.at, Via: "-"}, Executor, &link{})
	c, _ := h.dial(t)
	io.WriteString(c, "GET / HTTP/1.1\r\naCCEPT: b\r\nHost: shop\r\nZ: 1\r\naccept: c\r\n\r\n")
	p, err := readPlain(bufio.NewReader(c), false)
	if err != nil {
		t.Fatal(err)
	}
	if p.first != "HTTP/1.1 200 Fine, thanks" || !strings.HasPrefix(strings.Join(p.fields, "|"), "x-ONE: 1|X-Two: 2|X-one: 3|Date: ") {
		t.Errorf("%q", p)
	}
	if got := strings.Join(s.seen[0].fields, "|"); !strings.HasPrefix(got, "Host: shop|aCCEPT: b|Z: 1|accept: c|X-Forwarded-For: ") {
		t.Error(got)
	}
}

func TestBodyRate(t *testing.T) {
	begin := time.Unix(1000, 0)
	s := &source{patience: 10 * time.Second, rate: 100, since: begin, from: 50}
	for _, tt := range []struct {
		after time.Duration
		read  uint64
		want  time.Duration // from the beginning
	}{
		{0, 0, 10 * time.Second},
		{9 * time.Second, 1, 10*time.Second + 10*time.Millisecond},
		{9 * time.Second, 500, 15 * time.Second},
		{9 * time.Second, 1 << 40, 19 * time.Second}, // silence counts as well
	} {
		s.pos = 50 + tt.read
		if got := s.until(begin.Add(tt.after)).Sub(begin); got != tt.want {
			t.Errorf("after %v and %d bytes: %v, want %v", tt.after, tt.read, got, tt.want)
		}
	}
	s.idle()
	if got := s.until(begin.Add(time.Hour)).Sub(begin); got != time.Hour+10*time.Second {
		t.Errorf("idle: %v", got)
	}
}

func TestForwardWords(t *testing.T) {
	for f := Replace; f <= Off; f++ {
		if got, err := ParseForward(f.String()); err != nil || got != f {
			t.Errorf("%v: %v, %v", f, got, err)
		}
	}
	if _, err := ParseForward("default"); err == nil {
		t.Error("no word, no error")
	}
}

func TestForwardedOfIPv6(t *testing.T) {
	f := Forwarding{Forwarded: Replace}.withDefaults()
	var b bytes.Buffer
	f.write(&b, &request{}, netip.MustParseAddr("2001:db8::1"), "[2001:db8::2]:80")
	want := "X-Forwarded-For: 2001:db8::1\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: [2001:db8::2]:80\r\n" +
		"Forwarded: for=\"[2001:db8::1]\";host=\"[2001:db8::2]:80\";proto=http\r\n"
	if b.String() != want {
		t.Errorf("%s", &b)
	}
}
