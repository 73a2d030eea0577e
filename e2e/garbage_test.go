package e2e

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ftgw/ftgw/config"
	"github.com/ftgw/ftgw/internal/lab"
	"github.com/ftgw/ftgw/internal/lab/client"
	"github.com/ftgw/ftgw/internal/lab/labtest"
	"github.com/ftgw/ftgw/replication"
)

const (
	sessionPort = ":7950"
	gossipPort  = ":7946"
)

// dial connects from a host.
func dial(t *testing.T, from *lab.Host, network, address string) net.Conn {
	t.Helper()
	var c net.Conn
	err := from.Do(func() (err error) {
		c, err = net.DialTimeout(network, address, 2*time.Second)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(3 * time.Second))
	return c
}

func noise(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

// keys derives the cluster's keys of a secret.
func keys(t *testing.T, secret []byte) replication.Keys {
	t.Helper()
	k, err := replication.DeriveKeys(secret)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// Whatever comes to the ports and sockets beside the service: the pair stays a pair.
func TestGarbage(t *testing.T) {
	x := start(t, lab.Options{}, lab.Config{})
	secret, err := config.ReadSecret(filepath.Join(x.Dir(), "secret"))
	x.must(err)
	own, other := keys(t, secret), keys(t, noise(32))
	b, a := x.B.Addr().String(), x.A.Addr().String()
	greet := func(t *testing.T, k replication.Keys, say []byte) {
		c := tls.Client(dial(t, x.A, "tcp", b+sessionPort), replication.TLSConfig(k, false))
		if _, err := c.Write(say); err != nil {
			return // refused in the handshake, as it should be
		}
		io.Copy(io.Discard, c)
	}
	hello := replication.Hello{Node: "a", Boot: [16]byte(noise(16)), Channel: replication.Control}
	newer := hello.Append(nil)
	for i := range 4 { // wherever in the header the version is
		if newer[i] == replication.Version {
			newer[i]++
			break
		}
	}
	for _, c := range []struct {
		name    string
		do      func(t *testing.T)
		counted string // by b
	}{
		{"noise at the session port, from a stranger", func(t *testing.T) {
			dial(t, x.Witness, "tcp", b+sessionPort).Write(noise(4000))
			dial(t, x.Witness, "tcp", a+sessionPort).Write(noise(4000))
		}, "session-stranger"},
		{"noise at the session port, from the peer", func(t *testing.T) {
			dial(t, x.A, "tcp", b+sessionPort).Write(noise(4000))
			dial(t, x.B, "tcp", a+sessionPort).Write(noise(4000))
		}, "session-stranger"},
		{"silence at the session port", func(t *testing.T) {
			for range 60 {
				dial(t, x.A, "tcp", b+sessionPort)
			}
		}, ""},
		{"TLS of another secret", func(t *testing.T) { greet(t, other, hello.Append(nil)) }, ""},
		{"TLS without a certificate", func(t *testing.T) {
			c := tls.Client(dial(t, x.A, "tcp", b+sessionPort), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{replication.ALPN}})
			c.Write(hello.Append(nil))
			io.Copy(io.Discard, c)
		}, ""},
		{"another version, with the right secret", func(t *testing.T) { greet(t, own, newer) }, ""},
		{"another config, with the right secret", func(t *testing.T) { greet(t, own, hello.Append(nil)) }, ""},
		{"noise, with the right secret", func(t *testing.T) { greet(t, own, noise(4000)) }, ""},
		{"a long frame, with the right secret", func(t *testing.T) { greet(t, own, bytes.Repeat([]byte{0xff}, 100_000)) }, ""},
		{"noise at the gossip port, TCP", func(t *testing.T) {
			for _, from := range []*lab.Host{x.Witness, x.A} {
				dial(t, from, "tcp", b+gossipPort).Write(noise(4000))
				dial(t, from, "tcp", a+gossipPort).Write(binary.BigEndian.AppendUint32([]byte{10}, 1<<31))
			}
		}, ""},
		{"noise at the gossip port, UDP", func(t *testing.T) {
			for _, from := range []*lab.Host{x.Witness, x.A} {
				for _, to := range []string{a, b} {
					c := dial(t, from, "udp", to+gossipPort)
					for n := range 100 {
						c.Write(noise(1 + n*10))
					}
				}
			}
		}, ""},
		{"noise at the operators' socket", func(t *testing.T) {
			for _, h := range []*lab.Host{x.A, x.B} {
				for _, text := range [][]byte{noise(4000), []byte("POST /status HTTP/1.1\r\nHost: x\r\n\r\n"), []byte("GET /../../etc HTTP/1.1\r\nHost: x\r\n\r\n"), nil} {
					dial(t, h, "unix", h.Socket()).Write(text)
				}
			}
		}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := x.drops(x.B, c.counted)
			c.do(t)
			x.unharmed(t, c.name)
			if c.counted != "" && x.drops(x.B, c.counted) == before {
				t.Errorf("b did not count %s", c.counted)
			}
		})
	}
	t.Run("HTTP", func(t *testing.T) { x.garbled(t) })
	x.duplex()
	for _, h := range []*lab.Host{x.A, x.B} {
		if s := x.service(h); s.LastTakeover != nil || s.Epoch != 0 {
			t.Errorf("%s claimed: %+v", h.Name, s)
		}
	}
	if said := x.nodes[x.B].Log(); !strings.Contains(said, fmt.Sprintf("protocol version %d", replication.Version+1)) || !strings.Contains(said, "another shared secret") {
		t.Errorf("b's log does not name what was wrong:\n%s", said)
	}
}

// garbled makes requests that are none. Each is answered by an error or a closed connection.
func (x *cluster) garbled(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"noise":                 {string(noise(2000)) + "\r\n\r\n", "HTTP/1.1 400"},
		"TLS":                   {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + string(noise(500)) + "\n\n", "HTTP/1.1 400"},
		"no version":            {"GET /\r\n\r\n", "HTTP/1.1 400"},
		"HTTP/2":                {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "HTTP/1.1 505"},
		"no host":               {"GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 400"},
		"two lengths":           {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", "HTTP/1.1 400"},
		"length and chunks":     {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "HTTP/1.1 400"},
		"negative length":       {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", "HTTP/1.1 400"},
		"chunk that is none":    {"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "HTTP/1.1 400"},
		"field folded":          {"GET / HTTP/1.1\r\nHost: x\r\nX: 1\r\n 2\r\n\r\n", "HTTP/1.1 400"},
		"space before colon":    {"GET / HTTP/1.1\r\nHost : x\r\n\r\n", "HTTP/1.1 400"},
		"NUL in a field":        {"GET / HTTP/1.1\r\nHost: x\r\nX: a\x00b\r\n\r\n", "HTTP/1.1 400"},
		"head of 4 MB":          {"GET / HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 4<<20), "HTTP/1.1 431"},
		"line of 4 MB":          {strings.Repeat("x", 4<<20), "HTTP/1.1 4"},
		"nothing but new lines": {strings.Repeat("\r\n", 100), "HTTP/1.1 400"},
	} {
		t.Run(name, func(t *testing.T) {
			conn := dial(t, x.Client, "tcp", lab.Advertised)
			go conn.Write([]byte(c.text)) // ends with the connection
			reply := make([]byte, 12)
			if _, err := io.ReadFull(conn, reply); err != nil || !strings.HasPrefix(string(reply), c.want) {
				t.Errorf("answered by %q, %v", reply, err)
			}
		})
	}
	x.unharmed(t, "after garbled requests")
}

// A node that must not be its peer's pair: both say why, and who served goes on serving.
func TestNoPair(t *testing.T) {
	const quick = "[timing]\nstart_wait = \"1s\"\n"
	for _, c := range []struct {
		name   string
		change func(t *testing.T, x *cluster) // of b
		says   string                         // in status and log of either
		remedy string
	}{
		{"another secret", func(t *testing.T, x *cluster) {
			path := filepath.Join(x.B.Dir, "other")
			x.must(os.WriteFile(path, noise(40), 0o600))
			x.rewrite(t, x.B, line("secret_file = %q", path))
		}, "another shared secret", "copy the same secret_file"},
		{"another config", func(t *testing.T, x *cluster) {
			x.rewrite(t, x.B, replaced("upstream = ", "forward = 20081\nupstream = "))
		}, "another config", "same ftgw.toml"},
		{"another kernel setting", func(t *testing.T, x *cluster) {
			x.must(x.B.Sysctl("net/ipv4/tcp_sack", "0"))
		}, "net.ipv4.tcp_sack", "set both alike"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			x := assemble(t, lab.Config{Tail: quick})
			c.change(t, x)
			x.app(x.A)
			x.app(x.B)
			x.node(x.A)
			x.until("a serves alone", 10*time.Second, func() bool { return x.service(x.A).Role == "sole" })
			x.node(x.B)
			for _, h := range []*lab.Host{x.A, x.B} {
				x.until(h.Name+" says why there is no pair", 10*time.Second, func() bool {
					ctx, cancel := context.WithTimeout(context.Background(), time.Second)
					defer cancel()
					st, err := h.Status(ctx)
					return err == nil && len(st.Peers) > 0 && strings.Contains(st.Peers[0].Problem, c.says) &&
						strings.Contains(st.Peers[0].Problem, c.remedy)
				})
				if !strings.Contains(x.nodes[h].Log(), c.says) {
					t.Errorf("%s does not log %q", h.Name, c.says)
				}
			}
			x.unharmed(t, c.name)
			time.Sleep(1500 * time.Millisecond) // longer than start_wait: b must not claim
			for h, role := range map[*lab.Host]string{x.A: "sole", x.B: "joining"} {
				if s := x.service(h); s.InSync || s.Role != role {
					t.Errorf("%s: %+v, want %s", h.Name, s, role)
				}
			}
			x.unharmed(t, c.name+", later")
		})
	}
}

// rewrite changes a host's config file.
func (x *cluster) rewrite(t *testing.T, h *lab.Host, change func(*testing.T, *cluster, string) string) {
	t.Helper()
	text, err := os.ReadFile(h.ConfigPath())
	x.must(err)
	x.must(os.WriteFile(h.ConfigPath(), []byte(change(t, x, string(text))), 0o600))
}

// assemble builds a lab with config files and starts nothing.
func assemble(t *testing.T, c lab.Config) *cluster {
	t.Helper()
	l := labtest.Lab(t, lab.Options{})
	x := &cluster{T: t, Lab: l, nodes: map[*lab.Host]*lab.Process{},
		client: &client.Client{Namespace: l.Client, Target: lab.Advertised, Timeout: 10 * time.Second}}
	x.must(l.WriteConfig(c))
	return x
}
