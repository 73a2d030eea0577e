package proxy

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http/httputil"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ftgw/ftgw/rewrite"
)

const probe = "GET /probe HTTP/1.1\r\nHost: probe\r\n\r\n"

// script is an upstream that answers as an entry says, and a probe always.
type script struct {
	at      string
	replies []scripted
	drops   bool          // its replies come octet by octet
	linger  time.Duration // that a connection stays open after its reply; 0: for ever
	mu      sync.Mutex
	seen    []plain
	probed  int
	odd     error // what came that was no request
}

// write sends text, octet by octet if the test wants so.
func (s *script) write(c net.Conn, text string) {
	if !s.drops {
		io.WriteString(c, text)
		return
	}
	for i := range len(text) {
		if _, err := io.WriteString(c, text[i:i+1]); err != nil {
			return
		}
	}
}

// plain is a message as it came.
type plain struct {
	first   string
	fields  []string
	body    string
	trailer []string
}

func newScript(t testing.TB, replies []scripted) *script {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &script{at: l.Addr().String(), replies: replies}
	var owned sync.WaitGroup
	conns := make(map[net.Conn]bool)
	owned.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			conns[c] = true
			s.mu.Unlock()
			owned.Go(func() { s.serve(c) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		s.mu.Lock()
		for c := range conns {
			c.Close()
		}
		s.mu.Unlock()
		owned.Wait()
	})
	return s
}

func (s *script) serve(c net.Conn) {
	defer c.Close()
	br := bufio.NewReader(c)
	for {
		p, err := readPlain(br, false)
		if err != nil {
			// The proxy ends a connection on which too much came: by RST, if it came late.
			if err != io.EOF && (p.first != "" || !errors.Is(err, syscall.ECONNRESET)) {
				s.mu.Lock()
				s.odd = err
				s.mu.Unlock()
			}
			return
		}
		r := s.answer(p)
		s.write(c, r.raw)
		if r.closes {
			return
		}
		if s.linger > 0 {
			c.SetReadDeadline(time.Now().Add(s.linger))
		}
	}
}

func (s *script) answer(p plain) scripted {
	s.mu.Lock()
	defer s.mu.Unlock()
	if strings.Contains(p.first, " /probe ") {
		s.probed++
		return scripted{raw: "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nprobed"}
	}
	s.seen = append(s.seen, p)
	if n := len(s.seen); n <= len(s.replies) {
		return s.replies[n-1]
	}
	return scripted{raw: "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"}
}

var bodiless = regexp.MustCompile(`^HTTP/1.1 (1..|204|304) `)

// readPlain reads a message that has to be well-formed. io.EOF means that none has begun.
func readPlain(br *bufio.Reader, bare bool) (p plain, err error) {
	line := func() string {
		s, e := br.ReadString('\n')
		if e != nil && err == nil {
			if err = e; e == io.EOF && (s != "" || p.first != "") {
				err = io.ErrUnexpectedEOF
			}
		}
		if err == nil && !strings.HasSuffix(s, "\r\n") {
			err = fmt.Errorf("line %q ends in LF alone", s)
		}
		return strings.TrimSuffix(s, "\r\n")
	}
	p.first = line()
	for s := line(); err == nil && s != ""; s = line() {
		p.fields = append(p.fields, s)
	}
	length, coding := p.values("Content-Length"), p.values("Transfer-Encoding")
	switch {
	case err != nil:
	case len(length)+len(coding) > 1:
		err = fmt.Errorf("framed twice: %q", p.fields)
	case bare || bodiless.MatchString(p.first):
	case len(coding) == 1:
		var body []byte
		body, err = io.ReadAll(httputil.NewChunkedReader(br))
		p.body = string(body)
		for s := line(); err == nil && s != ""; s = line() {
			p.trailer = append(p.trailer, s)
		}
	case len(length) == 1:
		n, _ := strconv.Atoi(length[0])
		body := make([]byte, n)
		_, err = io.ReadFull(br, body)
		p.body = string(body)
	}
	return p, err
}

func (p *plain) values(name string) (all []string) {
	for _, list := range [][]string{p.fields, p.trailer} {
		for _, f := range list {
			n, v, _ := strings.Cut(f, ": ")
			if equalFold(n, name) {
				all = append(all, v)
			}
		}
	}
	return all
}

// differs says what of p is not as expected, or nothing.
func (m *message) differs(p plain) string {
	if first := strings.TrimPrefix(p.first, "HTTP/1.1 "); first != m.first && !strings.HasPrefix(first, m.first+" ") {
		return fmt.Sprintf("%q, want %q", p.first, m.first)
	}
	if m.body != nil && p.body != *m.body {
		return fmt.Sprintf("body %q, want %q", p.body, *m.body)
	}
	want := map[string][]string{}
	for _, f := range m.fields {
		if name, absent := strings.CutPrefix(f, "!"); absent {
			want[name] = nil
			continue
		}
		name, value, _ := strings.Cut(f, ":")
		want[name] = append(want[name], strings.TrimSpace(value))
	}
	for name, values := range want {
		if got := p.values(name); fmt.Sprint(got) != fmt.Sprint(values) && !(len(got) == 1 && len(values) == 1 && values[0] == "*") {
			return fmt.Sprintf("%s is %q, want %q", name, got, values)
		}
	}
	return ""
}

// check reads all that an entry's client gets from br.
func (e *entry) check(t *testing.T, br *bufio.Reader) {
	t.Helper()
	for _, want := range e.gets {
		p, err := readPlain(br, want.bare)
		if err != nil {
			t.Fatalf("%s: waiting for %s: %v", e.at, want.first, err)
		}
		if why := want.differs(p); why != "" {
			t.Errorf("%s: the client gets %s\n%q", e.at, why, p)
		}
	}
	if !e.keep {
		if rest, err := io.ReadAll(br); err != nil || len(rest) > 0 {
			t.Errorf("%s: %q after the last reply, %v", e.at, rest, err)
		}
	}
}

// probe checks that the connection is where the next request begins.
func (e *entry) probe(t *testing.T, c *net.TCPConn, br *bufio.Reader) {
	t.Helper()
	io.WriteString(c, probe)
	if p, err := readPlain(br, false); err != nil || p.body != "probed" || !strings.HasPrefix(p.first, "HTTP/1.1 200 ") {
		t.Errorf("%s: the connection is out of step: %q, %v", e.at, p, err)
	}
}

// saw checks what the upstream saw.
func (e *entry) saw(t *testing.T, s *script) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.seen) != len(e.sees) {
		t.Errorf("%s: the upstream sees %d requests, want %d: %q", e.at, len(s.seen), len(e.sees), s.seen)
		return
	}
	for i, want := range e.sees {
		if why := want.differs(s.seen[i]); why != "" {
			t.Errorf("%s: the upstream sees %s\n%q", e.at, why, s.seen[i])
		}
	}
	if s.odd != nil {
		t.Errorf("%s: the upstream sees no request: %v", e.at, s.odd)
	}
}

func (e *entry) send(conns ...*net.TCPConn) {
	for _, c := range conns {
		c.Write([]byte(e.client))
		if e.clientCloses {
			c.CloseWrite()
		}
	}
}

func TestCorpus(t *testing.T) {
	all := corpus(t)
	if len(all) < 150 {
		t.Errorf("%d entries only", len(all))
	}
	for _, e := range all {
		t.Run(e.title, func(t *testing.T) {
			t.Parallel()
			t.Run("alone", func(t *testing.T) { e.alone(t) })
			if !e.isLong() {
				t.Run("in drops", func(t *testing.T) { e.inDrops(t) })
			}
			t.Run("pair", func(t *testing.T) { e.pair(t) })
			t.Run("successor", func(t *testing.T) { e.successor(t) })
		})
	}
}

// configured returns an entry's configuration and upstream.
func (e *entry) configured(t testing.TB) (Config, *script) {
	s, cfg := newScript(t, e.replies), e.cfg
	cfg.Upstream = s.at
	cfg.Connect = connector(t, s.at, cmp.Or(e.patient, time.Minute))
	return cfg, s
}

// alone runs an entry on one host.
func (e *entry) alone(t *testing.T) {
	cfg, s := e.configured(t)
	h := newHost(t, cfg, Executor, &link{})
	c, _ := h.dial(t, asClient())
	go e.send(c)
	br := bufio.NewReader(c)
	e.check(t, br)
	if e.keep {
		e.probe(t, c, br)
	}
	e.saw(t, s)
}

// isLong reports that octets one at a time would take long, or that the entry is a matter of time.
func (e *entry) isLong() bool {
	return len(e.client) > 4<<10 || e.cfg.HeaderTimeout+e.cfg.BodyTimeout+e.patient > 0
}

// inDrops runs an entry on one host, client and upstream sending an octet at a time.
func (e *entry) inDrops(t *testing.T) {
	cfg, s := e.configured(t)
	s.drops = true
	h := newHost(t, cfg, Executor, &link{})
	c, _ := h.dial(t, asClient())
	go func() {
		s.write(c, e.client)
		if e.clientCloses {
			c.CloseWrite()
		}
	}()
	br := bufio.NewReader(c)
	e.check(t, br)
	if e.keep {
		e.probe(t, c, br)
	}
	e.saw(t, s)
}

// pair runs an entry on a pair: the standby says the same, holds what the executor has not
// consumed and nothing else, and goes on where the executor dies.
func (e *entry) pair(t *testing.T) {
	cfg, s := e.configured(t)
	executor, standby := newPair(t, cfg)
	var mu sync.Mutex
	var consumed uint64
	executor.link.before = func(r Record) {
		mu.Lock()
		defer mu.Unlock()
		consumed = max(consumed, r.RequestEnd)
	}
	a, id := executor.dial(t, asClient())
	b, _ := standby.dial(t, id)
	go e.send(a, b)
	e.check(t, bufio.NewReader(a))
	br := bufio.NewReader(b)
	e.check(t, br)
	if e.keep {
		eventually(t, "all read", func() bool { return standby.packets.got(id) == uint64(len(e.client)) })
		mu.Lock()
		if n := standby.Stats().Held; n != 0 || consumed != uint64(len(e.client)) {
			t.Errorf("%s: %d of %d bytes consumed, the standby holds some: %v", e.at, consumed, len(e.client), n > 0)
		}
		mu.Unlock()
		kill(executor, standby)
		e.probe(t, b, br)
	}
	e.saw(t, s)
}

// successor runs an entry on a standby whose peer dies before it has answered.
func (e *entry) successor(t *testing.T) {
	cfg, s := e.configured(t)
	h := newHost(t, cfg, Standby, &link{})
	c, id := h.dial(t, asClient())
	go e.send(c)
	eventually(t, "all held", func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		return h.table[id] != nil && h.packets.got(id) == uint64(len(e.client)) // accepted, even if it says nothing
	})
	h.Promote(all)()
	br := bufio.NewReader(c)
	e.check(t, br)
	if e.keep {
		e.probe(t, c, br)
	}
	e.saw(t, s)
}

// asClient names a flow of a client and an advertised address that entries may speak of.
func asClient() rewrite.FlowID {
	id := rewrite.FlowID{ISN: rewrite.Seq(isn.Add(1))}
	id.Client, id.Advertised = corpusClient, corpusAdvertised
	return id
}

var (
	corpusClient     = netip.MustParseAddrPort("192.0.2.77:4711")
	corpusAdvertised = netip.MustParseAddrPort("192.0.2.100:80")
)
