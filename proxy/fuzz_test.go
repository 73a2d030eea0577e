package proxy

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// FuzzClientBytes sends any bytes through a whole executor: it must answer in well-formed
// replies or close, and never hang.
func FuzzClientBytes(f *testing.F) {
	for _, s := range []string{
		"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.0\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nT: v\r\n\r\n",
		"PUT //x HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx",
		"HEAD http://b/ HTTP/1.1\r\nHost: a\r\nConnection: close, x\r\nX: y\r\n\r\n",
		"OPTIONS * HTTP/1.1\nHost: a\n\n",
	} {
		f.Add(s)
	}
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(w, r.Body)
	}))
	f.Cleanup(web.Close)
	h := newHost(f, Config{Upstream: strings.TrimPrefix(web.URL, "http://"), MaxHeader: 1 << 10,
		DrainTimeout: 50 * time.Millisecond}, Executor, &link{})
	f.Fuzz(func(t *testing.T, raw string) {
		c, _ := h.dial(t)
		defer c.Close()
		go func() {
			io.WriteString(c, raw)
			c.CloseWrite()
		}()
		out, err := io.ReadAll(c)
		if err != nil {
			t.Fatal(err)
		}
		if len(out) > 0 && !strings.HasPrefix(string(out), "HTTP/1.1 ") {
			t.Errorf("not a reply: %q", out)
		}
		if strings.Contains(string(out), "HTTP/1.1 502 ") {
			t.Errorf("let through what the transport refuses: %q", raw)
		}
	})
}

// FuzzParseRequest checks that whatever is let through is fit to be sent on.
func FuzzParseRequest(f *testing.F) {
	f.Add("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
	f.Add("POST * HTTP/1.0\nTransfer-Encoding: chunked\n\n")
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
