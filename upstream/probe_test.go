package upstream

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestProbe(t *testing.T) {
	const ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
	for _, tt := range []struct{ name, reply, reason string }{
		{"200", ok, ""},
		{"302", "HTTP/1.1 302 Found\r\nLocation: /login\r\nContent-Length: 0\r\n\r\n", ""},
		{"204", "HTTP/1.1 204 No Content\r\n\r\n", ""},
		{"HTTP/1.0", "HTTP/1.0 200 OK\r\n\r\nok", ""},
		{"after an interim reply", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + ok, ""},
		{"a long page", "HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + strings.Repeat("a", 200000), ""},
		{"503", "HTTP/1.1 503 \x1b[31mred\r\nContent-Length: 0\r\n\r\n", "it said 503 Service Unavailable"},
		{"404", "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "it said 404 Not Found"},
		{"a number nobody knows", "HTTP/1.1 599 X\r\nContent-Length: 0\r\n\r\n", "it said 599"},
		{"101", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", "it said 101 Switching Protocols"},
		{"cut", "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nhalf", "its reply broke off after 4 bytes"},
		{"no HTTP", "SSH-2.0-OpenSSH\r\n", "its reply is not HTTP"},
		{"nothing", "", "it closed the connection without a reply"},
		{"half a head", "HTTP/1.1 200 OK\r\nA: b", "it closed the connection without a reply"},
		{"a long head", "HTTP/1.1 200 OK\r\nA: " + strings.Repeat("a", 100000), "the head of its reply is too long"},
		{"interim replies", strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 50), "it sent interim replies only"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := listen(t, "unix")
			serve(t, l, func(_ int, c net.Conn) {
				br := bufio.NewReader(c)
				if head, err := br.Peek(16); err != nil || string(head) != string(LocalPreface()) {
					t.Errorf("preface %q, %v", head, err)
				}
				br.Discard(16)
				r, err := http.ReadRequest(br)
				if err != nil || r.Method != "GET" || r.RequestURI != "/health?a=b" || r.Host != "shop.example" || !r.Close {
					t.Errorf("request %+v, %v", r, err)
				}
				io.WriteString(c, tt.reply)
			})
			err := checkOnce(t, HealthConfig{Address: address(t, l), Path: "/health?a=b", Host: "shop.example", Preface: LocalPreface()})
			switch {
			case err == nil && tt.reason == "":
			case err == nil || err.Error() != tt.reason:
				t.Errorf("reason %v, want %q", err, tt.reason)
			}
		})
	}
}

func checkOnce(t *testing.T, cfg HealthConfig) error {
	t.Helper()
	h, err := NewHealth(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return h.cfg.Check(within(t))
}

func TestProbeConnect(t *testing.T) {
	l := listen(t, "tcp") // nobody accepts: the kernel does
	a := address(t, l)
	if err := checkOnce(t, HealthConfig{Address: a}); err != nil {
		t.Error(err)
	}
	l.Close()
	contains(t, checkOnce(t, HealthConfig{Address: a}), "connection refused")
}

// TestProbeHung: a server that accepts and says nothing fails the check in time, by a real socket.
func TestProbeHung(t *testing.T) {
	l := listen(t, "tcp")
	serve(t, l, func(_ int, c net.Conn) { io.Copy(io.Discard, c) })
	told := make(chan State, 1)
	h, err := NewHealth(HealthConfig{Address: address(t, l), Path: "/", Timeout: 20 * time.Millisecond,
		Fall: 1, Changed: func(s State) { told <- s }})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan error)
	go func() { ran <- h.Run(ctx) }()
	if s := <-told; s.Verdict != Unhealthy || s.Reason != "no answer within 20ms" {
		t.Errorf("%+v", s)
	}
	cancel()
	<-ran
}

func TestProbeRefusesOddPaths(t *testing.T) {
	for _, cfg := range []HealthConfig{
		{Path: "health"}, {Path: "/a b"}, {Path: "/a\r\nX: y"}, {Path: "/ä"}, {Path: "/a#b"},
		{Path: "/", Host: "a b"}, {Path: "/", Host: "a\r\nb"}, {Path: "http://a/"},
	} {
		if _, err := NewHealth(cfg); err == nil {
			t.Errorf("%+v was accepted", cfg)
		}
	}
}
