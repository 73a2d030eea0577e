package proxy

import (
	"bytes"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"
)

// secret stands for whatever may not be in a log.
const secret = "s3cret"

// memory is a log that is kept.
type memory struct {
	sync.Mutex
	bytes.Buffer
}

func (m *memory) Write(p []byte) (int, error) {
	m.Lock()
	defer m.Unlock()
	return m.Buffer.Write(p)
}

func (m *memory) String() string {
	m.Lock()
	defer m.Unlock()
	return m.Buffer.String()
}

// marked are messages with the secret in every part.
var marked = []struct{ client, reply string }{
	{client: secret + "(\r\n\r\n"},
	{client: secret + " / HTTP/1.1\r\nHost: a\r\n\r\n"},
	{client: "GET /" + secret + "?" + secret + " HTTP/1.1\r\nHost: a\r\n\r\n"},
	{client: "GET " + secret + " HTTP/1.1\r\nHost: a\r\n\r\n"},
	{client: "GET http://user:" + secret + "@a/ HTTP/1.1\r\nHost: a\r\n\r\n"},
	{client: "GET / HTTP/1.1\r\nHost: " + secret + "/\r\n\r\n"},
	{client: "GET / HTTP/1.1\r\nHost: a\r\nExpect: " + secret + "\r\n\r\n"},
	{client: "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: " + secret + "\r\n\r\n"},
	{client: "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: " + secret + "\r\n\r\n"},
	{client: "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + secret + "\r\n"},
	{client: "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;" + secret + "\r\nxy"},
	{client: "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + secret + "\r\n\r\n"},
	{reply: secret + "\r\n\r\n"},
	{reply: "HTTP/1.1 " + secret + "\r\n\r\n"},
	{reply: "HTTP/1.1 200 " + secret + "\x00\r\n\r\n"},
	{reply: "HTTP/1.1 200 OK\r\n" + secret + "\r\n\r\n"},
	{reply: "HTTP/1.1 200 OK\r\nSet-Cookie: " + secret + "\x00\r\n\r\n"},
	{reply: "HTTP/1.1 200 OK\r\nContent-Length: " + secret + "\r\n\r\n"},
	{reply: "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + secret},
	{reply: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + secret},
	{reply: "HTTP/1.1 101 " + secret + "\r\nUpgrade: " + secret + "\r\n\r\n"},
}

// TestNothingIsLogged: nothing of a message is in the log above debug, whatever is wrong with it.
func TestNothingIsLogged(t *testing.T) {
	log := &memory{}
	all := corpus(t)
	for i := range all { // a field more in each message, and the secret for each body
		e := &all[i]
		e.client = strings.Replace(e.client, "\r\n", "\r\nCookie: "+secret+"\r\n", 1)
		e.client = strings.ReplaceAll(e.client, "hello", secret[:5])
		for j := range e.replies {
			e.replies[j].raw = strings.Replace(e.replies[j].raw, "\r\n", "\r\nSet-Cookie: "+secret+"\r\n", 1)
		}
	}
	for _, m := range marked {
		e := entry{client: m.client}
		if m.reply != "" {
			e = entry{client: "GET /" + secret + " HTTP/1.1\r\nHost: a\r\n\r\n", replies: []scripted{{m.reply, true}}}
		}
		all = append(all, e)
	}
	t.Run("all", func(t *testing.T) {
		for _, e := range all {
			t.Run(e.title, func(t *testing.T) {
				t.Parallel()
				e.patient = 100 * time.Millisecond
				cfg, _ := e.configured(t)
				cfg.Log = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug + 1}))
				h := newHost(t, cfg, Executor, &link{})
				c, _ := h.dial(t, asClient())
				go func() {
					c.Write([]byte(e.client))
					c.CloseWrite()
				}()
				io.Copy(io.Discard, c)
			})
		}
	})
	text := log.String()
	if !strings.Contains(text, "malformed") || !strings.Contains(text, "upstream") {
		t.Errorf("the log says nothing of what failed:\n%s", text)
	}
	for line := range strings.Lines(text) {
		if strings.Contains(line, secret[:5]) {
			t.Errorf("in the log: %s", line)
		}
	}
}
