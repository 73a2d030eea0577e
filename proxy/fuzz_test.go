package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ftgw/ftgw/config"
)

// echo is an upstream that answers with the request's body, and notes what it saw.
type echo struct {
	*httptest.Server
	mu   sync.Mutex
	seen []string
}

func newEcho(t testing.TB) *echo {
	e := &echo{}
	e.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		e.mu.Lock()
		e.seen = append(e.seen, fmt.Sprintf("%s %s %q %q %v", r.Method, r.RequestURI, r.Host, body, err))
		e.mu.Unlock()
		w.Write(body)
	}))
	t.Cleanup(e.Close)
	return e
}

func (e *echo) take() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	seen := e.seen
	e.seen = nil
	return seen
}

var dates = regexp.MustCompile(`Date: [^\r]*`)

// modal gives requests all modes but unprotected, by their paths.
func modal(_, path string) config.Mode { return config.Modes[len(path)%(len(config.Modes)-1)] }

// FuzzClientBytes sends any bytes to a pair, and to a standby that takes over before it has seen
// a reply. Both hosts say the same, the successor reads the same requests out of the bytes, and
// another client, whose request uses the same connections to the upstream, gets its own reply. All that
// whatever the mode; the standby has zeros for what it need not know of deferred replies.
func FuzzClientBytes(f *testing.F) {
	f.Add("OPTIONS * HTTP/1.1\nHost: a\n\n")
	var mixed strings.Builder // of every mode, with replies in one piece and in several
	for i, path := range []string{"/abc", "/", "/a", "/ab", "/ab", "/a", "/ab?q", "/abc"} {
		fmt.Fprintf(&mixed, "POST %s HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", path, 20*i, strings.Repeat("0123456789", 2*i))
	}
	f.Add(mixed.String())
	for _, e := range corpus(f) {
		if len(e.client) < 4<<10 {
			f.Add(e.client)
		}
	}
	web, mirror, next := newEcho(f), newEcho(f), newEcho(f)
	on := func(e *echo) Config {
		return Config{Upstream: strings.TrimPrefix(e.URL, "http://"), MaxHeader: 1 << 10, MaxBody: 1 << 20,
			DrainTimeout: 50 * time.Millisecond, Mode: modal, Shadow: true, MaxReply: 32}
	}
	standby := newHost(f, on(mirror), Standby, &link{})
	executor := newHost(f, on(web), Executor, &link{peer: standby.Server})
	alone := on(next)
	alone.Shadow = false // else it asks for what the lost host never told of
	successor := newHost(f, alone, Standby, &link{})
	tokens := 0
	f.Fuzz(func(t *testing.T, raw string) {
		a, id := executor.dial(t, asClient())
		b, _ := standby.dial(t, id)
		out := tell(t, raw, a, b)
		if !echoes(out[1], out[0]) {
			t.Errorf("the standby says other than the executor:\n%q\n%q", out[0], out[1])
		}
		seen := web.take()
		c, id := successor.dial(t, asClient())
		promoted := make(chan struct{})
		go func() {
			defer close(promoted)
			eventually(t, "all held", func() bool {
				successor.packets.mu.Lock()
				defer successor.packets.mu.Unlock()
				return successor.packets.eof[id]
			})
			successor.Promote(all)()
		}()
		later := tell(t, raw, c)
		<-promoted
		if x, y := dates.ReplaceAllString(out[0], ""), dates.ReplaceAllString(later[0], ""); x != y {
			t.Errorf("the successor says other than the executor:\n%q\n%q", x, y)
		}
		if again := next.take(); !slices.Equal(seen, again) {
			t.Errorf("the successor reads other requests:\n%q\n%q", seen, again)
		}
		tokens++
		token := fmt.Sprintf("token-%d-", tokens)
		mine := post(t, executor, standby, token)
		mirror.take()
		if st := executor.Stats(); raw == mixed.String() && (st.SyncStatic == 0 || st.Static == 0 || st.Deferred == 0) {
			t.Errorf("not of all modes: %+v", st)
		}
		if executor.Routes()[0].Demoted != nil {
			t.Errorf("after %q nothing is static any more: %+v", raw, executor.Routes()[0].Demoted)
		}
		if web.take(); strings.Contains(out[0], token) || !strings.HasSuffix(mine, "\r\n\r\n"+token) || strings.Count(mine, "HTTP/1.1 ") != 1 {
			t.Errorf("after %q another client gets %q", raw, mine)
		}
		for _, s := range out {
			if len(s) > 0 && !strings.HasPrefix(s, "HTTP/1.1 ") {
				t.Errorf("not a reply: %q", s)
			}
			if strings.Contains(s, "HTTP/1.1 502 ") {
				t.Errorf("let through what the upstream refuses: %q", raw)
			}
		}
	})
}

// echoes reports whether a standby's output is the executor's, but for zeros.
func echoes(standby, executor string) bool {
	if len(standby) != len(executor) {
		return false
	}
	for i := range len(standby) {
		if standby[i] != executor[i] && standby[i] != 0 {
			return false
		}
	}
	return true
}

// tell sends raw to each and returns what they answer to the end.
func tell(t *testing.T, raw string, conns ...*net.TCPConn) []string {
	t.Helper()
	var sent sync.WaitGroup
	for _, c := range conns {
		sent.Go(func() {
			io.WriteString(c, raw)
			c.CloseWrite()
		})
	}
	out := make([]string, len(conns))
	for i, c := range conns {
		b, err := io.ReadAll(c)
		if err != nil {
			t.Error(err)
		}
		out[i] = string(b)
	}
	sent.Wait()
	for _, c := range conns {
		c.Close()
	}
	return out
}

// post has another client of the pair post body.
func post(t *testing.T, executor, standby *host, body string) string {
	t.Helper()
	a, id := executor.dial(t, asClient())
	b, _ := standby.dial(t, id)
	return tell(t, fmt.Sprintf("POST /t HTTP/1.1\r\nHost: t\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", len(body), body), a, b)[0]
}

// FuzzUpstreamBytes lets the upstream answer any bytes. The client gets one well-formed reply,
// and then the next one.
func FuzzUpstreamBytes(f *testing.F) {
	for _, e := range corpus(f) {
		for _, r := range e.replies {
			if len(r.raw) < 4<<10 {
				f.Add(r.raw, r.closes)
			}
		}
	}
	s := newScript(f, nil)
	s.linger = 5 * time.Millisecond // else replies that do not end take the proxy's patience
	h := newHost(f, Config{Upstream: s.at}, Executor, &link{})
	f.Fuzz(func(t *testing.T, raw string, closes bool) {
		s.mu.Lock()
		s.seen, s.odd, s.replies = nil, nil, []scripted{{raw, closes}}
		s.mu.Unlock()
		c, _ := h.dial(t)
		defer c.Close()
		br := bufio.NewReader(c)
		io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		for code := 0; code < 200; {
			p, err := readPlain(br, false)
			if err != nil || !strings.HasPrefix(p.first, "HTTP/1.1 ") {
				t.Fatalf("%q became %q, %v", raw, p, err)
			}
			code, _ = strconv.Atoi(strings.Fields(p.first)[1])
		}
		(&entry{at: "after " + raw}).probe(t, c, br)
	})
}

// FuzzParseRequest checks that whatever is let through is fit to be sent on.
func FuzzParseRequest(f *testing.F) {
	f.Add("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
	f.Add("POST * HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n")
	f.Fuzz(func(t *testing.T, head string) {
		r, err := parseRequest(head, 128)
		if err != nil {
			return
		}
		if !isToken(r.method) || !isTarget(r.target) || r.host != "" && !isHost(r.host) || r.length < unframed {
			t.Errorf("%+v", r)
		}
		for _, f := range r.header {
			if !isToken(f.name) || strings.ContainsAny(f.value, "\r\n\x00") {
				t.Errorf("%q: %q", f.name, f.value)
			}
		}
		_, sized := r.header.first(kindLength)
		if _, coded := r.header.first(kindCoding); sized && coded {
			t.Error("ambiguous framing")
		}
	})
}
